"""The nearest points around places, by a hashed grid of cells: native."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.point_index import PointIndex
from neural3d.ops.validation import check_floats, check_integers

MOST_NEIGHBORS = 16


def nearest_points(queries: Float[Tensor, "S 3"], index: PointIndex, k: int) -> Int32[Tensor, "S K"]:
    """The k nearest points within the index's radius; `neural3d.reference.nearest_points` is the specification.

    Raises:
        ValueError: An argument does not fit, or k is not 1 to 16.
    """
    places = (len(index), 3)
    check_floats(queries=(queries, (None, 3)), index=(index.sorted_points, places), index_places=(index.points, places))
    check_integers("index.cells", index.cells, places, queries)
    check_integers("index.rows", index.rows, places[:1], queries)
    check_integers("index.first", index.first, (None,), queries)
    if not 1 <= k <= MOST_NEIGHBORS:
        raise ValueError(f"k: expected 1 to {MOST_NEIGHBORS}, got {k}")
    sorted_points = (index.sorted_points, index.cells, index.rows, index.first)
    return native().nearest_points(queries.detach(), *sorted_points, index.radius, index.cells_per_unit, k)


native()


@torch.library.register_fake("neural3d::nearest_points")
def _(queries, *rest):
    return queries.new_empty((queries.shape[0], rest[-1]), dtype=torch.int32)
