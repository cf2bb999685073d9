"""Cameras learnt with a field: rows against autograd and differences, poses that come back, poses that stay."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from neural3d.bench.few_photos import beside
from neural3d.cameras import Cameras
from neural3d.capture.alignment import camera_difference
from neural3d.errors import InputError
from neural3d.fields.hashgrid import feature_light
from neural3d.fields.rays import Rays, rays_through
from neural3d.ops.hash_encode import hash_encode_positions_vjp
from neural3d.ops.march import ray_pulls
from neural3d.reference.march import grid_positions
from neural3d.train import hashgrid
from neural3d.train.camera_refinement import corrected, lens_numbers
from neural3d.train.exposure import AffineExposure
from neural3d.train.fields import train_field
from neural3d.train.hashgrid import HashGridLearner
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.ray_cameras import ALL_LEVELS_FROM, RayCameras, learning_levels, ray_rows
from neural3d.train.visual_hull import widened

from .field_runs import SMALL_HASHGRID, field_psnr
from .moved_cameras import moved, picture_error_px
from .small_scenes import make_scene, ring
from .textured_balls import balls_scene, surface_points

QUICK = HashGridConfig(
    steps=400,
    max_seconds=None,
    samples=16_000,
    levels=4,
    log2_rows=12,
    coarsest=8,
    finest=64,
    width=16,
    occupancy_cells=32,
    open_rays=800,
    ray_samples=24,
    exposure="none",
)
BOX, STEP = torch.tensor([0.0, 0, 0, 1]), 70


def corrected_rays(cameras: Cameras, views, pixels, corrections) -> Rays:
    """What `rays_through` would give if each camera were turned, shifted and zoomed, in plain torch."""
    turn, shift, log_focal = corrections[views].split([3, 3, 1], dim=1)
    x, y, z = turn.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    rotations = torch.linalg.matrix_exp(cross) @ cameras.camera_from_world[views, :3, :3]
    image = (pixels - cameras.principal_px[views]) / (cameras.focal_px[views] * log_focal.exp())
    in_camera = torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
    directions = torch.nn.functional.normalize((rotations.mT @ in_camera[..., None])[..., 0], dim=1)
    return Rays(cameras.centers_world[views] + shift, directions)


@pytest.mark.parametrize("contracted", [True, False])
def test_rows_are_those_of_autograd(contracted):
    """Of turns, shifts and focal lengths at once, from what pulls on samples' places."""
    given = ring(3)
    names = ("camera_from_world", "focal_px", "principal_px")
    cameras = replace(given, **{name: getattr(given, name).double() for name in names})
    views = torch.tensor([0, 2, 1, 2, 0, 1])
    pixels = torch.tensor([[40.0, 3], [7, 9], [20, 20], [1, 39], [25, 8], [44, 30]], dtype=torch.float64)
    center, half, box = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64), 0.4, BOX.double()
    counts, distances = torch.tensor([3, 1, 2, 4, 0, 2]), torch.linspace(0.3, 6, 12).double()
    of_places, ray = torch.randn(12, 3, dtype=torch.float64), torch.arange(6).repeat_interleave(counts)

    def seen(corrections: Tensor) -> Tensor:
        rays = corrected_rays(cameras, views, pixels, corrections)
        places = ((rays.origins - center) / half)[ray] + distances[:, None] * rays.directions[ray]
        told = (of_places * grid_positions(places, box, contracted=contracted)).sum(dim=1)
        return torch.zeros(6, dtype=torch.float64).index_add(0, ray, told)

    jacobian = torch.autograd.functional.jacobian(seen, torch.zeros(3, 7, dtype=torch.float64))
    expected = jacobian[torch.arange(6), views]
    rays = rays_through(cameras, views, pixels)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).int()
    looks = ((rays.origins - center) / half, rays.directions, box, distances, offsets)
    on_origins, on_directions = ray_pulls(*looks, of_places, contracted=contracted)
    found = ray_rows(cameras, views, rays.directions, on_origins / half, on_directions)
    torch.testing.assert_close(found, expected)
    assert (expected[counts > 0].abs() > 1e-4).all() and not jacobian[0, 1:].any()


