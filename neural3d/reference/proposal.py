"""Where along a ray to look closely, by a cheap guess of what is there, and how wrong the guess was."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.records import RayScale
from neural3d.reference.radiance_mlp import MAX_LOG_DENSITY

EPSILON = 1e-7
"""Added to the weights that the interlevel loss divides by."""


def proposal_edges(
    features: Float[Tensor, "R P L"],
    edges: Float[Tensor, "R P_plus_1"],
    offsets: Float[Tensor, "R"],
    scale: RayScale,
    *,
    count: int,
    uniform: float,
) -> Float[Tensor, "R N_plus_1"]:
    """The edges of `count` intervals of each ray, dense where the guess has most weight.

    `edges` in [0, 1] ascend along the ray, as `scale` measures it; what is returned is measured likewise. The density
    of an interval is e to the sum of its features, constant up to e^15. Edge k lies at the quantile
    (k + offset) / (count + 1) of the intervals' weights, mixed with a share `uniform` of the same weight for each
    interval. Nothing here has a gradient.

    Source: Barron et al. 2022, Mip-NeRF 360, section 3.
    """
    weights = interval_weights(features, edges, scale)
    total = weights.sum(dim=1, keepdim=True)
    even = torch.full_like(weights, 1 / weights.shape[1])
    shares = torch.where(total > 0, (1 - uniform) * weights / total + uniform * even, even)
    reached = torch.cat([torch.zeros_like(total), shares.cumsum(dim=1)], dim=1)
    steps = torch.arange(count + 1, device=edges.device, dtype=edges.dtype)
    wanted = (steps + offsets[:, None]) / (count + 1) * reached[:, -1:]
    below = (torch.searchsorted(reached, wanted, right=True) - 1).clamp(0, weights.shape[1] - 1)
    part = (wanted - reached.gather(1, below)) / shares.gather(1, below).clamp(min=1e-30)
    first, last = edges.gather(1, below), edges.gather(1, below + 1)
    return first + part.clamp(0, 1) * (last - first)


def interlevel(
    features: Float[Tensor, "R P L"],
    edges: Float[Tensor, "R P_plus_1"],
    densities: Float[Tensor, "R N"],
    fine_edges: Float[Tensor, "R N_plus_1"],
    scale: RayScale,
) -> Float[Tensor, "R"]:
    """How much weight of the fine intervals the guess leaves unexplained: sum of max(0, w - bound)^2 / (w + 1e-7).

    The bound of a fine interval is the weight of all the guess's intervals that it overlaps. The gradient reaches the
    features alone.

    Source: Barron et al. 2022, Mip-NeRF 360, eq. 12 and 13.
    """
    guess = interval_weights(features, edges, scale)
    with torch.no_grad():
        fine = _weights(densities, fine_edges, scale)
    overlap = (fine_edges[:, :-1, None] < edges[:, None, 1:]) & (fine_edges[:, 1:, None] > edges[:, None, :-1])
    bound = (overlap * guess[:, None, :]).sum(dim=2)
    return ((fine - bound).clamp(min=0).square() / (fine + EPSILON)).sum(dim=1)


def interval_weights(
    features: Float[Tensor, "R P L"], edges: Float[Tensor, "R P_plus_1"], scale: RayScale
) -> Float[Tensor, "R P"]:
    """What each interval of the guess adds to its ray."""
    logarithm = features.sum(dim=2)
    density = (logarithm - (logarithm - MAX_LOG_DENSITY).clamp(min=0).detach()).exp()
    return _weights(density, edges, scale)


def _weights(densities: Tensor, edges: Tensor, scale: RayScale) -> Tensor:
    optical = densities * scale.distances(edges).diff(dim=1)
    through = torch.exp(-torch.cat([torch.zeros_like(optical[:, :1]), optical.cumsum(dim=1)], dim=1))
    return through[:, :-1] - through[:, 1:]
