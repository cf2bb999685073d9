"""The nearest points around places, by a hashed grid."""

import math

import pytest
import torch

from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.point_index import LARGER, cell_slots, index_points


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.01, 0.07, 0.3, 3.0])
def test_twins_agree(native, reference, dtype, radius):
    """With fewer points than asked for, with many more, and with places outside."""
    points, queries = torch.rand(700, 3, dtype=dtype), 1.2 * torch.rand(300, 3, dtype=dtype) - 0.1
    points[300::9] = points[0]  # some coincide: rows decide
    index = index_points(points, radius)
    for k in (1, 8, 16):
        assert torch.equal(native.nearest_points(queries, index, k), reference.nearest_points(queries, index, k))


def test_at_the_borders_of_cells(native, reference):
    """Points and places on corners, edges and faces of cells, and the next numbers on either side; far from 0, too."""
    radius = 0.125
    side = radius * LARGER
    numbers = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 40.0], dtype=torch.float64) * side
    numbers = numbers.float()
    ends = torch.tensor([-math.inf, math.inf])
    axis = torch.cat([numbers, *(torch.nextafter(numbers, end.expand(6)) for end in ends)])
    places = torch.cartesian_prod(axis, axis[:9], axis[:3])
    points = torch.cat([places, places + torch.tensor([radius * (1 - 1e-6), 0.0, 0.0])])
    index = index_points(points, radius)
    assert torch.equal(native.nearest_points(places, index, 16), reference.nearest_points(places, index, 16))
    pair = index_points(torch.tensor([[radius * 0.9999999, 0, 0]]), radius)
    assert native.nearest_points(torch.tensor([[-1e-9, 0.0, 0.0]]), pair, 1).item() == 0


def test_cells_that_share_a_slot_are_told_apart(native, reference):
    """Of few slots most hold several cells: nothing is found twice, and nothing of another cell."""
    points = torch.rand(64, 3)
    index = index_points(points, 0.1)
    slots = cell_slots(index.cells, len(index.first) - 1)
    assert len(slots.unique()) < len(index.cells.unique(dim=0)), "no two cells share a slot: the test shows nothing"
    found = native.nearest_points(points, index, 16)
    assert torch.equal(found, reference.nearest_points(points, index, 16))
    for row in found.tolist():
        known = [name for name in row if name >= 0]
        assert len(known) == len(set(known))


def test_the_nearest_comes_first_and_the_radius_is_outside(backend):
    points = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0], [0.25, 0, 0]])
    index = index_points(points, 1.0)
    assert backend.nearest_points(torch.zeros(1, 3), index, 4).tolist() == [[0, 3, 1, -1]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, -1e30])
def test_what_is_no_place_is_near_to_nothing(backend, value):
    index = index_points(torch.rand(50, 3), 0.4)
    assert (backend.nearest_points(torch.full((3, 3), value), index, 2) == -1).all()


def test_nobody_and_nothing(native):
    index = index_points(torch.rand(0, 3), 0.4)
    assert (native.nearest_points(torch.rand(3, 3), index, 2) == -1).all()
    assert native.nearest_points(torch.rand(0, 3), index_points(torch.rand(1, 3), 1.0), 2).shape == (0, 2)


def test_threads_change_no_bit():
    index, queries = index_points(torch.rand(2000, 3), 0.1), torch.rand(3000, 3)
    torch.set_num_threads(1)
    expected = nearest_points(queries, index, 8)
    torch.set_num_threads(3)
    assert torch.equal(nearest_points(queries, index, 8), expected)


def test_an_index_that_is_none_reads_no_foreign_memory():
    """For whoever calls the operator past its wrapper."""
    index, queries = index_points(torch.rand(20, 3), 0.1), torch.rand(3, 3)
    options = (index.radius, index.cells_per_unit, 2)
    for first in (index.first + 1, index.first.flip(0), index.first[:-2]):
        with pytest.raises(RuntimeError, match="neural3d: slots"):
            torch.ops.neural3d.nearest_points(queries, index.sorted_points, index.cells, index.rows, first, *options)