class Listener:
    """Stands in for a learner's cameras: gives some, and keeps what is said of them."""

    def __init__(self, given: Cameras) -> None:
        self.now = given

    def cameras(self, _given: Cameras) -> Cameras:
        return self.now

    def update(self, _views, rows, errors) -> None:
        self.rows, self.errors = rows, errors


@pytest.mark.parametrize("has_alpha", [True, False])
def test_errors_change_as_rows_say(has_alpha, monkeypatch):
    """Central differences of a whole step's errors, by each number of all cameras; samples and looks stay."""
    monkeypatch.setattr(hashgrid, "hash_encode_positions_vjp", lambda *looks, smooth: hash_encode_positions_vjp(*looks))
    scene = make_scene(has_alpha=has_alpha, gains=None if has_alpha else [0.8, 1.2] * 4)
    learner = HashGridLearner(scene, replace(SMALL_HASHGRID, refine_cameras=True))
    learner.begin()
    for step in range(30):
        learner.take_step(step, 0.1)
    listener, given = Listener(scene.cameras), scene.cameras
    learner.cameras = listener
    rays = _rays_of(learner)
    found = learner.search.find(learner.place.rays(rays), STEP, 0.3)
    ray = torch.arange(learner.rays).repeat_interleave(found.samples.ray_offsets.diff().long())

    def there(rays: Rays, _step, _fraction):
        places = rays.origins[ray] + found.distances[:, None] * rays.directions[ray]
        positions = grid_positions(places, BOX, contracted=learner.place.contracted).contiguous()
        return replace(found, samples=replace(found.samples, positions=positions))

    def lit(*looks):
        return feature_light(*looks[:4], rays.directions, looks[5])

    monkeypatch.setattr(hashgrid, "feature_light", lit)
    monkeypatch.setattr(learner.search, "find", there)
    monkeypatch.setattr(learner.search, "learn", lambda *_: torch.zeros((), dtype=torch.int64))
    monkeypatch.setattr(learner, "_update_table", lambda *_: torch.zeros((), dtype=torch.int64))
    monkeypatch.setattr(learner, "_update", lambda *_: torch.zeros((), dtype=torch.int64))
    monkeypatch.setattr(AffineExposure, "update_all", lambda *_, **_rate: None)

    def looked(moves: Tensor) -> Listener:
        listener.now = corrected(given, moves[:, :6], moves[:1, 6:], lens_numbers(given))
        learner.take_step(STEP, 0.3)
        return listener

    rows, far = looked(torch.zeros(8, 7)).rows, 2e-4
    for number in range(7):
        move = far * torch.eye(7)[number].expand(8, 7)
        expected = (looked(move).errors - looked(-move).errors) / (2 * far)
        assert expected.norm() > 1
        assert (rows[:, number] - expected).norm() < 0.05 * expected.norm(), number


def _rays_of(learner: HashGridLearner) -> Rays:
    """Of one step."""
    return learner.pixels.batch(learner.rays, learner.background, learner.config.seed, STEP, central=False).rays


