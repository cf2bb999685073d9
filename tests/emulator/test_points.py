"""The CUDA drivers of neural points meet neighbours that are no points, which no host has looked for."""

import pytest
import torch
from ops.random_rays import field_arguments


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neighbour_that_is_no_point_gives_no_answer_and_is_not_read(drivers, dtype):
    *values, neighbors, radius = field_arguments(dtype)["blend_points"]
    count, strange = len(values[1]), neighbors.clone()
    strange[3, 1], strange[7, 0], strange[9] = count, 2**31 - 1, count + 5
    lost = torch.tensor([3, 7, 9])
    kept = torch.ones(len(neighbors), dtype=torch.bool)
    kept[lost] = False
    expected = drivers.blend_points(*values, neighbors, radius)
    found = drivers.blend_points(*values, strange, radius)
    for actual, wanted in zip(found, expected, strict=True):
        assert torch.equal(actual[kept], wanted[kept]) and actual[lost].isnan().all()
    pulls = (torch.rand_like(found[0]), torch.rand_like(found[1]))
    clean = drivers.blend_points_vjp(*values, neighbors, radius, expected[2], *pulls)
    pulled = drivers.blend_points_vjp(*values, strange, radius, found[2], *pulls)
    touched = torch.zeros(count, dtype=torch.bool)
    touched[neighbors[lost][neighbors[lost] >= 0].long()] = True
    assert touched.any() and not touched.all()
    for actual, wanted in zip(pulled[:2], clean[:2], strict=True):
        assert torch.equal(actual[~touched], wanted[~touched])
