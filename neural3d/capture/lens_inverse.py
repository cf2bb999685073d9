"""Lenses the other way: from a pixel of the photo to the ray that made it."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.capture.lenses import Lens, distort, largest_radius

_STEPS = 30
_DIFFERENCE = 1e-6
"""Of the normalised plane, for the slopes."""
_FOUND_PX = 1e-4
_ENOUGH_PX = 1e-6
_LARGEST_STEP = 0.5
"""Of the normalised plane: Newton's method far from its goal is held back."""
_WIDEST = 20.0
"""Largest radius that is looked for, 87 degrees off the axis: beyond it there is no pinhole picture worth having."""


def undistort(lens: Lens, pixels: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Points of the normalised image plane (x/z, y/z) that `distort` maps to these pixels, float64; NaN where none is.

    Source: Newton's method, the slopes by differences.
    """
    goal = pixels.double()
    focal = torch.tensor(lens.focal_px, dtype=torch.float64)
    points = (goal - torch.tensor(lens.principal_px, dtype=torch.float64)) / focal
    if lens.is_pinhole:
        return points
    limit = largest_radius(lens, _WIDEST)
    points = _within(points, 0.99 * limit)
    missed = distort(lens, points) - goal
    for _ in range(_STEPS):
        if float(missed.abs().nan_to_num(torch.inf).amax()) < _ENOUGH_PX:
            break
        points = _within(points - _step(lens, points, missed), limit)
        missed = distort(lens, points) - goal
    return torch.where(missed.norm(dim=-1, keepdim=True) <= _FOUND_PX, points, torch.nan)


def _step(lens: Lens, points: Float[Tensor, "*B 2"], missed: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """The slope's inverse times what is missed by."""
    x, y = missed.unbind(-1)
    here = distort(lens, points)
    ahead = torch.eye(2, dtype=torch.float64) * _DIFFERENCE
    (xx, yx), (xy, yy) = (((distort(lens, points + e) - here) / _DIFFERENCE).unbind(-1) for e in ahead)
    determinant = xx * yy - xy * yx
    step = torch.stack([yy * x - xy * y, xx * y - yx * x], dim=-1) / determinant[..., None]
    return step.nan_to_num(0.0).clamp(-_LARGEST_STEP, _LARGEST_STEP)


def _within(points: Float[Tensor, "*B 2"], limit: float) -> Float[Tensor, "*B 2"]:
    """No farther out than where the lens still spreads."""
    radius = points.norm(dim=-1, keepdim=True)
    return points * (limit / radius.clamp(min=limit))