def _said_of(refined: RayCameras, truth: Tensor, step: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rays of which each sees in a straight line what its camera's seven numbers are."""
    random = torch.Generator().manual_seed(step)
    views, rows = torch.randint(len(truth), (600,), generator=random), torch.randn(600, 7, generator=random)
    now = torch.cat([refined.poses, refined.log_focals.expand(len(truth), 1)], dim=1)
    errors = (rows * (now - truth)[views]).sum(dim=1) + noise * torch.randn(600, generator=random)
    return views, rows, errors


def test_the_best_corrections_are_found():
    """But for the similarity that all cameras share, which is left alone."""
    refined = RayCameras.identity(make_scene(cameras=ring(6)))
    truth = 0.02 * torch.randn(6, 7, generator=torch.Generator().manual_seed(2))
    truth[:, 6] = 0.013
    drift = truth[:, :6].reshape(-1, 1)
    drift = drift - (refined.similarity @ (refined.similarity.T @ drift.double())).float()
    truth = torch.cat([drift.view(6, 6), truth[:, 6:]], dim=1)
    for step in range(120):
        refined.update(*_said_of(refined, truth, step, noise=0.001))
    assert (refined.poses - truth[:, :6]).abs().max() < 1e-3 < truth[:, :6].abs().max()
    assert refined.log_focals.item() == pytest.approx(0.013, abs=5e-4)
    assert (refined.similarity.T @ refined.poses.reshape(-1).double()).abs().max() < 1e-6


def test_noise_moves_no_camera_far():
    refined = RayCameras.identity(make_scene(cameras=ring(6)))
    for step in range(200):
        refined.update(*_said_of(refined, torch.zeros(6, 7), step, noise=0.1))
        assert refined.poses.abs().max() < 0.01, "four standard errors of a photo's remembered rays"
    assert refined.poses.abs().max() > 1e-4


def test_rays_that_are_not_finite_say_nothing():
    refined, other = (RayCameras.identity(make_scene(cameras=ring(6))) for _ in range(2))
    views, rows, errors = _said_of(refined, 0.01 * torch.ones(6, 7), 0, noise=0.0)
    refined.update(views, torch.where(torch.arange(600)[:, None] < 5, torch.nan, rows), errors)
    other.update(views, torch.where(torch.arange(600)[:, None] < 5, 0.0, rows), errors * (torch.arange(600) >= 5))
    assert torch.equal(refined.poses, other.poses) and refined.poses.any()


def test_cameras_of_another_run_are_refused():
    refined = RayCameras.identity(make_scene(cameras=ring(6)))
    assert torch.equal(refined.loaded(refined.tensors()).poses, refined.poses)
    for tensors in ({}, {**refined.tensors(), "cameras.poses": torch.zeros(5, 6)}):
        with pytest.raises(InputError, match="--refine-cameras: the run to resume was trained otherwise"):
            refined.loaded(tensors)


GIVEN = ring(16).scaled(72, 60)


def _wrong_cameras() -> Cameras:
    """By 1 degree, 1 % of the extent, and 2 % of the focal length."""
    return replace(moved(GIVEN, 1.0, 0.01), focal_px=GIVEN.focal_px * 1.02)


def _differences(cameras: Cameras):
    return camera_difference(*(c.camera_from_world.double().numpy() for c in (cameras, GIVEN)))


def _held_out_psnr(field, cameras: Cameras) -> float:
    """From between the cameras that were trained on, put where they would stand beside the refined ones."""
    between = ring(5, radius=0.95).scaled(72, 60)
    scene = balls_scene(between, has_alpha=True)
    return field_psnr(field, replace(scene, cameras=beside(between, GIVEN, cameras)))


def test_poses_come_back():
    scene = replace(balls_scene(GIVEN, has_alpha=True), cameras=_wrong_cameras())
    found = train_field(scene, replace(QUICK, refine_cameras=True))
    before, after = _differences(scene.cameras), _differences(found.cameras)
    errors = [picture_error_px(cameras, GIVEN, surface_points()) for cameras in (scene.cameras, found.cameras)]
    # A turn and a shift that move the picture alike remain in part; where things are seen is what comes back.
    assert errors[0] > 1 and errors[1] < errors[0] / 3
    assert np.median(after.angles_deg) < 0.75 * np.median(before.angles_deg)
    assert np.median(after.centers) < 0.75 * np.median(before.centers)
    # An object alone hardly tells a longer focal length from a larger distance.
    focals = [float(cameras.focal_px[0, 0]) - 67.5 for cameras in (scene.cameras, found.cameras)]
    assert abs(focals[1]) < focals[0]
    plain = train_field(scene, QUICK)
    assert plain.cameras is None
    assert _held_out_psnr(found.field, found.cameras) > _held_out_psnr(plain.field, scene.cameras) + 1


def test_right_poses_stay():
    found = train_field(balls_scene(GIVEN, has_alpha=True), replace(QUICK, refine_cameras=True)).cameras
    difference = _differences(found)
    assert np.median(difference.angles_deg) < 0.5 and np.median(difference.centers) < 0.006
    assert picture_error_px(found, GIVEN, surface_points()) < 0.2


def test_fine_levels_wait():
    assert [learning_levels(6, ALL_LEVELS_FROM * part) for part in (0, 0.4, 1, 2)] == [3, 4, 6, 6]
    assert learning_levels(2, 0.0) == 2


def test_a_hull_is_widened_on_all_sides():
    possible = torch.zeros(20, 20, 20, dtype=torch.bool)
    possible[4, 10, 19] = True
    expected = torch.zeros_like(possible)
    expected[2:7, 8:13, 17:] = True
    assert torch.equal(widened(possible, 0.1), expected) and math.ceil(0.1 * 20) == 2
