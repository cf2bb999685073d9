"""Our cameras and viser's are the same cameras."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.scene import Scene
from neural3d.viewer.space import (
    View,
    cameras_from_view,
    fov_from_cameras,
    fov_in_window,
    frustum_scale,
    initial_view,
    view_without_scene,
    wxyz_from_cameras,
)


def project(cameras: Cameras, point: torch.Tensor) -> torch.Tensor:
    """Pixel coordinates of a world point in the first camera."""
    seen = cameras.camera_from_world[0, :3, :3] @ point + cameras.camera_from_world[0, :3, 3]
    return seen[:2] / seen[2] * cameras.focal_px[0] + cameras.principal_px[0]


def test_a_pose_survives_the_way_to_viser_and_back(scene: Scene) -> None:
    wxyz, fov = wxyz_from_cameras(scene.cameras), fov_from_cameras(scene.cameras)
    for index in range(len(scene.cameras)):
        camera = scene.cameras[index]
        position = camera.centers_world[0].double().numpy()
        view = View(tuple(3.0 * wxyz[index]), tuple(position), float(fov[index]), 64, 48)
        back = cameras_from_view(view, 48)
        torch.testing.assert_close(back.camera_from_world, camera.camera_from_world, atol=1e-5, rtol=0)
        torch.testing.assert_close(back.focal_px, camera.focal_px)
        torch.testing.assert_close(back.principal_px, camera.principal_px)
        assert back.size_px.tolist() == [[64, 48]]


def test_viser_axes_are_opencv_axes() -> None:
    """Unturned, at the origin: a point ahead is in the middle, one to +x right of it, one to +y below it."""
    camera = cameras_from_view(View((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), math.pi / 2, 200, 100), 100)
    assert project(camera, torch.tensor([0.0, 0.0, 2.0])).tolist() == pytest.approx([100.0, 50.0])
    assert project(camera, torch.tensor([2.0, 0.0, 2.0])).tolist() == pytest.approx([150.0, 50.0])
    assert project(camera, torch.tensor([0.0, 2.0, 2.0])).tolist() == pytest.approx([100.0, 100.0])


def test_another_image_height_shows_the_same_view() -> None:
    view = View((0.5, 0.5, -0.5, 0.5), (1.0, 2.0, 3.0), 0.8, 1280, 800)
    point = torch.tensor([3.0, 2.5, 3.2])
    small, large = cameras_from_view(view, 200), cameras_from_view(view, 800)
    torch.testing.assert_close(4.0 * project(small, point), project(large, point))


def test_visitors_start_ahead_of_a_training_camera_turning_round_what_all_see(scene: Scene) -> None:
    start = initial_view(scene)
    cameras = scene.cameras[scene.train_indices]
    offsets = start.position - cameras.centers_world.double().numpy()
    nearest = np.linalg.norm(offsets, axis=1).argmin()
    forward = cameras.forward_world[nearest].double().numpy()
    np.testing.assert_allclose(start.look_at, 0.0, atol=1e-4)
    np.testing.assert_allclose(np.cross(offsets[nearest], forward), 0.0, atol=1e-4)
    assert 0.0 < offsets[nearest] @ forward < 2.0
    assert start.fov_rad == pytest.approx(2 * math.atan(24 / 60))
    assert start.up.tolist() == [0.0, 0.0, 1.0]


def test_nobody_starts_behind_the_photos_of_others(scene: Scene) -> None:
    """The first camera stands right behind four others; the last has a free view."""
    behind = torch.eye(4).repeat(6, 1, 1)
    behind[1:5, 2, 3] = torch.tensor([-0.6, -1.1, -1.6, -2.1])
    behind[5, 0, 3] = -20.0
    crowded = replace(
        scene, cameras=replace(scene.cameras, camera_from_world=behind), train_indices=torch.tensor([0, 5])
    )
    assert initial_view(crowded).position[0] == pytest.approx(20.0)


def test_photos_leave_gaps_between_neighbours_and_stay_in_proportion(scene: Scene) -> None:
    near = scene.cameras.camera_from_world.clone()
    near[:, :3, :3], near[:, :3, 3] = torch.eye(3), torch.arange(6)[:, None] * torch.tensor([0.4, 0.0, 0.0])
    close = replace(scene, cameras=replace(scene.cameras, camera_from_world=near))
    half_width, half_height = 32 / 60, 24 / 60
    width = frustum_scale(close) * 2 * half_width / (half_width * half_height / 3) ** (1 / 3)
    assert 0.5 * 0.4 < width < 0.9 * 0.4
    touching = replace(close, cameras=replace(scene.cameras, camera_from_world=torch.eye(4).repeat(6, 1, 1)))
    assert frustum_scale(touching) == pytest.approx(0.01 * scene.extent)
    assert frustum_scale(scene) == pytest.approx(0.06 * scene.extent)


def test_parallel_cameras_and_a_single_one_have_a_start_too(scene: Scene) -> None:
    alone = replace(scene, cameras=scene.cameras[0], train_indices=torch.arange(1), test_indices=torch.arange(0))
    parallel = replace(scene, cameras=scene.cameras[[0, 0, 0, 0, 0, 0]])
    for odd in (alone, parallel):
        start = initial_view(odd)
        assert np.isfinite(start.look_at).all()
        ahead = (start.look_at - start.position) @ odd.cameras.forward_world[0].double().numpy()
        assert ahead > 0.3 * scene.extent


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)])
def test_without_a_scene_the_bulk_of_the_splats_is_in_view_and_outliers_do_not_matter(up: tuple) -> None:
    bulk = np.random.default_rng(0).normal([5.0, 6.0, 7.0], 0.5, (1000, 3))
    points = np.concatenate([bulk, np.full((20, 3), 1e4)])
    view = view_without_scene(points, np.array(up))
    ahead = view.look_at - view.position
    angles = [math.acos(d @ ahead / np.linalg.norm(d) / np.linalg.norm(ahead)) for d in bulk - view.position]
    assert np.quantile(angles, 0.9) < view.fov_rad / 2
    assert np.linalg.norm(ahead) < 10.0
    assert ahead @ np.array(up) < 0.0, "from a little above"


@pytest.mark.parametrize("size", [(390, 780), (1280, 800), (500, 500)])
def test_a_window_of_any_shape_shows_what_a_square_one_shows(size: tuple[int, int]) -> None:
    width, height = size
    fov = fov_in_window(0.9, width / height)
    camera = cameras_from_view(View((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), fov, width, height), height)
    edge = math.tan(0.45)
    corner = project(camera, torch.tensor([edge, edge, 1.0])).tolist()
    assert all(at <= side + 1e-3 for at, side in zip(corner, size, strict=True))
    assert any(at == pytest.approx(side) for at, side in zip(corner, size, strict=True)), "and not more than needed"
