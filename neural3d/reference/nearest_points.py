"""The nearest points around places, by looking at all of them."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.point_index import PointIndex


def nearest_points(queries: Float[Tensor, "S 3"], index: PointIndex, k: int) -> Int32[Tensor, "S K"]:
    """Rows of the k nearest points that are less than the index's radius away, -1 where there are fewer.

    By ascending distance, and where that is the same by row. A place that is not finite is near to nothing.

    Limits: holds all pairs at once.
    """
    x, y, z = (queries[:, None] - index.points).unbind(-1)
    squared = x * x + y * y + z * z
    near = squared < torch.tensor(index.radius**2, dtype=squared.dtype)
    squared = torch.where(near, squared, torch.inf)
    found, rows = torch.sort(squared, dim=1, stable=True)
    rows = torch.where(found[:, :k] < torch.inf, rows[:, :k], -1).int()
    return torch.nn.functional.pad(rows, (0, k - rows.shape[1]), value=-1)
