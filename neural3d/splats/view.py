"""Gaussians through one camera: the four operators in a row."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.project import project
from neural3d.ops.rasterize import rasterize
from neural3d.ops.records import Projected
from neural3d.ops.sh import sh_colors
from neural3d.splats.gaussians import Gaussians
from neural3d.srgb import decode_srgb


@dataclass(frozen=True)
class View:
    """One pinhole camera in the form that the operators take."""

    camera_from_world: Float[Tensor, "4 4"]
    focal_px: Float[Tensor, "2"]
    principal_px: Float[Tensor, "2"]
    center_world: Float[Tensor, "3"]
    width: int
    height: int

    def to(self, device: torch.device) -> "View":
        """The same camera on a device, in one copy; itself where it lies there already."""
        tensors = (self.camera_from_world, self.focal_px, self.principal_px, self.center_world)
        if self.center_world.device == device:
            return self
        packed = torch.cat([tensor.flatten() for tensor in tensors]).to(device, non_blocking=True)
        parts = packed.split([tensor.numel() for tensor in tensors])
        return View(parts[0].view(4, 4), *parts[1:], self.width, self.height)


def view_of(cameras: Cameras, index: int) -> View:
    """The camera at `index`, contiguous and float32."""
    camera = cameras[index]
    width, height = camera.size_px[0].tolist()
    return View(
        camera.camera_from_world[0].float().contiguous(),
        camera.focal_px[0].float().contiguous(),
        camera.principal_px[0].float().contiguous(),
        camera.centers_world[0].float().contiguous(),
        width,
        height,
    )


@dataclass(frozen=True)
class SplatImage:
    """What one view shows, planar, and the ellipses it was blended from."""

    image: Float[Tensor, "D H W"]
    """Red, green, blue over the background, of linear Gaussians as light; with depth a fourth plane: sum of weight
    times z."""
    alphas: Float[Tensor, "H W"]
    projected: Projected


def projected_in(gaussians: Gaussians, view: View) -> Projected:
    """The ellipses that a view shows; differentiable in the Gaussians."""
    return project(
        gaussians.means_world,
        gaussians.quats_wxyz,
        gaussians.log_scales,
        gaussians.logit_opacities,
        view.camera_from_world,
        view.focal_px,
        view.principal_px,
        width=view.width,
        height=view.height,
        antialiased=gaussians.antialiased,
    )


def blended_colors(gaussians: Gaussians, view: View, degree: int, projected: Projected) -> Float[Tensor, "N 3"]:
    """The Gaussians' colours as they are blended: display sRGB, of linear Gaussians light."""
    colors = sh_colors(gaussians.means_world, gaussians.sh, view.center_world, degree, projected.extents_px)
    return decode_srgb(colors) if gaussians.linear else colors


def splat_view(
    gaussians: Gaussians,
    view: View,
    background: Float[Tensor, "3"],
    *,
    sh_degree: int | None = None,
    with_depth: bool = False,
) -> SplatImage:
    """Render one view; differentiable in every parameter of the Gaussians.

    `sh_degree` limits the harmonics in use (None: all that are stored). The background is display sRGB.
    """
    projected = projected_in(gaussians, view)
    degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
    channels = blended_colors(gaussians, view, degree, projected)
    if gaussians.linear:
        background = decode_srgb(background)
    if with_depth:
        channels = torch.cat([channels, projected.depths[:, None]], dim=1)
        background = torch.cat([background, background.new_zeros(1)])
    bins = bin_gaussians(projected, width=view.width, height=view.height)
    image, alphas = rasterize(projected.means_px, projected.conics, projected.opacities, channels, bins, background)
    return SplatImage(image, alphas, projected)
