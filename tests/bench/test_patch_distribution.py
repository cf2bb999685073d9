"""GPDM, the yardstick: distances by hand, and holes whose patches come to be distributed as the known ones."""

from dataclasses import replace

import pytest
import torch

from neural3d.bench.patch_distribution import MatchingConfig, matched_fill, sliced_loss
from neural3d.priors.exemplar.poisson import harmonic_fill
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import sharpness, swd

QUICK = MatchingConfig(patch=5, steps=100, projections=32, coarsest_px=14)


def test_the_distance_is_that_of_the_order():
    """In one dimension a direction is a sign: what is moved by 0.5 is 0.5 away, in whatever order."""
    points = torch.randn(40, 1, generator=seeded(0))
    shuffled = points[torch.randperm(40, generator=seeded(1))]
    assert float(sliced_loss(points, shuffled, 8, seeded(2))) == pytest.approx(0.0, abs=1e-7)
    assert float(sliced_loss(points + 0.5, shuffled, 8, seeded(2))) == pytest.approx(0.5, abs=1e-6)


def test_fewer_known_patches_are_drawn_again_and_more_are_drawn_from():
    few = torch.tensor([[0.0], [1.0]])
    assert float(sliced_loss(few.repeat(3, 1), few, 4, seeded(0))) == pytest.approx(0.0, abs=1e-7)
    many = torch.zeros(90, 1)
    assert float(sliced_loss(few, many, 4, seeded(0))) == pytest.approx(0.5, abs=1e-6)


def test_a_hole_gets_the_patches_of_what_is_around_and_that_stays():
    """Of noise: as sharp and as near in distribution as a smooth fill is not."""
    image = 0.5 * torch.randn(3, 44, 44, generator=seeded(3)).clamp(-1.9, 1.9)
    hole = torch.zeros(44, 44, dtype=torch.bool)
    hole[13:31, 15:33] = True
    hidden = torch.where(hole, 0.0, image)
    found = matched_fill(hidden, hole, 5, QUICK)
    assert torch.equal(found[:, ~hole], image[:, ~hole])
    smooth = harmonic_fill(hidden, hole)
    sharp = [sharpness(one, hole) / sharpness(image, hole) for one in (smooth, found)]
    assert sharp[0] < 0.3 and 0.7 < sharp[1] < 1.3
    assert swd(found, image, hole) < 0.5 * swd(smooth, image, hole)


def test_a_seed_gives_the_same_bytes():
    image = torch.randn(3, 30, 30, generator=seeded(4)).clamp(-1, 1)
    hole = torch.zeros(30, 30, dtype=torch.bool)
    hole[10:20, 10:20] = True
    first, again, other = (matched_fill(image, hole, seed, replace(QUICK, steps=3)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_where_no_patch_is_known_there_is_nothing_to_match():
    hole = torch.ones(20, 20, dtype=torch.bool)
    hole[::4] = False
    with pytest.raises(ValueError, match="nowhere are 5 x 5 texels known"):
        matched_fill(torch.zeros(3, 20, 20), hole, 0, QUICK)
