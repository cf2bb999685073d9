"""Volume rendering by nerfacc, where that is installed: another library's word on the same samples.

nerfacc is imported only inside `nerfacc_composite`: it compiles its kernels for minutes the first time it is used.
Whether it can is what `devices.require_kernels` finds out.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.records import RayViews

CompositeFn = Callable[..., RayViews]
"""As `neural3d.ops.composite.composite`: densities, colours, distances, lengths, offsets of rays to what rays see."""


def nerfacc_composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S 3"],
    ts: Float[Tensor, "S"],
    deltas: Float[Tensor, "S"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    *,
    device: torch.device,
) -> RayViews:
    """`composite` with nerfacc's packed operators on a device of its own; differentiable in densities and colours.

    Source: nerfacc 0.5, `render_weight_from_density`, `accumulate_along_rays`, `exclusive_sum`.
    Limits: rays have no end: what lies behind something opaque counts as little as it does, not as nothing. nerfacc
    adds up in no fixed order, so that the same seed gives the same result, but not to the byte.
    """
    from nerfacc import accumulate_along_rays, exclusive_sum, render_weight_from_density

    densities, colors, t, lengths = (tensor.to(device) for tensor in (densities, colors, ts, deltas))
    counts, rays = ray_offsets.diff().to(device).long(), len(ray_offsets) - 1
    packed = torch.stack([ray_offsets[:-1].to(device).long(), counts], dim=1)
    ray = torch.arange(rays, device=device).repeat_interleave(counts)
    weights, _, _ = render_weight_from_density(t - lengths / 2, t + lengths / 2, densities, packed_info=packed)
    # Of the distortion loss: twice the pairs in which the other sample comes first, and a third of each with itself.
    before, moments = (exclusive_sum(values, packed) for values in (weights, weights * t))
    bent = 2 * weights * (t * before - moments) + weights.square() * lengths / 3
    columns = (colors, torch.ones_like(t)[:, None], t[:, None])
    seen, alphas, depths = (accumulate_along_rays(weights, values, ray, rays).to(ts.device) for values in columns)
    distortions = accumulate_along_rays(bent, None, ray, rays).to(ts.device)
    return RayViews(seen, alphas[:, 0], depths[:, 0], distortions[:, 0])
