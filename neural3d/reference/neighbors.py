"""Distances between neighbouring points."""

import torch
from jaxtyping import Float
from torch import Tensor


def neighbor_distances(points: Float[Tensor, "N 3"], k: int = 3) -> Float[Tensor, "N"]:
    """Mean distance of each point to its k nearest others (fewer where there are not k others).

    Limits: holds all pairs at once.
    """
    distances = (points[:, None] - points).norm(dim=-1)
    distances.fill_diagonal_(torch.inf)
    return distances.topk(min(k, len(points) - 1), largest=False).values.mean(dim=1)
