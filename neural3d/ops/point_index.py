"""Points sorted into the cells of a hashed grid, so that those near a place are found without looking at the others."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

LARGER = 1 + 1e-6
"""A cell's side, in radii: two places less than a radius apart are at most one cell apart, rounding included."""
FARTHEST_CELL = 1 << 24
PRIMES = (73856093, 19349663, 83492791)


@dataclass(frozen=True)
class PointIndex:
    """P points by slot of a hash table, within a slot by their rows; `index_points` makes one."""

    points: Float[Tensor, "P 3"]
    """In the order that they were given in, which is what rows mean."""
    sorted_points: Float[Tensor, "P 3"]
    cells: Int32[Tensor, "P 3"]
    """Of the sorted points."""
    rows: Int32[Tensor, "P"]
    """Of the sorted points."""
    first: Int32[Tensor, "slots_plus_1"]
    """Slot s owns the sorted points first[s] to first[s + 1]; there are 2^n slots."""
    radius: float
    """How far from a place points are looked for."""

    @property
    def cells_per_unit(self) -> float:
        """Along an axis."""
        return cells_per_unit(self.radius)

    def __len__(self) -> int:
        return len(self.points)


def index_points(points: Float[Tensor, "P 3"], radius: float) -> PointIndex:
    """Sort points into cells as large as the radius.

    Source: Teschner et al. 2003, Optimized Spatial Hashing for Collision Detection of Deformable Objects (the hash).

    Raises:
        ValueError: The radius is not positive; the points are no floats [P, 3]; or one is not finite, or lies more
            than 2^24 radii from the origin.
    """
    if not 0 < radius < float("inf"):
        raise ValueError(f"radius: expected more than 0, got {radius}")
    if not points.is_floating_point() or points.dim() != 2 or points.shape[1] != 3:
        raise ValueError(f"points: expected floats of shape [any, 3], got {points.dtype} of shape {list(points.shape)}")
    if not points.isfinite().all():
        raise ValueError("points: expected finite coordinates, got NaN or infinity; leave such points out")
    scaled = points.detach().double() * cells_per_unit(radius)
    if (scaled.abs() >= FARTHEST_CELL).any():
        raise ValueError(f"points: expected less than 2^24 radii ({radius:g}) from the origin, got points beyond")
    cells = scaled.floor().int()
    slots = 1 << max(len(points) - 1, 1).bit_length()
    slot = cell_slots(cells, slots)
    rows = torch.sort(slot, stable=True).indices
    ends = torch.bincount(slot, minlength=slots).cumsum(0)
    first = torch.cat([ends.new_zeros(1), ends]).int()
    kept = points.detach().contiguous()
    return PointIndex(kept, kept[rows].contiguous(), cells[rows].contiguous(), rows.int(), first, radius)


def cells_per_unit(radius: float) -> float:
    """Of the grid for a radius, along an axis."""
    return 1 / (radius * LARGER)


def cell_slots(cells: Int32[Tensor, "P 3"], slots: int) -> Int64[Tensor, "P"]:
    """Of each cell, among a power of two, in the unsigned arithmetic of 32 bits."""
    x, y, z = ((cells[:, k].long() & 0xFFFFFFFF) * PRIMES[k] & 0xFFFFFFFF for k in range(3))
    hashed = x ^ y ^ z
    return (hashed ^ hashed >> 15) & (slots - 1)
