"""Orbits: level, closed, smooth, at the photographers' distance, and never where nothing was seen."""

import math

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.render.paths import focus_point, look_at, orbit_cameras

UP = torch.tensor([0.0, -1.0, 0.0])


def cameras_at(centers: torch.Tensor, target: torch.Tensor) -> Cameras:
    count = len(centers)
    return Cameras(
        camera_from_world=look_at(centers.double(), target.double().expand(count, 3), UP).float(),
        focal_px=torch.full((count, 2), 500.0),
        principal_px=torch.tensor([[320.0, 240.0]]).repeat(count, 1),
        size_px=torch.tensor([[640, 480]]).repeat(count, 1),
    )


def ring(degrees: torch.Tensor, radius: float = 3.0, height: float = 1.0) -> torch.Tensor:
    angles = torch.deg2rad(degrees)
    return torch.stack([radius * angles.cos(), torch.full_like(angles, -height), radius * angles.sin()], dim=-1)


def test_look_at_looks_there_with_a_level_horizon():
    pose = look_at(torch.tensor([[1.0, 2, 3]]), torch.tensor([[4.0, 0, -1]]), UP)[0].double()
    target = pose[:3, :3] @ torch.tensor([4.0, 0, -1]).double() + pose[:3, 3]
    assert torch.allclose(target[:2], torch.zeros(2).double(), atol=1e-6) and target[2] > 0
    assert torch.allclose(pose[:3, :3] @ pose[:3, :3].T, torch.eye(3).double(), atol=1e-6)
    assert torch.linalg.det(pose[:3, :3]) > 0
    assert abs(float(pose[0, :3] @ UP.double())) < 1e-6 and float(pose[1, :3] @ UP.double()) < 0


def test_focus_is_where_most_cameras_look():
    target = torch.tensor([0.3, 0.1, -0.2])
    cameras = cameras_at(ring(torch.linspace(0, 340, 18)) + target, target)
    strays = cameras_at(torch.tensor([[2.0, -1, 2], [-2, -1, 2]]), torch.tensor([20.0, 0, 50]))
    poses = torch.cat([cameras.camera_from_world, strays.camera_from_world])
    both = Cameras(poses, *(t.repeat(2, 1)[:20] for t in (cameras.focal_px, cameras.principal_px, cameras.size_px)))
    assert torch.allclose(focus_point(both).float(), target, atol=0.02)


def test_parallel_axes_take_the_depth_of_the_points():
    centers = torch.stack([torch.linspace(-1, 1, 9), torch.zeros(9), torch.zeros(9)], dim=-1)
    poses = torch.eye(4).repeat(9, 1, 1)
    poses[:, :3, 3] = -centers
    size = torch.tensor([[64, 48]]).repeat(9, 1)
    cameras = Cameras(poses, torch.full((9, 2), 60.0), size / 2, size)
    points = torch.randn(500, 3) * 0.1 + torch.tensor([0, 0, 7.0])
    assert torch.allclose(focus_point(cameras, points).float(), torch.tensor([0, 0, 7.0]), atol=0.05)
    orbit = orbit_cameras(cameras, UP, points=points)
    assert (orbit.centers_world[:, 2] < 1).all() and (orbit.centers_world[:, 0].abs() < 1).all()
    assert (orbit.forward_world[:, 2] > 0.9).all()


def test_a_capture_from_all_around_is_gone_around():
    cameras = cameras_at(ring(torch.linspace(0, 345, 24)), torch.zeros(3))
    orbit = orbit_cameras(cameras, UP, num_frames=90)
    centers = orbit.centers_world
    assert torch.allclose(centers.norm(dim=-1), torch.full((90,), math.sqrt(10)), rtol=0.02)
    assert torch.allclose(centers[:, 1], torch.full((90,), -1.0), atol=0.05)
    steps = (centers.roll(-1, 0) - centers).norm(dim=-1)
    assert steps.max() < 1.1 * steps.min(), "the last frame leads into the first"
    angles = torch.atan2(centers[:, 2], centers[:, 0]).sort().values
    assert torch.diff(angles).max() < 2 * 2 * math.pi / 90
    assert torch.allclose(orbit.forward_world, torch.nn.functional.normalize(-centers, dim=-1), atol=1e-5)
    assert orbit.size_px.unique(dim=0).tolist() == [[640, 480]] and torch.allclose(orbit.focal_px, torch.tensor(500.0))


def test_a_capture_from_one_side_is_seen_from_that_side():
    cameras = cameras_at(ring(torch.linspace(40, 130, 12)), torch.zeros(3))
    orbit = orbit_cameras(cameras, UP)
    angles = torch.rad2deg(torch.atan2(orbit.centers_world[:, 2], orbit.centers_world[:, 0]))
    assert 40 <= float(angles.min()) < 55 and 115 < float(angles.max()) <= 130
    steps = (orbit.centers_world.roll(-1, 0) - orbit.centers_world).norm(dim=-1)
    assert steps.max() < 0.25


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_photos_have_an_orbit_too(count: int):
    cameras = cameras_at(ring(torch.tensor([10.0, 30.0]))[:count], torch.zeros(3))
    orbit = orbit_cameras(cameras, UP, num_frames=10)
    assert len(orbit) == 10 and orbit.camera_from_world.isfinite().all()
    assert (orbit.centers_world - cameras.centers_world[0]).norm(dim=-1).max() < 3


def test_a_capture_that_looks_outward_stays_finite():
    centers = 0.1 * ring(torch.linspace(0, 330, 12), height=0.0)
    cameras = cameras_at(centers, torch.zeros(3))
    outward = Cameras(
        cameras_at(centers, torch.zeros(3)).camera_from_world,
        *(getattr(cameras, name) for name in ("focal_px", "principal_px", "size_px")),
    )
    outward.camera_from_world[:, [0, 2]] *= -1
    assert orbit_cameras(outward, UP).camera_from_world.isfinite().all()


def test_straight_down_photos_do_not_turn_the_horizon():
    cameras = cameras_at(torch.tensor([[0.001, -3.0, 0], [0.0, -3.1, 0.001]]), torch.zeros(3))
    assert orbit_cameras(cameras, UP).camera_from_world.isfinite().all()
