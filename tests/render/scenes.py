"""Models and cameras that cost nothing."""

import torch

from neural3d.cameras import Cameras
from neural3d.render.paths import look_at
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

SIZE = (70, 50)
CAPTURE_FROM_SCENE = Similarity(3.0, torch.eye(3, dtype=torch.float64), torch.tensor([1.0, -2, 0.5]).double())


def some_gaussians(count: int = 200) -> Gaussians:
    generator = torch.Generator().manual_seed(7)
    return Gaussians(
        means_world=torch.randn(count, 3, generator=generator) * 0.6,
        log_scales=torch.randn(count, 3, generator=generator) * 0.4 - 2.2,
        quats_wxyz=torch.randn(count, 4, generator=generator),
        logit_opacities=torch.randn(count, generator=generator) + 1,
        sh=torch.randn(count, 4, 3, generator=generator) * 0.4,
    )


def disk(z: float = 0.0, *, opacity: float = 20.0, color: float = 0.5, radius: float = 1.0) -> Gaussians:
    """One flat Gaussian across the z axis, so wide that the middle of a picture shows it alone."""
    sh = torch.full((1, 1, 3), (color - 0.5) / 0.28209479177387814)
    return Gaussians(
        means_world=torch.tensor([[0.0, 0.0, z]]),
        log_scales=torch.tensor([[radius, radius, 1e-3]]).log(),
        quats_wxyz=torch.tensor([[1.0, 0, 0, 0]]),
        logit_opacities=torch.tensor([opacity]),
        sh=sh,
    )


def cameras_around(count: int = 3, size: tuple[int, int] = SIZE, focal_px: float = 60.0) -> Cameras:
    angles = torch.arange(count) * 0.3
    centers = torch.stack([4 * angles.sin(), torch.full((count,), -0.7), -4 * angles.cos()], dim=-1)
    sizes = torch.tensor([size]).repeat(count, 1)
    poses = look_at(centers, torch.zeros(count, 3), torch.tensor([0.0, -1, 0])).float()
    principal_px = sizes / 2 + torch.tensor([1.5, -0.75])
    return Cameras(poses, torch.full((count, 2), focal_px), principal_px, sizes)


def straight_camera(size: tuple[int, int] = SIZE, *, back: float = 4.0, focal_px: float = 60.0) -> Cameras:
    """On the z axis before the origin, looking along +z."""
    pose = torch.eye(4)
    pose[2, 3] = back
    sizes = torch.tensor([size])
    return Cameras(pose[None], torch.full((1, 2), focal_px), sizes / 2, sizes)
