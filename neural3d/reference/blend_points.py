"""Features of near points, blended at places."""

from jaxtyping import Float, Int32
from torch import Tensor

NEAREST = 1e-3
"""Radii; a place nearer to a point counts as so far away."""


def blend_points(
    positions: Float[Tensor, "S 3"],
    points: Float[Tensor, "P 3"],
    embeddings: Float[Tensor, "P C"],
    confidences: Float[Tensor, "P"],
    mix: Float[Tensor, "3 C"],
    neighbors: Int32[Tensor, "S K"],
    radius: float,
) -> tuple[Float[Tensor, "S C"], Float[Tensor, "S"]]:
    """Blend sum s_k c_k relu(u_k + (x - p_k) / radius mix), and sum s_k c_k, over the neighbours k of each place x.

    s_k = w_k / (1 + sum w) with w the inverse of the distance in radii, less one: a point as far away as the radius
    counts for nothing, and where points end all fades out. A neighbour -1 is none; a place without neighbours has the
    feature and the confidence 0. Places and points are constants.

    Source: Xu et al. 2022, Point-NeRF, eq. 3 to 7. Their network of a point's feature and the place's offset is one
    hidden layer here, whose feature half is learnt as such; its linear end is taken after the blending, with which it
    commutes. Theirs does not fade out, and blends densities where here the blended feature has one.
    """
    known = neighbors >= 0
    rows = neighbors.clamp(min=0).long()
    offsets = (positions[:, None] - points[rows]) / radius
    distances = offsets.square().sum(-1).sqrt().clamp(min=NEAREST)
    weights = (1 / distances - 1).clamp(min=0) * known
    shares = weights / (1 + weights.sum(1, keepdim=True))
    hidden = (embeddings[rows] + offsets @ mix).relu()
    counted = shares * confidences[rows]
    return (counted[..., None] * hidden).sum(1), counted.sum(1)
