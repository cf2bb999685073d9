"""Gradients whose memory is planned are those whose memory is measured, whatever the plan."""

from dataclasses import replace

import pytest
import torch

from neural3d.splats.gaussians import Gaussians
from neural3d.train import planned_gradient
from neural3d.train.gradients import PhotoGradient, photo_gradient
from neural3d.train.photos import TrainingPhoto, build_pyramid
from neural3d.train.planned_gradient import (
    FEWEST_PAIRS,
    HEADROOM,
    REMEMBERED,
    CapacityPlan,
    PlannedGradient,
    engine_gradient,
    planned_capacity,
)

from .small_scenes import make_scene, same, truth

OPTIONS = {"sh_degree": 0, "exposure": None, "ssim_weight": 0.2}
BLACK = torch.zeros(3)


@pytest.fixture
def photos() -> list[TrainingPhoto]:
    """Of one size."""
    return list(build_pyramid(make_scene(3), 0).levels[0])


@pytest.fixture
def gaussians() -> Gaussians:
    """Large enough to meet several tiles each."""
    made = truth(200)
    return replace(made, log_scales=made.log_scales + 1)


def assert_same(found: PhotoGradient, expected: PhotoGradient) -> None:
    assert same(found.gaussians.tensors(), expected.gaussians.tensors())
    for name in ("loss", "squared_error", "means_px", "visible", "means_by_color", "means_seen_px"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_a_capacity_has_room_and_few_sizes():
    met = [0, 1, FEWEST_PAIRS, *range(5_000, 2_000_000, 7_001), 1 << 30]
    capacities = [planned_capacity(pairs) for pairs in met]
    assert capacities == sorted(capacities)
    for pairs, capacity in zip(met, capacities, strict=True):
        assert max(FEWEST_PAIRS, int(HEADROOM * pairs)) <= capacity <= max(FEWEST_PAIRS, 1.125 * HEADROOM * pairs)
    assert len(set(capacities)) < 80
    assert planned_capacity(1 << 31) == planned_capacity(1 << 40) == (1 << 31) - 1


def test_a_plan_follows_what_was_met_lately():
    plan = CapacityPlan()
    assert plan.capacity is None
    plan.remember(100_000)
    plan.remember(10_000)
    assert plan.capacity == planned_capacity(100_000)
    for _ in range(REMEMBERED):
        plan.remember(20_000)
    assert plan.capacity == planned_capacity(20_000)


def test_each_size_of_image_has_its_plan(photos, gaussians):
    gradient_of = PlannedGradient()
    narrow = [
        replace(photo, view=replace(photo.view, width=24), pixels=photo.pixels[:, :24].contiguous()) for photo in photos
    ]
    for photo in photos + narrow:
        given = (gaussians, photo, BLACK)
        assert_same(gradient_of(*given, **OPTIONS), photo_gradient(*given, **OPTIONS))
    assert len(gradient_of.plans) == 2 and gradient_of.repeated == 0


@pytest.mark.parametrize("capacity", [0, 1, "one too few", "just enough", 1 << 20])
def test_no_bit_depends_on_the_plan(capacity, photos, gaussians, monkeypatch):
    photo = photos[0]
    expected = photo_gradient(gaussians, photo, BLACK, **OPTIONS)
    planned = {"one too few": expected.pairs - 1, "just enough": expected.pairs}.get(capacity, capacity)
    monkeypatch.setattr(planned_gradient, "planned_capacity", lambda pairs: planned)
    gradient_of = PlannedGradient()
    for _ in range(3):
        assert_same(gradient_of(gaussians, photo, BLACK, **OPTIONS), expected)
    assert gradient_of.repeated == (2 if planned < expected.pairs else 0)


def test_a_gradient_within_too_small_a_capacity_says_so(photos, gaussians):
    exact = photo_gradient(gaussians, photos[0], BLACK, **OPTIONS)
    void = photo_gradient(gaussians, photos[0], BLACK, capacity=exact.pairs - 1, **OPTIONS)
    assert void.pairs.read() == exact.pairs
    assert not void.gaussians.means_world.any() and exact.gaussians.means_world.any()


def test_the_cpu_needs_no_plan():
    assert engine_gradient(torch.device("cpu")) is photo_gradient
    assert isinstance(engine_gradient(torch.device("cuda")), PlannedGradient)
