"""Distances between neighbouring points: native, by a k-d tree."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native


def neighbor_distances(points: Float[Tensor, "N 3"], k: int = 3) -> Float[Tensor, "N"]:
    """Mean distance of each point to its k nearest others (fewer where there are not k others).

    Raises:
        ValueError: Fewer than two points, not float32, or k not in 1 to 16.
    """
    if points.dtype != torch.float32 or not points.is_contiguous():
        raise ValueError(f"points: expected contiguous float32, got {points.dtype}")
    if len(points) < 2:
        raise ValueError(f"points: expected at least 2, got {len(points)}")
    if not 1 <= k <= 16:
        raise ValueError(f"k: expected 1 to 16, got {k}")
    return native().neighbor_distances(points, min(k, len(points) - 1))


native()


@torch.library.register_fake("neural3d::neighbor_distances")
def _(points, k):
    return points.new_empty(points.shape[0])
