"""Rays to samples in occupied space."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.ops.records import MarchRange
from neural3d.reference.march import grid_positions

from .backends import gradients
from .random_rays import make_grid, make_rays
from .tolerances import GRADCHECK, assert_close

BOX = torch.tensor([0.1, -0.2, 0.3, 1.1], dtype=torch.float64)
SPANS = [
    MarchRange(step=0.03),
    MarchRange(step=0.03, near=2.5, far=3.5, cone=0.02),
    MarchRange(step=0.05, near=0.1, far=50.0, cone=0.04, contracted=True),
    MarchRange(step=0.01, max_steps=37),
]


def everywhere(cells: int = 4) -> torch.Tensor:
    return torch.ones(cells, cells, cells, dtype=torch.bool)


def test_a_ray_through_the_middle_of_a_full_cube(backend):
    """From x = -3 along x: the cube spans t = 2 to 4; twenty steps of 0.1 begin at its face."""
    ray = (torch.tensor([[-3.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1))
    found = backend.march(*ray, torch.tensor([0.0, 0.0, 0.0, 1.0]), everywhere(), MarchRange(step=0.1001))
    assert found.ray_offsets.tolist() == [0, 20]
    assert_close(found.ts, 2 + 0.1001 * (torch.arange(20) + 0.5), "float32 law")
    assert_close(found.positions[:, 0], (found.ts - 2) / 2, "float32 law")
    assert (found.positions[:, 1:] == 0.5).all() and torch.allclose(found.deltas, torch.tensor(0.1001))


def test_only_what_is_occupied_is_sampled(backend):
    """Of 8^3 cells a single one: samples lie in it, and none that lie in it is missing."""
    origins, directions = make_rays(200)
    occupied = torch.zeros(8, 8, 8, dtype=torch.bool)
    occupied[3, 4, 5] = True
    rays = (origins, directions, torch.zeros(200, dtype=torch.float64), BOX)
    some = backend.march(*rays, occupied, SPANS[0])
    every = backend.march(*rays, everywhere(), SPANS[0])
    inside = ((every.positions * 8).floor() == torch.tensor([5, 4, 3])).all(dim=1)
    assert 20 < len(some.ts) == int(inside.sum())
    assert torch.equal(some.positions, every.positions[inside]) and torch.equal(some.ts, every.ts[inside])


def test_nothing_is_occupied_and_nobody_looks(backend):
    origins, directions = make_rays(5)
    nothing = backend.march(origins, directions, torch.zeros(5).double(), BOX, ~everywhere(), SPANS[0])
    assert nothing.ray_offsets.tolist() == [0] * 6 and nothing.positions.shape == (0, 3)
    nobody = backend.march(origins[:0], directions[:0], torch.zeros(0).double(), BOX, everywhere(), SPANS[0])
    assert nobody.ray_offsets.tolist() == [0]
    beside = backend.march(origins, -directions, torch.zeros(5).double(), BOX, everywhere(), SPANS[0])
    assert len(beside.ts) == 0


def test_steps_cover_the_ray_without_a_gap(backend):
    """Where everything is occupied each step begins where the one before ended, and grows with the distance."""
    origins, directions = make_rays(30)
    found = backend.march(origins, directions, torch.rand(30).double(), BOX, everywhere(), SPANS[2])
    begins, ends = found.ts - found.deltas / 2, found.ts + found.deltas / 2
    same_ray = torch.ones(len(begins) - 1, dtype=torch.bool)
    same_ray[found.ray_offsets[1:-1].long() - 1] = False
    assert_close(begins[1:][same_ray], ends[:-1][same_ray], "float64 truth")
    assert_close(found.deltas, (0.04 * begins).clamp(min=0.05), "float64 truth")


def test_all_of_space_goes_into_the_grid():
    """Inside the ball nothing but a scale; far away towards the border, in the same direction."""
    box = torch.tensor([1.0, 2.0, 3.0, 2.0], dtype=torch.float64)
    direction = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
    radii = torch.tensor([0.0, 1.0, 2.0, 4.0, 1e12], dtype=torch.float64)
    places = grid_positions(box[:3] + radii[:, None] * direction, box, contracted=True)
    expected = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    assert_close((places - 0.5) * 4, expected[:, None] * direction, "float64 twin")


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("share", [0.03, 0.4, 1.1])
def test_twins_agree(native, reference, span, share):
    origins, directions = make_rays(150)
    arguments = (origins, directions, torch.rand(150).double(), BOX, make_grid(16, share), span)
    ours, theirs = native.march(*arguments), reference.march(*arguments)
    assert torch.equal(ours.ray_offsets, theirs.ray_offsets)
    for name in ("positions", "ts", "deltas"):
        assert_close(getattr(ours, name), getattr(theirs, name), "float64 twin")


@pytest.mark.parametrize("span", SPANS[:3])
def test_leaps_over_empty_blocks_leave_nothing_out(native, reference, span):
    """Few cells of many, in blocks that are cut off at the grid's border; steps that are much shorter than a cell."""
    origins, directions = make_rays(60)
    short = replace(span, step=span.step / 7, cone=span.cone / 7)
    arguments = (origins, directions, torch.rand(60).double(), BOX, make_grid(44, 0.004), short)
    ours, theirs = native.march(*arguments), reference.march(*arguments)
    assert len(theirs.ts) > 0 and torch.equal(ours.ray_offsets, theirs.ray_offsets)
    assert_close(ours.ts, theirs.ts, "float64 twin")


