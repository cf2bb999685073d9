"""Measures of completed textures: true texels score near the floor, what is wrong scores worse."""

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.metrics import (
    Windows,
    bootstrap_interval,
    c2st,
    frechet_distance,
    kernel_distance,
    recall,
    score,
    sliced_distance,
)
from neural3d.priors.patches import to_signed
from priors.textures import waves

SIDE = 96


def texture(seed: int, angle: float = 0.4) -> Float[Tensor, "3 H W"]:
    return to_signed(torch.from_numpy(waves(SIDE, 9.0, angle, seed))[None])[0]


@pytest.fixture(scope="module")
def holes() -> list[Tensor]:
    hole = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hole[16:80, 16:80] = True
    return [hole, hole]


TRUE = [texture(1), texture(2, 1.2)]
BLURRED = [functional.avg_pool2d(functional.pad(t[None], 4 * [4], mode="replicate"), 9, 1)[0] for t in TRUE]


def inside(wrong: list[Tensor], holes: list[Tensor]) -> list[Tensor]:
    return [torch.where(hole, bad, true) for bad, true, hole in zip(wrong, TRUE, holes, strict=True)]


def test_the_truth_scores_nothing(holes):
    card = score(TRUE, TRUE, holes)
    assert (card.swd, card.layout) == (0, 0) and card.sharpness == card.seam == 1
    assert 0.4 < card.c2st < 0.6 and card.penalty < 0.2


def test_another_stretch_of_the_same_texture_is_near_the_truth(holes):
    """With its own noise: no pixel is equal, and still nobody can tell."""
    again = score([texture(11), texture(12, 1.2)], TRUE, holes)
    assert 0.4 < again.c2st < 0.65 and again.swd < 0.1 and abs(again.sharpness - 1) < 0.1


@pytest.mark.parametrize("kind", ["blur", "noise", "flat"])
def test_what_is_wrong_is_told_from_the_truth(kind, holes):
    generator = torch.Generator().manual_seed(3)
    wrong = {
        "blur": BLURRED,
        "noise": [torch.randn(t.shape, generator=generator) * t.std() for t in TRUE],
        "flat": [t.mean((1, 2), keepdim=True).expand_as(t) for t in TRUE],
    }[kind]
    card = score(inside(wrong, holes), TRUE, holes)
    assert card.c2st > 0.95 and card.swd > 0.2 and card.layout > 0.3
    assert card.sharpness > 1.5 if kind == "noise" else card.sharpness < 0.7
    assert card.penalty > 1.5


def test_a_step_at_the_border_is_a_seam(holes):
    card = score(inside([t + 0.6 for t in TRUE], holes), TRUE, holes)
    assert card.seam > 1.2 and abs(card.sharpness - 1) < 0.1


def test_too_small_a_hole_has_no_critic():
    windows = Windows(torch.randn(3, 5), torch.tensor([0, 1, 2]))
    assert math.isnan(c2st(windows, windows))


def test_the_sliced_distance_of_two_shifted_points_is_the_mean_shift():
    """Along a random direction of D dimensions a unit shift is sqrt(2 / (pi D)) on average, for many dimensions."""
    points = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    shift = torch.nn.functional.one_hot(torch.tensor(3), 64)
    assert sliced_distance(points, points) == 0
    found = [sliced_distance(points, points + shift, seed) for seed in range(8)]
    assert sum(found) / 8 == pytest.approx(math.sqrt(2 / (math.pi * 64)), rel=0.06)
    assert sliced_distance(points, points[torch.randperm(500)]) == pytest.approx(0, abs=1e-6)


def test_coverage_counts_the_modes_that_are_there():
    generator = torch.Generator().manual_seed(4)
    two = torch.cat([torch.randn(100, 4, generator=generator), 30 + torch.randn(100, 4, generator=generator)])
    assert recall(two, two[:100] + 0.01 * torch.randn(100, 4, generator=generator)) == pytest.approx(0.5, abs=0.02)
    assert recall(two, two) == 1


def test_the_frechet_distance_of_known_laws():
    """Two normal laws in one dimension: (m1 - m2)^2 + (s1 - s2)^2."""
    points = torch.randn(4000, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    points = (points - points.mean(0)) / points.std(0)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-6)
    moved = points * torch.tensor([3.0, 1.0]) + torch.tensor([0.0, 2.0])
    assert frechet_distance(points, moved) == pytest.approx(4 + 4, rel=0.02)


def test_the_kernel_distance_is_unbiased_and_grows():
    generator = torch.Generator().manual_seed(6)
    a, b = (torch.randn(300, 3, generator=generator) for _ in range(2))
    assert abs(kernel_distance(a, b)) < 0.1 < kernel_distance(a, b + 1) < kernel_distance(a, b + 2)


def test_an_interval_holds_its_mean_and_shrinks_with_more_values():
    values = torch.randn(20, generator=torch.Generator().manual_seed(7)).tolist()
    low, high = bootstrap_interval(values)
    assert low < sum(values) / 20 < high
    fewer, more = bootstrap_interval(values[:5]), bootstrap_interval(values * 10)
    assert more[1] - more[0] < high - low < 2 * (fewer[1] - fewer[0])
