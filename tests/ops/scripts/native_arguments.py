"""Arguments for every raw operator, from one small scene."""

import torch
from torch import Tensor

import neural3d.ops.adam
import neural3d.ops.bilateral_slice
import neural3d.ops.bin
import neural3d.ops.blend_points
import neural3d.ops.color_affine
import neural3d.ops.composite
import neural3d.ops.explore
import neural3d.ops.hash_encode
import neural3d.ops.march
import neural3d.ops.nearest_points
import neural3d.ops.neighbors
import neural3d.ops.occupancy
import neural3d.ops.photometric
import neural3d.ops.project
import neural3d.ops.proposal
import neural3d.ops.radiance_mlp
import neural3d.ops.rasterize
import neural3d.ops.sh  # noqa: F401  (importing registers fakes and gradients)

OPS = torch.ops.neural3d
WIDTH, HEIGHT, COUNT = 37, 29, 20


def scene() -> dict[str, Tensor]:
    """Parameters of a few Gaussians in front of a camera at the origin."""
    generator = torch.Generator().manual_seed(0)
    gaussians = {
        "means_world": torch.randn(COUNT, 3, generator=generator) + torch.tensor([0.0, 0.0, 5.0]),
        "quats_wxyz": torch.randn(COUNT, 4, generator=generator),
        "log_scales": torch.randn(COUNT, 3, generator=generator) - 1.5,
        "logit_opacities": torch.randn(COUNT, generator=generator),
        "sh": 0.1 * torch.randn(COUNT, 16, 3, generator=generator),
    }
    return {name: tensor.requires_grad_() for name, tensor in gaussians.items()}


def camera() -> tuple[Tensor, Tensor, Tensor]:
    """camera_from_world, focal_px, principal_px."""
    return torch.eye(4), torch.tensor([40.0, 40.0]), torch.tensor([WIDTH / 2, HEIGHT / 2])


def render(
    means_world: Tensor, quats_wxyz: Tensor, log_scales: Tensor, logit_opacities: Tensor, sh: Tensor
) -> tuple[Tensor, Tensor]:
    """All raw operators in turn."""
    parameters, options = (means_world, quats_wxyz, log_scales, logit_opacities), (WIDTH, HEIGHT, 0.01, 0.3, 1 / 255)
    means_px, conics, opacities, depths, extents_px = OPS.project(*parameters, *camera(), *options, False)
    colors = OPS.sh_colors(means_world, sh, torch.zeros(3), 3, extents_px)
    bins = OPS.bin_gaussians(means_px.detach(), conics.detach(), depths.detach(), extents_px, WIDTH, HEIGHT)
    background = torch.tensor([0.1, 0.2, 0.3])
    options = (WIDTH, HEIGHT, 1 / 255, 1e-4, True)
    return OPS.rasterize(means_px, conics, opacities, colors, background, *bins, *options)[:2]
