"""Rays: what every field is looked at with."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras


@dataclass(frozen=True)
class Rays:
    """R half lines x(t) = origin + t direction in the scene's frame; t is a distance, in scene units."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Of length one."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, rows: slice | Int[Tensor, "M"]) -> "Rays":
        """Some of them."""
        return Rays(self.origins[rows], self.directions[rows])


def rays_through(cameras: Cameras, views: Int[Tensor, "R"], pixels_xy: Float[Tensor, "R 2"]) -> Rays:
    """The ray of each view through a point of its image, in pixels (centres at +0.5)."""
    image = (pixels_xy - cameras.principal_px[views]) / cameras.focal_px[views]
    right, down, forward = (axis[views] for axis in cameras.camera_from_world[:, :3, :3].unbind(1))
    # Products and two sums, written out: a batched matrix product may round otherwise for another number of rays.
    directions = right * image[:, :1] + down * image[:, 1:] + forward
    x, y, z = directions.unbind(1)
    length = (x * x + y * y + z * z).sqrt()
    return Rays(cameras.centers_world[views], directions / length[:, None])


def image_rays(cameras: Cameras, view: int) -> Rays:
    """One view's rays through all pixel centres, row by row."""
    width, height = cameras.size_px[view].tolist()
    device = cameras.focal_px.device
    y, x = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    pixels = torch.stack([x.flatten(), y.flatten()], dim=1).to(cameras.focal_px.dtype)
    return rays_through(cameras, torch.full((len(pixels),), view, device=device), pixels)
