"""Volume rendering against closed forms, its laws, and nerfacc's dense form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural3d.fields.volume import WALL, composite, interval_lengths


def evenly(count: int, low: float = 0.0, high: float = 2.0) -> torch.Tensor:
    """Left ends of equal intervals, one ray."""
    return (low + (high - low) * torch.arange(count, dtype=torch.float64) / count)[None]


def drawn(rays: int = 5, samples: int = 9, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shape = {"generator": random, "dtype": torch.float64}
    densities = torch.randn(rays, samples, **shape).relu()
    return densities, torch.rand(rays, samples, 3, **shape), 0.1 + torch.rand(rays, samples, **shape)


def test_a_slab_of_constant_density_is_beers_law():
    t, color = evenly(64), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    lengths = interval_lengths(t, torch.tensor([2.0], dtype=torch.float64))
    seen = composite(torch.full_like(t, 1.5), color.expand(1, 64, 3), lengths)
    opaque = 1 - math.exp(-1.5 * 2.0)
    assert seen.alphas[0].item() == pytest.approx(opaque, abs=1e-12)
    assert torch.allclose(seen.colors[0], opaque * color, atol=1e-12)


def test_two_slabs_show_the_second_through_the_first():
    """Red of density 1 on [0, 1], green of density 3 on [1, 2]: e^-1 of the green comes through."""
    t = evenly(50)
    densities = torch.where(t < 1, 1.0, 3.0).double()
    colors = torch.where((t < 1)[..., None], torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])).double()
    seen = composite(densities, colors, interval_lengths(t, torch.tensor([2.0], dtype=torch.float64)))
    expected = [1 - math.exp(-1), math.exp(-1) * (1 - math.exp(-3)), 0]
    assert torch.allclose(seen.colors[0], torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_a_hard_surface_is_its_own_colour():
    densities = torch.tensor([[0.0, 0.0, 1e9, 5.0]])
    colors = torch.eye(4)[:, :3][None]
    seen = composite(densities, colors, torch.ones(1, 4))
    assert torch.equal(seen.colors, torch.tensor([[0.0, 0.0, 1.0]]))
    assert torch.equal(seen.weights, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


def test_the_last_interval_reaches_the_end_or_holds_all_that_lies_behind():
    t = torch.tensor([[1.0, 1.5, 1.75]])
    assert interval_lengths(t, torch.tensor([3.0])).tolist() == [[0.5, 0.25, 1.25]]
    assert interval_lengths(t, None).tolist() == [[0.5, 0.25, pytest.approx(WALL)]]
    assert composite(torch.full((1, 3), 1e-3), torch.ones(1, 3, 3), interval_lengths(t, None)).alphas == 1


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_weights_and_what_comes_through_sum_to_one(seed):
    densities, colors, lengths = drawn(seed=seed)
    seen = composite(densities, colors, lengths)
    through = torch.exp(-(densities * lengths).sum(dim=1))
    assert (seen.weights >= 0).all()
    assert torch.allclose(seen.alphas + through, torch.ones(5, dtype=torch.float64), atol=1e-12)


def test_splitting_a_sample_changes_nothing():
    densities, colors, lengths = drawn()
    whole = composite(densities, colors, lengths)
    parts = torch.stack([0.3 * lengths, 0.7 * lengths], dim=2).flatten(1)
    split = composite(densities.repeat_interleave(2, 1), colors.repeat_interleave(2, 1), parts)
    assert torch.allclose(whole.colors, split.colors, atol=1e-12)
    assert torch.allclose(whole.weights, split.weights.view(5, 9, 2).sum(dim=2), atol=1e-12)


def test_empty_samples_pull_at_nothing_but_their_own_density():
    """What `train.mlp` leaves out: behind a ReLU that is shut, neither density nor colour has a gradient, exactly."""
    raw = torch.tensor([[-1.0, 2.0, -0.5, 1.0]], requires_grad=True)
    colors = torch.rand(1, 4, 3, requires_grad=True)
    composite(raw.relu(), colors, torch.ones(1, 4)).colors.sum().backward()
    assert raw.grad[0, [0, 2]].tolist() == [0, 0] and not colors.grad[0, [0, 2]].any()
    assert raw.grad[0, [1, 3]].all() and colors.grad[0, [1, 3]].all()


def test_gradients_by_finite_differences():
    densities, colors, lengths = drawn(2, 5)
    inputs = ((densities + 0.1).requires_grad_(), colors.requires_grad_())
    assert torch.autograd.gradcheck(lambda d, c: composite(d, c, lengths).colors, inputs)


def test_nerfaccs_dense_form_agrees():
    nerfacc = pytest.importorskip("nerfacc", reason="nerfacc is not installed; the extra [cuda] has it")
    densities, colors, lengths = (tensor.float() for tensor in drawn())
    starts = torch.cat([torch.zeros(5, 1), lengths.cumsum(1)[:, :-1]], dim=1)
    weights, _, _ = nerfacc.render_weight_from_density(starts, starts + lengths, densities)
    theirs = nerfacc.accumulate_along_rays(weights, colors)
    ours = composite(densities, colors, lengths)
    assert torch.allclose(ours.weights, weights, atol=1e-6) and torch.allclose(ours.colors, theirs, atol=1e-6)
