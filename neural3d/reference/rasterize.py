"""Ellipses to an image, blended front to back."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.records import TILE_PX, TileBins

ALPHA_MAX = 0.99
"""No Gaussian is wholly opaque, so that what lies behind it keeps a gradient."""


def rasterize(
    means_px: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Float[Tensor, "N D"],
    bins: TileBins,
    background: Float[Tensor, "D"],
    *,
    alpha_min: float = 1 / 255,
    transmittance_min: float = 1e-4,
) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "H W"]]:
    """Blend each tile's list over the background; returns the planar image and 1 - transmittance.

    A Gaussian's alpha at a pixel centre is min(0.99, opacity exp(-1/2 d^T conic d)), without gradient where it is
    0.99. Those below alpha_min are skipped. A Gaussian is blended where the transmittance in front of it is still
    >= transmittance_min; so the one that crosses the limit counts (in the INRIA code it does not).

    Source: Kerbl et al. 2023, eq. 2-3.
    Limits: the native driver gives no gradient to the background.
    """
    tiles_x, tiles_y = -(-bins.width // TILE_PX), -(-bins.height // TILE_PX)
    axis = torch.arange(TILE_PX, device=means_px.device)
    in_tile = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).reshape(-1, 2) + 0.5
    offsets = bins.tile_offsets.tolist()

    tiles = []
    for tile in range(tiles_x * tiles_y):
        listed = bins.gaussian_from_intersection[offsets[tile] : offsets[tile + 1]].long()
        corner = torch.tensor([tile % tiles_x, tile // tiles_x], device=means_px.device) * TILE_PX
        pixels = (corner + in_tile).to(means_px.dtype)
        alphas = pixel_alphas(pixels, means_px[listed], conics[listed], opacities[listed], alpha_min)
        weights, transmittance = blending_weights(alphas, transmittance_min)
        blended = weights @ colors[listed] + transmittance[:, None] * background
        tiles.append(torch.cat([blended, 1 - transmittance[:, None]], dim=-1))

    planes = torch.stack(tiles).reshape(tiles_y, tiles_x, TILE_PX, TILE_PX, -1).permute(4, 0, 2, 1, 3)
    planes = planes.reshape(-1, tiles_y * TILE_PX, tiles_x * TILE_PX)[:, : bins.height, : bins.width]
    return planes[:-1], planes[-1]


def pixel_alphas(
    pixels: Float[Tensor, "P 2"],
    means_px: Float[Tensor, "I 2"],
    conics: Float[Tensor, "I 3"],
    opacities: Float[Tensor, "I"],
    alpha_min: float,
) -> Float[Tensor, "P I"]:
    """How much of a pixel each Gaussian covers by itself; 0 below `alpha_min`."""
    dx, dy = (pixels[:, None] - means_px).unbind(-1)
    a, b, c = conics.unbind(-1)
    alphas = opacities * torch.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
    alphas = torch.where(alphas > ALPHA_MAX, ALPHA_MAX, alphas)
    return torch.where(alphas >= alpha_min, alphas, 0)


def blending_weights(
    alphas: Float[Tensor, "P I"], transmittance_min: float
) -> tuple[Float[Tensor, "P I"], Float[Tensor, "P"]]:
    """What each Gaussian adds to each pixel, and the transmittance behind them all."""
    in_front = torch.cat([torch.ones_like(alphas[:, :1]), (1 - alphas).cumprod(dim=1)], dim=1)
    blended = torch.where(in_front[:, :-1] >= transmittance_min, alphas, 0)
    return blended * in_front[:, :-1], (1 - blended).prod(dim=1)
