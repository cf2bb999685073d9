"""A ball of flat Gaussians, whose surface is known."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.paths import look_at
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.depth_views import DepthView

RADIUS = 1.0


def directions(count: int) -> Float[Tensor, "N 3"]:
    """Evenly over the sphere."""
    number = torch.arange(count, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * number / count, number * math.pi * (3 - math.sqrt(5))
    across = (1 - z * z).sqrt()
    return torch.stack([across * turn.cos(), across * turn.sin(), z], dim=-1).float()


def color_of(directions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Smooth over the ball, another one on every side."""
    return 0.5 + 0.35 * directions


def ball(count: int = 3000) -> Gaussians:
    outward = directions(count)
    # From +z to the outward direction, about the axis across both: (1 + z, axis), not yet of unit length.
    axis = torch.linalg.cross(torch.tensor([0.0, 0, 1]).expand_as(outward), outward)
    return Gaussians(
        means_world=RADIUS * outward,
        log_scales=torch.tensor([[0.05, 0.05, 0.002]]).log().repeat(count, 1),
        quats_wxyz=torch.cat([1 + outward[:, 2:], axis], dim=1),
        logit_opacities=torch.full((count,), 4.0),
        sh=((color_of(outward) - 0.5) / 0.28209479177387814)[:, None],
    )


def cameras_around(count: int = 24, side: int = 120) -> Cameras:
    centers = 3.5 * directions(count)
    poses = look_at(centers, torch.zeros(count, 3), torch.tensor([0.1, 0.2, 1.0])).float()
    sizes = torch.tensor([[side, side]]).repeat(count, 1)
    return Cameras(poses, torch.full((count, 2), 1.4 * side), sizes / 2, sizes)


def exact_view(camera: Cameras) -> DepthView:
    """What a camera sees of the ball, worked out ray by ray."""
    width, height = camera.size_px[0].tolist()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    in_camera = (torch.stack([x, y], dim=-1) - camera.principal_px[0]) / camera.focal_px[0]
    rays = torch.cat([in_camera, torch.ones(height, width, 1)], dim=-1) @ camera.camera_from_world[0, :3, :3]
    center = camera.centers_world[0]
    # |center + depth ray| = radius
    a, b, c = (rays * rays).sum(-1), (rays @ center), center @ center - RADIUS**2
    inside = b * b - a * c
    depths = torch.where(inside > 0, (-b - inside.clamp(min=0).sqrt()) / a, 0)[..., None]
    return DepthView(camera, color_of(torch.nn.functional.normalize(center + depths * rays, dim=-1)), depths)
