"""Samples to what their rays see."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.records import RayViews


def composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S 3"],
    ts: Float[Tensor, "S"],
    deltas: Float[Tensor, "S"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    *,
    transmittance_min: float = 1e-4,
) -> RayViews:
    """C = sum T_i (1 - exp(-density_i delta_i)) c_i with T_i = exp(-sum_j<i density_j delta_j), and what belongs to it.

    A ray ends at the first sample that less than `transmittance_min` of its light would reach: samples from there on
    count for nothing. Distances and lengths get no gradient.

    Source: Mildenhall et al. 2020, NeRF, eq. 3; Barron et al. 2022, Mip-NeRF 360, eq. 15 (distortion).
    """
    bounds = ray_offsets.tolist()
    rays = [
        _composite_ray(densities[i:j], colors[i:j], ts[i:j], deltas[i:j], transmittance_min)
        for i, j in zip(bounds[:-1], bounds[1:], strict=True)
    ]
    if not rays:
        return RayViews(colors[:0], densities[:0], densities[:0], densities[:0])
    return RayViews(*(torch.stack(parts) for parts in zip(*rays, strict=True)))


def _composite_ray(density: Tensor, color: Tensor, t: Tensor, delta: Tensor, transmittance_min: float) -> tuple:
    """Colour, alpha, depth, distortion of one ray."""
    absorbed = density * delta
    transmittance = torch.exp(-(absorbed.cumsum(0) - absorbed))
    weight = torch.where(transmittance >= transmittance_min, transmittance * (1 - torch.exp(-absorbed)), 0)
    between = (weight[:, None] * weight * (t[:, None] - t).abs()).sum()
    distortion = between + (weight.square() * delta).sum() / 3
    return (weight[:, None] * color).sum(0), weight.sum(), (weight * t).sum(), distortion
