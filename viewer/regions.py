"""Parts of space and of the screen: to crop to, and to select floaters with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from viser.transforms import SO3

from neural3d.viewer.space import View, cameras_from_view

Shape = Literal["Box", "Sphere"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
_INSIDE = 0.96
"""Of what a first region holds of the points, in each direction."""


@dataclass(frozen=True)
class Region:
    """A turned box, or an ellipsoid within it, in the world."""

    shape: Shape
    center: tuple[float, float, float]
    size: tuple[float, float, float]
    """Edges of the box, diameters of the ellipsoid."""
    wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """World from region."""

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """Which of the world's points lie in it."""
        rotation = torch.from_numpy(SO3(np.asarray(self.wxyz)).as_matrix()).to(points)
        half = points.new_tensor(self.size).clamp(min=1e-12) / 2
        local = (points - points.new_tensor(self.center)) @ rotation / half
        if self.shape == "Sphere":
            return (local * local).sum(dim=1) <= 1
        return (local.abs() <= 1).all(dim=1)


def region_around(points: Float[Tensor, "N 3"], shape: Shape) -> Region:
    """Where the bulk of the points lies; the unit around the origin where there are none."""
    points = points[points.isfinite().all(dim=1)].double()
    if not len(points):
        return Region(shape, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    ordered = points.sort(dim=0).values
    margin = int((1 - _INSIDE) / 2 * (len(points) - 1))
    low, high = ordered[margin], ordered[len(points) - 1 - margin]
    size = (high - low).clamp(min=1e-3 * float((high - low).max()) + 1e-6)
    if shape == "Sphere":
        size = size.max().expand(3)
    x, y, z = ((low + high) / 2).tolist()
    return Region(shape, (x, y, z), (float(size[0]), float(size[1]), float(size[2])))


def on_screen(points: Float[Tensor, "N 3"], view: View) -> tuple[Float[Tensor, "N 2"], Bool[Tensor, "N"]]:
    """Where a visitor sees the world's points, in pixels of his window, and which lie before him."""
    cameras = cameras_from_view(view, view.height)
    seen = points.float() @ cameras.camera_from_world[0, :3, :3].T + cameras.camera_from_world[0, :3, 3]
    before = seen[:, 2] > 1e-6
    pixels = seen[:, :2] / seen[:, 2:].clamp(min=1e-6) * cameras.focal_px[0] + cameras.principal_px[0]
    return pixels, before


def in_rectangle(
    points: Float[Tensor, "N 3"], view: View, low: tuple[float, float], high: tuple[float, float]
) -> Bool[Tensor, "N"]:
    """Points that a visitor sees in a rectangle; its corners are parts of the window's width and height."""
    pixels, before = on_screen(points, view)
    place = pixels / pixels.new_tensor([view.width, view.height])
    return before & (place >= pixels.new_tensor(low)).all(dim=1) & (place <= pixels.new_tensor(high)).all(dim=1)


def in_stroke(
    points: Float[Tensor, "N 3"], view: View, stroke: Sequence[tuple[float, float]], radius_px: float
) -> Bool[Tensor, "N"]:
    """Points that a visitor sees within so many pixels of a line through places; those are in parts of the window."""
    pixels, before = on_screen(points, view)
    corners = pixels.new_tensor(stroke) * pixels.new_tensor([view.width, view.height])
    low, high = corners.min(dim=0).values - radius_px, corners.max(dim=0).values + radius_px
    # A stroke has hundreds of pieces, and most of the points lie far from all of them.
    rows = (before & ((pixels >= low) & (pixels <= high)).all(dim=1)).nonzero()[:, 0]
    result = torch.zeros_like(before)
    result[rows] = _near_line(pixels[rows], corners, radius_px)
    return result


def _near_line(pixels: Float[Tensor, "N 2"], corners: Float[Tensor, "K 2"], radius_px: float) -> Bool[Tensor, "N"]:
    """Which lie within so many pixels of the line through the corners."""
    near = torch.zeros(len(pixels), dtype=torch.bool)
    ends = corners[1:] if len(corners) > 1 else corners
    for start, end in zip(corners, ends, strict=False):
        along = end - start
        place = ((pixels - start) @ along / (along @ along).clamp(min=1e-12)).clamp(0, 1)
        near |= (pixels - start - place[:, None] * along).norm(dim=1) <= radius_px
    return near
