"""All around: things lie where their direction says, turning the camera shifts the picture, and no seam is seen."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.render.panorama import panorama_function
from neural3d.render.splats import render_function
from neural3d.splats.gaussians import Gaussians

from .scenes import some_gaussians, straight_camera

WIDTH, HEIGHT = 128, 64


def turned(degrees: float):
    """A camera at the origin, turned to its right."""
    a = math.radians(degrees)
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    return replace(straight_camera((WIDTH, HEIGHT), back=0.0), camera_from_world=pose[None])


@pytest.mark.parametrize(
    ("direction", "column", "row"),
    [
        ((0.0, 0.0, 1.0), 64, 32),  # ahead
        ((1.0, 0.0, 0.0), 96, 32),  # to the right
        ((-1.0, 0.0, 1.0), 48, 32),  # half to the left, on the seam of two faces
        ((0.0, -1.0, 1.0), 64, 16),  # half up
        ((0.3, 1.0, 1.0), None, None),
        ((-1.0, 0.4, -1.0), None, None),
    ],
)
def test_a_ball_lies_in_its_direction(direction, column, row):
    where = torch.nn.functional.normalize(torch.tensor(direction), dim=0) * 3
    ball = Gaussians(
        where[None], torch.full((1, 3), math.log(0.1)), torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([5.0]),
        torch.full((1, 1, 3), 1.5),
    )  # fmt: skip
    alphas = panorama_function(render_function(ball))(turned(0.0)).alphas[0, ..., 0]
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    found = [float((alphas * axis).sum() / alphas.sum()) for axis in (x, y)]
    dx, dy, dz = where.tolist()
    expected = [(math.atan2(dx, dz) / (2 * math.pi) + 0.5) * WIDTH, (0.5 + math.asin(dy / 3) / math.pi) * HEIGHT]
    assert found == pytest.approx(expected, abs=0.3)
    assert column is None or found == pytest.approx([column, row], abs=0.3)


def test_turning_shifts_the_picture():
    """By a quarter: other faces show the same things then."""
    render = panorama_function(render_function(some_gaussians()))
    first, quarter = (render(turned(degrees)).colors[0] for degrees in (0.0, 90.0))
    assert first.mean() > 0.02
    assert torch.allclose(first.roll(-WIDTH // 4, dims=1), quarter, atol=0.02)


def test_no_seam_is_seen():
    """Turned by 37 degrees the edges of the faces lie elsewhere."""
    balls = some_gaussians().means_world * 0.5
    balls = balls + 2.5 * torch.nn.functional.normalize(balls, dim=1)
    some = replace(some_gaussians(), means_world=balls)
    render = panorama_function(render_function(some))
    step = 360 / WIDTH
    first, turn = (render(turned(degrees)).colors[0] for degrees in (0.0, 13 * step))
    assert (first.roll(-13, dims=1) - turn).abs().mean() < 0.01
