"""Cameras learnt with the scene: gradients against the twins' autograd, poses that come back, checkpoints."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from neural3d.capture.alignment import camera_difference
from neural3d.errors import InputError
from neural3d.reference.bin import bin_gaussians
from neural3d.reference.photometric import photometric_loss
from neural3d.reference.project import project
from neural3d.reference.rasterize import rasterize
from neural3d.reference.sh import sh_colors
from neural3d.train.camera_refinement import (
    CameraPull,
    RefinedCameras,
    camera_pull,
    pairwise_sum,
    rotation_of,
)
from neural3d.train.config import LearningRates
from neural3d.train.gradients import NEAR, photo_gradient
from neural3d.train.photos import build_pyramid

from .moved_cameras import moved, picture_error_px
from .small_scenes import make_scene, psnr_of, ring, train, truth

FAST = LearningRates(camera_poses=3e-3, camera_log_focals=3e-4)
"""For runs of a few hundred steps."""


def _loss_of(correction, gaussians, photo, background):
    """What a photo loses under a correction (turn, shift, log focal), all of it in plain torch."""
    turn, shift, log_focal = correction[:3], correction[3:6], correction[6]
    cross = torch.zeros(3, 3, dtype=torch.float64)
    cross = torch.stack(
        [
            torch.stack([cross[0, 0], -turn[2], turn[1]]),
            torch.stack([turn[2], cross[0, 0], -turn[0]]),
            torch.stack([-turn[1], turn[0], cross[0, 0]]),
        ]
    )
    view = photo.view
    rotation = torch.linalg.matrix_exp(cross) @ view.camera_from_world[:3, :3]
    center = view.center_world + shift
    pose = torch.eye(4, dtype=torch.float64)
    pose = torch.cat([torch.cat([rotation, -(rotation @ center)[:, None]], 1), pose[3:]])
    seen = project(
        gaussians.means_world, gaussians.quats_wxyz, gaussians.log_scales, gaussians.logit_opacities, pose,
        view.focal_px * log_focal.exp(), view.principal_px, width=view.width, height=view.height, near=NEAR,
    )  # fmt: skip
    colors = sh_colors(gaussians.means_world, gaussians.sh, center, gaussians.sh_degree, seen.extents_px)
    bins = bin_gaussians(seen, width=view.width, height=view.height)
    image, _ = rasterize(seen.means_px, seen.conics, seen.opacities, colors, bins, background)
    return photometric_loss(image, photo.pixels, background=background, ssim_weight=0.2)


def test_the_gradient_is_that_of_the_twins():
    """Of turn, shift and focal length at once, by autograd through the specification in float64."""
    gaussians = truth(sh_degree=2).map(lambda t: t.double())
    gaussians.sh[:, 1:] = 0.1 * torch.randn(30, 8, 3, dtype=torch.float64)
    photo = build_pyramid(make_scene(), 0).levels[0][2]
    view = photo.view
    view = replace(view, **{n: getattr(view, n).double() for n in
                            ("camera_from_world", "focal_px", "principal_px", "center_world")})  # fmt: skip
    photo, background = replace(photo, view=view), torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    ours = photo_gradient(gaussians, photo, background, sh_degree=2, exposure=None, ssim_weight=0.2)
    pull = camera_pull(gaussians, ours)
    correction = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(_loss_of(correction, gaussians, photo, background), correction)
    torch.testing.assert_close(torch.cat([pull.pose, pull.log_focal[None]]), expected, rtol=2e-4, atol=1e-9)
    assert (expected.abs() > 1e-6).all()


def test_poses_come_back():
    """Poses that are wrong by 1 degree and 1 % of the extent, and a focal length wrong by 2 %."""
    given = ring(12).scaled(96, 80)
    scene = make_scene(cameras=given)
    wrong = moved(given, 1.0, 0.01)
    wrong = replace(wrong, focal_px=given.focal_px * 1.02)
    result = train(replace(scene, cameras=wrong), steps=700, refine_cameras=True, rates=FAST)

    def differences(cameras):
        return camera_difference(cameras.camera_from_world.double().numpy(), given.camera_from_world.double().numpy())

    before, after = differences(wrong), differences(result.cameras)
    assert np.median(after.angles_deg) < 0.75 * np.median(before.angles_deg)
    # A turn and a shift that move the picture alike remain in part; where things are seen is what comes back.
    assert picture_error_px(wrong, given) > 1.2
    assert picture_error_px(result.cameras, given) < 0.5 * picture_error_px(wrong, given)
    assert 90 < float(result.cameras.focal_px[0, 0]) < 91.8
    fixed = train(replace(scene, cameras=wrong), steps=700)
    refined_scene = replace(scene, cameras=result.cameras)
    assert psnr_of(result.gaussians, refined_scene) > psnr_of(fixed.gaussians, replace(scene, cameras=wrong)) + 3


def test_right_poses_stay():
    scene = make_scene(cameras=ring(12).scaled(96, 80))
    result = train(scene, steps=400, refine_cameras=True)
    difference = camera_difference(
        result.cameras.camera_from_world.double().numpy(), scene.cameras.camera_from_world.double().numpy()
    )
    assert np.median(difference.angles_deg) < 0.6 and np.median(difference.centers) < 0.006
    assert train(scene, steps=10).cameras is None


def test_the_scene_does_not_drift():
    """What is a shift, a turn and a growth of everything is taken out of the corrections, the rest stays."""
    cameras = ring(6)
    refined = RefinedCameras.identity(make_scene(cameras=cameras))
    turn, shift, growth = torch.tensor([0.01, -0.02, 0.03]), torch.tensor([0.1, 0.2, -0.1]), 0.05
    own = torch.zeros(6, 6)
    own[2, 0] = 0.004
    centers = cameras.centers_world - cameras.centers_world.mean(dim=0)
    refined.poses[:, :3] = -(cameras.camera_from_world[:, :3, :3] @ turn) + own[:, :3]
    refined.poses[:, 3:] = shift + growth * centers + torch.linalg.cross(turn.expand(6, 3), centers)
    nothing = CameraPull(torch.zeros(6), torch.zeros(()))
    refined.update(0, nothing, torch.zeros(7), step=6)
    assert refined.poses[2, 0] > 0.002
    assert refined.poses.abs().max() < 0.0041


def test_sums_are_right_and_know_no_order():
    rows = torch.randn(1001, 3, dtype=torch.float64)
    torch.testing.assert_close(pairwise_sum(rows), rows.sum(dim=0))
    assert pairwise_sum(rows[:0]).tolist() == [0, 0, 0]


def test_rotations_are_rotations():
    for size in (0.0, 1e-5, 0.3, 2.0):
        vector = size * torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
        x, y, z = vector.tolist()
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        torch.testing.assert_close(rotation_of(vector), torch.linalg.matrix_exp(cross), atol=1e-9, rtol=0)


def test_a_gaussian_that_is_not_finite_moves_no_camera():
    gaussians, scene = truth(), make_scene()
    photo = build_pyramid(scene, 0).levels[0][0]
    gradient = photo_gradient(gaussians, photo, torch.zeros(3), sh_degree=0, exposure=None, ssim_weight=0.2)
    without = camera_pull(gaussians[torch.arange(1, 30)], _rows(gradient, torch.arange(1, 30)))
    gradient.gaussians.means_world[0] = math.nan
    torch.testing.assert_close(camera_pull(gaussians, gradient).pose, without.pose)


def _rows(gradient, kept):
    names = ("means_px", "means_by_color", "means_seen_px", "visible")
    rows = replace(gradient.gaussians, **{name: t[kept] for name, t in gradient.gaussians.tensors().items()})
    return replace(gradient, gaussians=rows, **{name: getattr(gradient, name)[kept] for name in names})


def test_a_renderer_that_cannot_is_named():
    gaussians, scene = truth(), make_scene()
    photo = build_pyramid(scene, 0).levels[0][0]
    gradient = photo_gradient(gaussians, photo, torch.zeros(3), sh_degree=0, exposure=None, ssim_weight=0.2)
    with pytest.raises(InputError, match="--refine-cameras: this renderer gives no gradient to cameras"):
        camera_pull(gaussians, replace(gradient, means_by_color=None))
