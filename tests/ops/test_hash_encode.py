"""Features of points from a multiresolution hash grid."""

import math

import pytest
import torch

from neural3d.ops.records import HashLevels

from .backends import gradients
from .random_rays import LEVELS
from .tolerances import GRADCHECK, assert_close

DENSE = HashLevels(count=1, coarsest=3, finest=3, log2_rows=6)
HASHED = HashLevels(count=1, coarsest=100, finest=100, log2_rows=5)


def between_cells(count: int, levels: HashLevels) -> torch.Tensor:
    """Points that keep away from every level's cell faces, where the slope jumps."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50 * count, 3, generator=generator, dtype=torch.float64)
    cells = torch.tensor(levels.cells, dtype=torch.float64)
    place = points[:, :, None] * cells
    inside = ((place - place.round()).abs() > 1e-3).all(dim=2).all(dim=1)
    return points[inside][:count].contiguous()


def test_levels_are_those_of_the_paper():
    """16 levels of 16 to 512 cells (Mueller et al. 2022, section 4): growth 1.26."""
    levels = HashLevels(16, 16, 512, 14)
    assert levels.cells[0] == 16 and levels.cells[-1] == 512
    assert levels.cells[1] == math.floor(16 * 2 ** (5 / 15)) and list(levels.cells) == sorted(levels.cells)
    assert levels.rows_per_level[0] == 17**3 and levels.rows_per_level[-1] == 2**14
    assert levels.first_rows[1] == 17**3 and levels.rows == sum(levels.rows_per_level)


@pytest.mark.parametrize(
    "numbers, name",
    [((0, 1, 2, 3), "count"), ((33, 1, 2, 3), "count"), ((1, 3, 2, 3), "coarsest"), ((1, 1, 2**21, 3), "finest"),
     ((1, 1, 2, 0), "log2_rows"), ((1, 1, 2, 31), "log2_rows")],
)  # fmt: skip
def test_levels_that_cannot_be(numbers, name):
    with pytest.raises(ValueError, match=name):
        HashLevels(*numbers)


def test_a_dense_level_interpolates_its_corners(backend):
    """A table that holds the corners' coordinates gives back the point."""
    axis = torch.arange(4, dtype=torch.float64) / 3
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    table = torch.stack([x, y, z, torch.ones_like(x)], dim=-1).view(64, 4)
    points = torch.cat([torch.rand(50, 3, dtype=torch.float64), torch.tensor([[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]])])
    found = backend.hash_encode(points, table, DENSE)
    assert_close(found[:, :3], points, "float64 truth")
    assert_close(found[:, 3], torch.ones(52, dtype=torch.float64), "float64 truth")


def test_the_hash_of_a_corner(backend):
    """Corner (10, 20, 30) of a level of 100 cells and 32 rows: (10 ^ 20 * 2654435761 ^ 30 * 805459861) mod 32."""
    table = torch.arange(32, dtype=torch.float64)[:, None]
    point = torch.tensor([[0.10, 0.20, 0.30]], dtype=torch.float64) + 1e-12
    row = (10 ^ 20 * 2654435761 ^ 30 * 805459861) % 32
    assert backend.hash_encode(point, table, HASHED).item() == pytest.approx(row, abs=1e-6)


def test_the_smooth_step_has_no_slope_at_corners(backend):
    table, point = torch.rand(64, 2, dtype=torch.float64), torch.tensor([[1 / 3, 2 / 3, 1.0]], dtype=torch.float64)
    slopes = [
        gradients(lambda leaf, smooth=smooth: backend.hash_encode(**leaf, levels=DENSE, smooth=smooth),
                  {"positions": point + 1e-9, "table": table})["positions"] for smooth in (False, True)
    ]  # fmt: skip
    assert slopes[0][0, :2].abs().min() > 0.01 and slopes[1].abs().max() < 1e-6


def test_beyond_the_cube_is_its_border(backend):
    table = torch.rand(LEVELS.rows, 2, dtype=torch.float64)
    inside = torch.tensor([[0.0, 0.3, 1.0]], dtype=torch.float64)
    outside = inside + torch.tensor([[-3.0, 0.0, 7.0]], dtype=torch.float64)
    assert torch.equal(backend.hash_encode(outside, table, LEVELS), backend.hash_encode(inside, table, LEVELS))
    pull = gradients(lambda leaf: backend.hash_encode(**leaf, levels=LEVELS), {"positions": outside, "table": table})
    assert (pull["positions"][0, [0, 2]] == 0).all() and pull["positions"][0, 1] != 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_what_is_no_place_reads_no_foreign_memory(each_native, value):
    points = torch.full((3, 3), value)
    table = torch.rand(LEVELS.rows, 4)
    assert each_native.hash_encode(points, table, LEVELS).isfinite().all()
    pull = gradients(lambda leaf: each_native.hash_encode(**leaf, levels=LEVELS), {"positions": points, "table": table})
    assert all(grad.isfinite().all() for grad in pull.values())


@pytest.mark.parametrize("smooth", [False, True])
def test_derivative(backend, smooth):
    levels = HashLevels(3, 2, 9, 6)
    points, table = between_cells(4, levels), torch.rand(levels.rows, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda p, t: backend.hash_encode(p, t, levels, smooth=smooth),
        [points.requires_grad_(), table.requires_grad_()], **GRADCHECK,
    )  # fmt: skip


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("smooth", [False, True])
def test_twins_agree_at_every_level(precision, reference, features, smooth):
    exact = {"positions": between_cells(130, LEVELS), "table": torch.randn(LEVELS.rows, features, dtype=torch.float64)}
    inputs = {name: tensor.to(precision.dtype) for name, tensor in exact.items()}
    ours, theirs = (
        backend.hash_encode(**values, levels=LEVELS, smooth=smooth).view(130, LEVELS.count, features)
        for backend, values in ((precision.native, inputs), (reference, exact))
    )
    for level in range(LEVELS.count):
        assert_close(ours[:, level], theirs[:, level], precision.values)
    ours, theirs = (
        gradients(lambda leaf, b=backend: b.hash_encode(**leaf, levels=LEVELS, smooth=smooth), values)
        for backend, values in ((precision.native, inputs), (reference, exact))
    )
    for name in exact:
        assert_close(ours[name], theirs[name], precision.grads)


def test_no_points(each_native):
    table = torch.rand(LEVELS.rows, 4)
    inputs = {"positions": torch.zeros(0, 3), "table": table}
    assert each_native.hash_encode(**inputs, levels=LEVELS).shape == (0, 4 * LEVELS.count)
    assert (gradients(lambda leaf: each_native.hash_encode(**leaf, levels=LEVELS), inputs)["table"] == 0).all()
