"""Distances to the nearest points."""

import pytest
import torch

from neural3d.ops.neighbors import neighbor_distances as native
from neural3d.reference.neighbors import neighbor_distances as reference

from .tolerances import assert_close


@pytest.fixture(params=[native, reference], ids=["native", "reference"])
def distances(request: pytest.FixtureRequest):
    """Each of the two."""
    return request.param


def test_a_grid(distances):
    axis = torch.arange(5.0)
    points = 0.5 * torch.cartesian_prod(axis, axis, axis)
    assert torch.equal(distances(points, k=3), torch.full((125,), 0.5))


@pytest.mark.parametrize("count", [2, 3])
def test_with_fewer_others_than_asked_for(distances, count):
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0]])[:count]
    expected = {2: [1.0, 1.0], 3: [1.5, (1 + 5**0.5) / 2, (2 + 5**0.5) / 2]}[count]
    assert_close(distances(points, k=3), torch.tensor(expected), "float32 law")


def test_points_in_one_place_are_at_distance_zero(distances):
    assert (distances(torch.ones(40, 3), k=3) == 0).all()


@pytest.mark.parametrize("k", [1, 3, 16])
@pytest.mark.parametrize("count", [9, 100, 1000])
def test_twins_agree(count, k):
    points = torch.randn(count, 3) * torch.tensor([1.0, 10.0, 0.1])
    points[count // 2 :: 7] = points[0]  # some coincide
    assert_close(native(points, k), reference(points.double(), k), "float32 law")


@pytest.mark.parametrize("count", [100, 5000])
def test_threads_change_no_bit(count):
    points = torch.randn(count, 3)
    torch.set_num_threads(1)
    expected = native(points)
    torch.set_num_threads(2)
    assert torch.equal(native(points), expected)
