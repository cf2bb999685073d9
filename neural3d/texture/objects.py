"""The splats of what masks hold: masks fray, and what stands on something is hard to cut off from it."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from neural3d.splats.gaussians import SH_C0, Gaussians

_SURE = 0.8
"""Of what photos see of a splat must lie in masks, and of what they see of its like beside it, for it to stay."""
_NEAR, _ALIKE = 0.1, 0.07
"""Standard deviations of what counts: of places, in sizes of the object, and of colours in [0, 1]."""
_ASKED, _CHUNK = 10_000, 2048
_AROUND = 0.5
"""Of the object's size: how far about it splats are asked."""
_LEAST_SEEN_PX = 0.5
_ENOUGH = 1_000_000
"""Splats, to see how large an object is."""


def held(gaussians: Gaussians, votes: Float64[Tensor, "N D"], seen: Float64[Tensor, "N"]) -> Int64[Tensor, "K"]:
    """Which splats the masks of any object hold, by what these and the views see of each (see `votes_in_views`).

    Masks that always take a piece of the ground with the object hold some of its splats, but not most of what has
    this ground's colour nearby: so each splat is asked together with its like.

    Limits: what the masks take of the ground must be small against the object.
    """
    share = (votes.sum(1) / seen.clamp_min(1e-9)).clamp_max(1).float()
    of_masks = share > _SURE
    if not bool(of_masks.any()):
        return of_masks.nonzero()[:, 0]
    inside = gaussians.means_world[of_masks]
    inside = inside[:: 1 + len(inside) // _ENOUGH]
    low, high = (inside.quantile(q, dim=0) for q in (0.02, 0.98))
    size = float((high - low).max())
    around = ((gaussians.means_world > low - _AROUND * size) & (gaussians.means_world < high + _AROUND * size)).all(1)
    rows = (around & (seen > _LEAST_SEEN_PX)).nonzero()[:, 0]
    colors = (0.5 + SH_C0 * gaussians.sh[rows, 0]).clamp(0, 1)
    places = torch.cat([gaussians.means_world[rows] / (_NEAR * size), colors / _ALIKE], dim=1)
    agreed = torch.zeros_like(share)
    agreed[rows] = _agreed(places, share[rows], seen[rows].float().sqrt())
    return (of_masks & (agreed > _SURE)).nonzero()[:, 0]


def _agreed(places: Float[Tensor, "R 6"], share: Float[Tensor, "R"], weight: Float[Tensor, "R"]) -> Float[Tensor, "R"]:
    """Each one's mean with others', those that are nearest in place and colour count most."""
    asked = torch.linspace(0, len(places) - 1, min(_ASKED, len(places))).round().long()
    found = []
    for part in torch.arange(len(places)).split(_CHUNK):
        counts = torch.exp(-0.5 * torch.cdist(places[part], places[asked]).square()) * weight[asked]
        sums = torch.stack([counts @ share[asked], counts.sum(1)])
        found.append((sums[0] + weight[part] * share[part]) / (sums[1] + weight[part]))
    return torch.cat(found)
