"""Two eyes see what geometry says."""

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.render.splats import render_splats
from neural3d.render.stereo import eye_cameras

from .scenes import cameras_around, disk, some_gaussians, straight_camera


def column_of(cameras: Cameras, point: list[float]) -> float:
    seen = (
        cameras.camera_from_world[0, :3, :3] @ torch.tensor(point, dtype=torch.float32)
        + cameras.camera_from_world[0, :3, 3]
    )
    return float(seen[0] / seen[2] * cameras.focal_px[0, 0] + cameras.principal_px[0, 0])


def test_eyes_are_that_far_apart_and_look_the_same_way():
    cameras = cameras_around(3)
    left, right = eye_cameras(cameras, 0.2)
    apart = right.centers_world - left.centers_world
    assert torch.allclose(apart, 0.2 * cameras.world_from_camera[:, :3, 0], atol=1e-6)
    assert torch.allclose((left.centers_world + right.centers_world) / 2, cameras.centers_world, atol=1e-6)
    assert torch.equal(left.camera_from_world[:, :3, :3], cameras.camera_from_world[:, :3, :3])
    assert torch.equal(left.principal_px, cameras.principal_px)


def test_parallax_is_focal_length_times_distance_by_depth():
    """The left eye sees near things farther to the right."""
    left, right = eye_cameras(straight_camera(), 0.2)
    assert column_of(left, [0, 0, 0]) - column_of(right, [0, 0, 0]) == pytest.approx(60 * 0.2 / 4)


def test_where_the_eyes_converge_nothing_is_shifted():
    left, right = eye_cameras(straight_camera(), 0.2, convergence=5.0)
    for x in (-1.0, 0.0, 2.0):
        assert column_of(left, [x, 0, 1]) == pytest.approx(column_of(right, [x, 0, 1]), abs=1e-4)
    assert column_of(left, [0, 0, 0]) > column_of(right, [0, 0, 0]), "nearer things stand out"
    assert column_of(left, [0, 0, 9]) < column_of(right, [0, 0, 9])


def test_a_flat_thing_there_looks_the_same_to_both():
    left, right = eye_cameras(straight_camera(), 0.2, convergence=4.0)
    pictures = [render_splats(disk(radius=0.3), eye).colors for eye in (left, right)]
    assert pictures[0].max() > 0.4 and (pictures[0] - pictures[1]).abs().max() < 0.02
    others = [render_splats(some_gaussians(), eye).colors for eye in (left, right)]
    assert (others[0] - others[1]).abs().max() > 0.1
