"""Cameras and THE convention, written once.

Camera axes are OpenCV's: +x right, +y down, +z forward. The world is right-handed. Pixel centres lie at +0.5, so
the top-left pixel of an image is centred at (0.5, 0.5). Transforms read `b_from_a`. Other conventions are
converted at their own file boundary and nowhere else.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """V pinhole cameras.

    The field calls `camera_from_world` the view matrix or w2c; its inverse is c2w.
    """

    camera_from_world: Float[Tensor, "V 4 4"]
    """Rigid transforms, world units."""
    focal_px: Float[Tensor, "V 2"]
    """fx, fy."""
    principal_px: Float[Tensor, "V 2"]
    """cx, cy; the centre of a W x H image is (W / 2, H / 2)."""
    size_px: Int[Tensor, "V 2"]
    """Width, height of each image."""

    def __len__(self) -> int:
        return self.camera_from_world.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> "Cameras":
        """Select views; a single integer keeps the V axis (of length one)."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        return Cameras(
            self.camera_from_world[index], self.focal_px[index], self.principal_px[index], self.size_px[index]
        )

    @property
    def world_from_camera(self) -> Float[Tensor, "V 4 4"]:
        """The inverse rigid transforms (c2w)."""
        rotation = self.camera_from_world[:, :3, :3].transpose(1, 2)
        world_from_camera = torch.eye(4, dtype=rotation.dtype, device=rotation.device).repeat(len(self), 1, 1)
        world_from_camera[:, :3, :3] = rotation
        world_from_camera[:, :3, 3] = self.centers_world
        return world_from_camera

    @property
    def centers_world(self) -> Float[Tensor, "V 3"]:
        """The optical centres in world units."""
        rotation, translation = self.camera_from_world[:, :3, :3], self.camera_from_world[:, :3, 3]
        return -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]

    @property
    def forward_world(self) -> Float[Tensor, "V 3"]:
        """Unit viewing directions in the world."""
        return self.camera_from_world[:, 2, :3]

    def scaled(self, width: int, height: int) -> "Cameras":
        """The same views on images of another size (the intrinsics follow each axis by itself)."""
        factor = torch.tensor([width, height], dtype=self.focal_px.dtype, device=self.focal_px.device) / self.size_px
        size_px = torch.tensor([width, height], dtype=self.size_px.dtype, device=self.size_px.device)
        return replace(
            self,
            focal_px=self.focal_px * factor,
            principal_px=self.principal_px * factor,
            size_px=size_px.expand_as(self.size_px).clone(),
        )

    def fitted(self, width: int, height: int) -> "Cameras":
        """The same views on images of another size, as wide an angle as before; height is won or lost evenly."""
        size_px = torch.tensor([width, height], dtype=self.size_px.dtype, device=self.size_px.device)
        factor = (width / self.size_px[:, :1]).to(self.focal_px)
        off_center = (self.principal_px - self.size_px / 2) * factor
        return replace(
            self,
            focal_px=self.focal_px * factor,
            principal_px=(off_center + size_px / 2).to(self.principal_px),
            size_px=size_px.expand_as(self.size_px).clone(),
        )

    def to(self, device: torch.device | str) -> "Cameras":
        """Copy to a device."""
        return Cameras(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def cat_cameras(cameras: list[Cameras]) -> Cameras:
    """Join cameras along V."""
    return Cameras(*(torch.cat([getattr(c, name) for c in cameras]) for name in Cameras.__dataclass_fields__))
