"""Points thinned out to one a cell, so that they are spread evenly."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def thinned_rows(rows: Float[Tensor, "P C"], most: int, *, finest: float, fewest: int) -> Float[Tensor, "M C"]:
    """One row for each cell of a grid that holds at least `fewest`, the mean of them; in the cells' order.

    The first three columns say where a row lies. The grid is as fine as `finest`, or coarser so that there are no more
    than `most`.
    Limits: what lies a million cells from the origin, or farther, counts as one cell.
    """
    # Eight cells meet at a corner at the origin, however large they are: for fewer, the origin is a cell's middle.
    shift = 0.5 if most < 8 else 0.0
    side = finest
    while True:
        found = _by_cells(rows, side, shift, fewest)
        if len(found) <= most:
            return found
        side *= max(1.02, math.sqrt(len(found) / most))


def _by_cells(rows: Float[Tensor, "P C"], side: float, shift: float, fewest: int) -> Float[Tensor, "M C"]:
    keys = _cell_keys(rows[:, :3], side, shift)
    order = torch.sort(keys, stable=True).indices
    _, counts = torch.unique_consecutive(keys[order], return_counts=True)
    ends = counts.cumsum(0)
    # Running sums in double: exact enough, and the same at any number of threads, where torch's own sums are not.
    sums = rows[order].double().cumsum(0)
    sums = torch.cat([sums.new_zeros(1, rows.shape[1]), sums[ends - 1]]).diff(dim=0)
    return (sums / counts[:, None])[counts >= fewest].float()


def _cell_keys(places: Float[Tensor, "P 3"], side: float, shift: float) -> Int64[Tensor, "P"]:
    """`shift`: where in its cell the origin lies, in cells."""
    cells = (places.double() / side + shift).floor().long() + (1 << 20)
    x, y, z = cells.clamp(0, (1 << 21) - 1).unbind(1)
    return (z << 42) + (y << 21) + x
