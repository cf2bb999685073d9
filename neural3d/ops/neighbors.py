"""Distances between neighbouring points: native, by a k-d tree."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_singles


def neighbor_distances(points: Float[Tensor, "N 3"], k: int = 3) -> Float[Tensor, "N"]:
    """Mean distance of each point to its k nearest others (fewer where there are not k others).

    Raises:
        ValueError: Fewer than two points, not float32, not finite, or k not in 1 to 16.
    """
    check_singles(points=(points, (len(points), 3)))
    if len(points) < 2:
        raise ValueError(f"points: expected at least 2, got {len(points)}")
    if not 1 <= k <= 16:
        raise ValueError(f"k: expected 1 to 16, got {k}")
    if not points.isfinite().all():
        raise ValueError("points: expected finite coordinates, got NaN or infinity; leave such points out")
    return native().neighbor_distances(points, min(k, len(points) - 1))


native()


@torch.library.register_fake("neural3d::neighbor_distances")
def _(points, k):
    return points.new_empty(points.shape[0])
