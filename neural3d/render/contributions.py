"""How much of a set of pictures each Gaussian is."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.rasterize import rasterize
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import projected_in, view_of


def blend_weights(gaussians: Gaussians, cameras: Cameras) -> Float[Tensor, "N"]:
    """Each Gaussian's blending weights summed over all pixels of the cameras.

    A picture is linear in the Gaussians' colours, so its gradient with respect to these is just that sum.
    """
    total = torch.zeros(len(gaussians), dtype=torch.float64)
    for index in range(len(cameras)):
        total += _weights_in_view(gaussians, cameras, index).double()
    return total.float()


def _weights_in_view(gaussians: Gaussians, cameras: Cameras, index: int) -> Float[Tensor, "N"]:
    width, height = cameras.size_px[index].tolist()
    return weights_over(gaussians, cameras, index, torch.ones(1, height, width))[:, 0]


def weights_over(
    gaussians: Gaussians, cameras: Cameras, index: int, planes: Float[Tensor, "D H W"]
) -> Float[Tensor, "N D"]:
    """Each Gaussian's blending weights summed over the pixels of one view, each pixel times its value in each plane."""
    view = view_of(cameras, index)
    with torch.no_grad():
        projected = projected_in(gaussians, view)
        bins = bin_gaussians(projected, width=view.width, height=view.height)
    colors, behind = torch.zeros(len(gaussians), len(planes), requires_grad=True), torch.zeros(len(planes))
    with torch.enable_grad():
        image, _ = rasterize(projected.means_px, projected.conics, projected.opacities, colors, bins, behind)
        (weights,) = torch.autograd.grad((image * planes).sum(), colors)
    return weights
