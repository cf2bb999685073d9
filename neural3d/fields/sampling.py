"""Where along its ray a field is asked: stratified, then where the first answers have found something.

Source: Mildenhall et al. 2020, equation 2 and section 5.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def stratified(offsets: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Equation 2: one place in each of S equal parts of [0, 1); an offset in [0, 1) says where in its part."""
    num_samples = offsets.shape[1]
    starts = torch.arange(num_samples, dtype=offsets.dtype, device=offsets.device)
    return (starts + offsets) / num_samples


def inverse_cdf(
    edges: Float[Tensor, "R E"], weights: Float[Tensor, "R B"], uniform: Float[Tensor, "R F"]
) -> Float[Tensor, "R F"]:
    """Places distributed as the piecewise constant density that has `weights` (>= 0) between the B + 1 rising edges.

    `uniform` numbers lie in [0, 1). A little is added to every weight, so that no interval is left out for good.

    Source: section 5.2; inverse transform sampling.
    """
    padded = weights + 1e-5
    cumulative = padded.cumsum(dim=1)
    total = cumulative[:, -1:]
    cumulative = torch.cat([torch.zeros_like(total), cumulative], dim=1)
    target = (uniform * total).contiguous()
    above = torch.searchsorted(cumulative, target, right=True).clamp(1, weights.shape[1])
    below = above - 1
    low, high = edges.gather(1, below), edges.gather(1, above)
    inside = (target - cumulative.gather(1, below)) / padded.gather(1, below)
    return low + (high - low) * inside.clamp(0, 1)


def middles(places: Float[Tensor, "R S"]) -> Float[Tensor, "R E"]:
    """Between neighbours: the edges of the intervals around all samples but the first and the last."""
    return 0.5 * (places[:, 1:] + places[:, :-1])
