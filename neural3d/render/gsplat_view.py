"""Gaussians through gsplat's rasterizer, where that is installed: another engine's word on the same model.

gsplat is imported only inside `gsplat_view`: it compiles its kernels for minutes the first time it is used. Whether it
can is what `devices.require_kernels` finds out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.rendering import RenderFn, Rendering
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View, view_of


@dataclass(frozen=True)
class GsplatImage:
    """What one view shows, in the layout of `SplatImage`."""

    image: Float[Tensor, "3 H W"]
    """Over the background."""
    alphas: Float[Tensor, "H W"]
    means_px: Float[Tensor, "V N 2"]
    """gsplat's own tensor, V = 1, of which autograd can be asked; rows of whoever is not visible hold anything."""
    visible: Bool[Tensor, "N"]


def gsplat_view(
    gaussians: Gaussians, view: View, background: Float[Tensor, "3"], *, sh_degree: int | None = None
) -> GsplatImage:
    """Render one view with `gsplat.rasterization`; differentiable in every parameter of the Gaussians.

    Raises: ValueError for linear Gaussians, which it would blend as display colours.
    Source: gsplat 1.5, whose matrices, pixels, quaternions, harmonics, blur and thresholds mean what ours do.
    Limits: gsplat cuts alpha at 0.999 where we cut at 0.99, leaves out the Gaussian that makes a pixel opaque, and cuts
    every Gaussian at 3.33 standard deviations where its alpha is still up to 1/255: pixels differ by about that.
    """
    from gsplat import rasterization

    if gaussians.linear:
        raise ValueError("gaussians: these are blended as light, which gsplat's renderer does not do; take ours")
    degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
    colors, alphas, about = rasterization(
        means=gaussians.means_world,
        quats=gaussians.quats_wxyz,
        scales=gaussians.log_scales.exp(),
        opacities=gaussians.logit_opacities.sigmoid(),
        colors=gaussians.sh,
        viewmats=view.camera_from_world[None],
        Ks=_pinhole(view)[None],
        width=view.width,
        height=view.height,
        near_plane=0.01,
        eps2d=0.3,
        sh_degree=degree,
        packed=False,
        backgrounds=background[None],
        rasterize_mode="antialiased" if gaussians.antialiased else "classic",
    )
    visible = (about["radii"][0] > 0).all(dim=-1)
    return GsplatImage(colors[0].permute(2, 0, 1).contiguous(), alphas[0, ..., 0], about["means2d"], visible)


def gsplat_render_function(gaussians: Gaussians, *, background: Float[Tensor, "3"] | None = None) -> RenderFn:
    """The `RenderFn` of a splat model through gsplat, on the device of the Gaussians, without gradients."""
    device = gaussians.device
    behind = torch.zeros(3, device=device) if background is None else background.to(device)

    @torch.no_grad()
    def render(cameras: Cameras) -> Rendering:
        shown = [gsplat_view(gaussians, view_of(cameras, i).to(device), behind) for i in range(len(cameras))]
        images = torch.stack([one.image for one in shown]).permute(0, 2, 3, 1)
        return Rendering(images, torch.stack([one.alphas for one in shown])[..., None])

    return render


def _pinhole(view: View) -> Float[Tensor, "3 3"]:
    """Focal lengths and principal point as a matrix; both conventions put the top-left pixel's centre at 0.5."""
    rows = torch.cat([view.focal_px.diag(), view.principal_px[:, None]], dim=1)
    matrix = torch.nn.functional.pad(rows, (0, 0, 0, 1))
    matrix[2, 2] = 1
    return matrix
