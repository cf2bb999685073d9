"""Adam: torch's own optimiser as the truth, and the rows and columns that stay as they are."""

import pytest
import torch
from torch import Tensor

from .random_rays import LEVELS
from .tolerances import assert_close

RATES = torch.tensor([1e-2, 0.0, 1e-3, 5e-2, 1e-4], dtype=torch.float64)
NAMES = ("param", "first_moment", "second_moment")


def random_state(count: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Parameters and moments as in the middle of training."""
    state = {name: torch.randn(count, len(RATES), dtype=torch.float64) for name in NAMES}
    state["second_moment"] = state["second_moment"].square()
    return {name: tensor.to(dtype) for name, tensor in state.items()}


def step(backend, state: dict[str, Tensor], grad: Tensor, **options) -> int:
    """One step on a state, in place."""
    rates = RATES.to(grad.dtype)
    return backend.adam_step(state["param"], grad, state["first_moment"], state["second_moment"], rates, **options)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, "float64 truth"), (torch.float32, "float32 twin")])
def test_it_is_torchs_adam(backend, dtype, tolerance):
    state = {name: torch.zeros(40, 5, dtype=dtype) for name in NAMES}
    columns = [torch.zeros(40, 1, dtype=torch.float64, requires_grad=True) for _ in RATES]
    groups = [{"params": [column], "lr": rate} for column, rate in zip(columns, RATES.tolist(), strict=True)]
    optimizer = torch.optim.Adam(groups, eps=1e-15)
    for count in range(1, 6):
        grad = torch.randn(40, 5, dtype=torch.float64)
        assert step(backend, state, grad.to(dtype), step=count) == 0
        for index, column in enumerate(columns):
            column.grad = grad[:, index : index + 1].clone()
        optimizer.step()
    assert_close(state["param"], torch.cat(columns, dim=1).detach(), tolerance)


def test_unseen_rows_and_frozen_columns_keep_every_bit(backend):
    state, grad = random_state(60, torch.float32), torch.randn(60, 5)
    before = {name: tensor.clone() for name, tensor in state.items()}
    visible = torch.rand(60) < 0.5
    assert step(backend, state, grad, step=7, visible=visible) == 0
    for name in NAMES:
        assert torch.equal(state[name][~visible], before[name][~visible])
        assert torch.equal(state[name][:, 1], before[name][:, 1])
        assert (state[name][visible][:, RATES != 0] != before[name][visible][:, RATES != 0]).all()


def test_rows_with_a_broken_gradient_are_left_and_counted(backend):
    state, grad = random_state(60, torch.float32), torch.randn(60, 5)
    grad[3, 0], grad[10, 4], grad[11] = torch.nan, torch.inf, -torch.inf
    grad[20, 2] = torch.nan
    visible = torch.ones(60, dtype=torch.bool)
    visible[20] = False
    before = {name: tensor.clone() for name, tensor in state.items()}
    assert step(backend, state, grad, step=7, visible=visible) == 3
    for name in NAMES:
        assert state[name].isfinite().all()
        assert torch.equal(state[name][[3, 10, 11, 20]], before[name][[3, 10, 11, 20]])
        assert not torch.equal(state[name][12], before[name][12])


def test_a_gradient_of_zero_moves_nothing_that_stands_still(backend):
    state = {name: torch.zeros(4, 5) for name in NAMES}
    assert step(backend, state, torch.zeros(4, 5), step=1) == 0
    assert all((tensor == 0).all() for tensor in state.values())


@pytest.mark.parametrize("count", [0, 1, 203])
def test_twins_agree(precision, reference, count):
    exact, grad, visible = random_state(count), torch.randn(count, 5, dtype=torch.float64), torch.rand(count) < 0.7
    state = {name: tensor.to(precision.dtype, copy=True) for name, tensor in exact.items()}
    for number in (10, 11, 12):
        options = {"step": number, "visible": visible, "beta1": 0.8, "beta2": 0.99, "eps": 1e-8}
        step(precision.native, state, grad.to(precision.dtype), **options)
        step(reference, exact, grad, **options)
    for name in NAMES:
        assert_close(state[name], exact[name], precision.values)


CENTER = torch.tensor([0.3, -0.2, 4.0])


def harmonics(count: int, coefficients: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Coefficients and moments as in the middle of training."""
    sh, first, second = (torch.randn(count, coefficients, 3, dtype=torch.float64) for _ in range(3))
    return tuple(tensor.to(dtype) for tensor in (sh, first, second.square()))


@pytest.mark.parametrize("count", [0, 1, 203])
@pytest.mark.parametrize("degree, coefficients", [(0, 1), (1, 4), (1, 16), (3, 16)])
def test_harmonics_move_by_the_product_of_pulls_and_basis(precision, reference, count, degree, coefficients):
    exact, means = harmonics(count, coefficients, torch.float64), torch.randn(count, 3)
    pulls, visible = torch.randn(count, 3) * (torch.rand(count, 3) < 0.8), torch.rand(count) < 0.7
    rates = 1e-3 * torch.rand(3 * coefficients)
    rates[3 * (degree + 1) ** 2 :] = 0
    ours = [tensor.to(precision.dtype, copy=True) for tensor in exact]
    before = [tensor.clone() for tensor in ours]
    for backend, (sh, first, second), dtype in (
        (precision.native, ours, precision.dtype),
        (reference, exact, torch.float64),
    ):
        looks = [tensor.to(dtype) for tensor in (pulls, means, CENTER)]
        moments = (first, second, rates.to(dtype))
        assert backend.adam_step_sh(sh, *looks, degree, *moments, step=7, visible=visible, beta1=0.8, eps=1e-8) == 0
    for actual, expected, old in zip(ours, exact, before, strict=True):
        assert_close(actual, expected, precision.values)
        assert torch.equal(actual[~visible], old[~visible])
        assert torch.equal(actual[:, (degree + 1) ** 2 :], old[:, (degree + 1) ** 2 :])
        assert count < 2 or not torch.equal(actual, old)


def test_harmonics_with_a_broken_pull_are_left_and_counted(backend):
    state, means, pulls = harmonics(60, 16, torch.float32), torch.randn(60, 3), torch.randn(60, 3)
    pulls[3, 0], pulls[59, 2], pulls[20, 1] = torch.nan, -torch.inf, torch.nan
    means[5] = torch.nan  # culled, as `project` and `sh_pulls` have it
    pulls[5] = 0
    visible = torch.ones(60, dtype=torch.bool)
    visible[20] = False
    before = [tensor.clone() for tensor in state]
    sh, first, second = state
    rates = torch.full((48,), 1e-3)
    assert backend.adam_step_sh(sh, pulls, means, CENTER, 3, first, second, rates, step=3, visible=visible) == 2
    for tensor, old in zip(state, before, strict=True):
        assert tensor.isfinite().all()
        assert torch.equal(tensor[[3, 59, 20]], old[[3, 59, 20]])
        assert not torch.equal(tensor[4], old[4])


def looked_up(count: int, features: int = 4) -> tuple[list[Tensor], Tensor, Tensor]:
    """A hash grid's table and moments as in the middle of training, places, and what pulls on their features."""
    generator = torch.Generator().manual_seed(count)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    table, first, second = (random(LEVELS.rows, features) for _ in range(3))
    positions, pulls = torch.rand(count, 3, generator=generator).double(), random(count, LEVELS.count * features)
    pulls[1:][torch.rand(max(count - 1, 0), generator=generator) < 0.4] = 0  # behind something opaque
    return [table, first, second.square()], positions, pulls


@pytest.mark.parametrize("count, features, smooth", [(0, 4, False), (1, 8, True), (203, 1, False), (203, 4, True)])
def test_a_table_moves_where_its_features_are_pulled_at(precision, reference, count, features, smooth):
    exact, positions, pulls = looked_up(count, features)
    ours = [tensor.to(precision.dtype, copy=True) for tensor in exact]
    pairs = []
    for backend, state, dtype in ((precision.native, ours, precision.dtype), (reference, exact, torch.float64)):
        before, looks = [tensor.clone() for tensor in state], (positions.to(dtype), pulls.to(dtype), LEVELS)
        options = {"step": 7, "smooth": smooth, "beta1": 0.8, "eps": 1e-8}
        rates = torch.full((features,), 1e-3, dtype=dtype)
        assert backend.adam_step_hash(state[0], *looks, *state[1:], rates, **options) == 0
        pairs.append([tensor != old for tensor, old in zip(state, before, strict=True)])
    for actual, expected, moved, ought in zip(ours, exact, *pairs, strict=True):
        assert_close(actual, expected, precision.values)
        assert not (moved & ~ought).any() and moved.any() == (count > 0) and not moved.all(), "others have moved"


def test_a_table_moves_as_by_its_gradient(each_native):
    """The two ways to the same rows: through the whole gradient, and without it."""
    (table, *moments), positions, pulls = (
        (t.float() if isinstance(t, Tensor) else [x.float() for x in t]) for t in looked_up(300)
    )
    state = [tensor.clone() for tensor in (table, *moments)]
    leaf = table.clone().requires_grad_()
    (grad,) = torch.autograd.grad(each_native.hash_encode(positions, leaf, LEVELS), leaf, pulls)
    rates, options = torch.full((4,), 1e-2), {"step": 3, "beta2": 0.99}
    each_native.adam_step(table, grad, *moments, rates, **options, visible=(grad != 0).any(dim=1))
    each_native.adam_step_hash(state[0], positions, pulls, LEVELS, *state[1:], rates, **options)
    for one, other in zip((table, *moments), state, strict=True):
        assert_close(one, other, "float32 twin")  # what lies in lanes may be rounded otherwise than a last row


def test_rows_of_a_table_with_a_broken_pull_are_left_and_counted(backend):
    (table, *moments), positions, pulls = looked_up(60)
    pulls[7, 3], pulls[7, 13] = torch.nan, torch.inf  # of levels 0 and 3
    before = [tensor.clone() for tensor in (table, *moments)]
    rates = torch.full((4,), 1e-2, dtype=torch.float64)
    poisoned = int(backend.adam_step_hash(table, positions, pulls, LEVELS, *moments, rates, step=3))
    assert 9 <= poisoned <= 16, "the corners around the place, in two levels"
    for tensor, old in zip((table, *moments), before, strict=True):
        assert tensor.isfinite().all() and not torch.equal(tensor, old)
