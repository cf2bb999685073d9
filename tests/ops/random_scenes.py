"""Gaussians and cameras for the tests, tuned away from the places where an image jumps."""

import math

import torch
from torch import Tensor

from .backends import View


def make_view(width: int = 37, height: int = 29, *, focal: float = 30.0) -> View:
    """A camera at (0.3, -0.2, -4), turned a little, with its principal point off the middle."""
    rotation = axis_angle(torch.tensor([0.3, -0.5, 0.2]), 0.1)
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, :3] = rotation
    camera_from_world[:3, 3] = -rotation @ torch.tensor([0.3, -0.2, -4.0], dtype=torch.float64)
    focal_px = torch.tensor([focal, 1.1 * focal], dtype=torch.float64)
    principal_px = torch.tensor([0.5 * width + 0.7, 0.5 * height - 0.4], dtype=torch.float64)
    return View(camera_from_world, focal_px, principal_px, width, height)


def make_gaussians(count: int, *, seed: int = 0, size: float = 0.25, degree: int = 3) -> dict[str, Tensor]:
    """Anisotropic Gaussians in a box of 3 units around the origin, float64.

    Opacities stay below 0.9 (alpha is clamped at 0.99), depths are distinct, and colours stay away from 0.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

    sh = uniform(count, (degree + 1) ** 2, 3, low=-0.1, high=0.1)
    sh[:, 0] = uniform(count, 3, low=0.0, high=1.5)
    return {
        "means_world": uniform(count, 3, low=-1.5, high=1.5),
        "quats_wxyz": uniform(count, 4, low=-1.0, high=1.0),
        "log_scales": math.log(size) + uniform(count, 3, low=-1.0, high=0.6),
        "logit_opacities": uniform(count, low=-2.0, high=2.0),
        "sh": sh,
    }


def make_colors(count: int, channels: int, *, seed: int = 3) -> Tensor:
    """Random colours in [0, 1], float64."""
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def axis_angle(axis: Tensor, angle_rad: float) -> Tensor:
    """The rotation around an axis, float64."""
    x, y, z = (axis.double() / axis.double().norm()).tolist()
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return torch.matrix_exp(angle_rad * cross)


def as_dtype(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The same values in another precision."""
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}
