"""Upright exports: up comes to the axis, distances and handedness stay."""

import pytest
import torch

from neural3d.export.up_axis import composed, upright

from .splats import turned_and_moved

AXES = {"y": [0.0, 1, 0], "z": [0.0, 0, 1], "y-down": [0.0, -1, 0]}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("up", [[0.0, -1, 0], [0.0, 1, 0], [0.0, 0, 1], [0.0, 0, -1], [1.0, 0, 0], [0.3, -0.9, 0.2]])
def test_up_comes_to_the_axis(axis, up: list[float]):
    way = upright(axis, torch.tensor(up))
    unit = torch.tensor(up).double() / torch.tensor(up).double().norm()
    assert torch.allclose(way.rotation @ unit, torch.tensor(AXES[axis]).double(), atol=1e-6)
    assert torch.allclose(way.rotation @ way.rotation.T, torch.eye(3).double(), atol=1e-12)
    assert float(way.rotation.det()) == pytest.approx(1) and way.scale == 1


def test_half_a_turn_leads_from_opencv_to_opengl():
    way = upright("y", torch.tensor([0.0, -1, 0]))
    assert torch.equal(way.rotation, torch.diag(torch.tensor([1.0, -1, -1])).double())


def test_keep_turns_nothing():
    assert torch.equal(upright("keep", torch.tensor([1.0, 0, 0])).rotation, torch.eye(3).double())


def test_composition_is_one_after_the_other():
    first, second, points = turned_and_moved(), turned_and_moved(), torch.randn(5, 3, dtype=torch.float64)
    assert torch.allclose(composed(second, first).apply(points), second.apply(first.apply(points)))