@pytest.mark.parametrize("contracted", [False, True])
def test_rays_are_pulled_by_their_samples(backend, contracted):
    """The steps do not depend on the ray where it begins and ends at given distances."""
    origins, directions = make_rays(6)
    span = MarchRange(step=0.1, near=2.7, far=3.2, contracted=contracted)
    box = torch.tensor([0.0, 0.0, 0.0, 0.2 if contracted else 5.0], dtype=torch.float64)
    run = lambda o, d: backend.march(o, d, torch.zeros(6).double(), box, everywhere(), span).positions  # noqa: E731
    assert torch.autograd.gradcheck(run, [origins.requires_grad_(), directions.requires_grad_()], **GRADCHECK)


def test_twins_agree_on_gradients(precision, reference):
    origins, directions = make_rays(40)
    span, grid = MarchRange(step=0.1, near=0.2, far=9.0, cone=0.03, contracted=True), make_grid(5, 1.1)

    def run(backend, dtype):
        def march(leaf):
            constants = (torch.zeros(40, dtype=dtype), BOX.to(dtype), grid, span)
            return backend.march(leaf["origins"], leaf["directions"], *constants).positions

        return gradients(march, {"origins": origins.to(dtype), "directions": directions.to(dtype)})

    ours, theirs = run(precision.native, precision.dtype), run(reference, torch.float64)
    for name in theirs:
        assert_close(ours[name], theirs[name], precision.grads)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, 0.0])
def test_rays_that_are_none(each_native, value):
    """Nothing loops for ever or reads what is not the grid's."""
    bad = torch.full((4, 3), value)
    for origins, directions in ((bad, torch.ones(4, 3)), (torch.ones(4, 3), bad)):
        for span in SPANS:
            found = each_native.march(origins, directions, torch.zeros(4), BOX.float(), everywhere(), span)
            assert 0 <= len(found.ts) <= 4 * span.max_steps


@pytest.mark.parametrize(
    "numbers, name",
    [({"step": 0.0}, "step"), ({"step": math.nan}, "step"), ({"step": 1.0, "near": 2.0, "far": 1.0}, "near"),
     ({"step": 1.0, "cone": -1.0}, "cone"), ({"step": 1.0, "max_steps": 1 << 21}, "max_steps")],
)  # fmt: skip
def test_ranges_that_cannot_be(numbers, name):
    with pytest.raises(ValueError, match=name):
        MarchRange(**numbers)
