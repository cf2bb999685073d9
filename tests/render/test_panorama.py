"""All around: things lie where their direction says, turning the camera shifts the picture, and no seam is seen."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.render.exr import ExrFrame, ExrSettings, write_exr
from neural3d.render.objects import Objects
from neural3d.render.panorama import panorama_function, panorama_points, panorama_tiles
from neural3d.render.splats import render_function
from neural3d.splats.gaussians import Gaussians

from .scenes import CAPTURE_FROM_SCENE, some_gaussians, straight_camera
from .test_exr import parts_of

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


def test_layers_all_around_are_those_of_the_views_around():
    """Colours are those of the picture; each point lies on the ball that a view straight at it shows, facing it."""
    camera = replace(turned(20), size_px=torch.tensor([[WIDTH, HEIGHT]]))
    where = torch.nn.functional.normalize(torch.tensor([[1.0, 0.3, 0.2], [-0.8, -0.6, -1.0]]), dim=1) * 3
    balls = Gaussians(
        where, torch.full((2, 3), math.log(0.15)), torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1), torch.full((2,), 5.0),
        torch.rand(2, 1, 3),
    )  # fmt: skip
    objects = Objects(("first", "second"), torch.tensor([0, 1]))
    (tile,) = panorama_tiles(balls, camera, objects=objects)
    seen = panorama_function(render_function(balls))(camera)
    assert torch.equal(tile.colors, seen.colors[0]) and torch.equal(tile.alphas, seen.alphas[0])
    assert torch.allclose(tile.coverages.sum(-1, keepdim=True), tile.alphas, atol=1e-5)
    points = panorama_points(camera, tile.depths)
    for number in range(2):
        its = tile.coverages[..., number] > 0.5
        assert its.sum() >= 4 and (points[its] - where[number]).norm(dim=-1).max() < 0.3
        assert torch.allclose(points[its].norm(dim=-1), tile.depths[its][:, 0], rtol=1e-5)
        assert torch.allclose(tile.depths[its], torch.tensor(3.0), rtol=0.05)
    assert (tile.depths[tile.alphas == 0] == 0).all()


def test_an_exr_says_that_it_is_a_panorama(tmp_path: Path):
    """To another reader; its positions are the world's."""
    oiio = pytest.importorskip("OpenImageIO", reason="needs OpenImageIO: pip install OpenImageIO")
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    gaussians, camera = some_gaussians(), turned(0)
    settings = ExrSettings(panorama=True, precision="float")
    write_exr(tmp_path / "a.exr", gaussians, ExrFrame(camera), capture_from_scene=CAPTURE_FROM_SCENE, settings=settings)
    found = {name: pixels for name, (_, pixels) in parts_of(tmp_path / "a.exr").items()}
    spec = oiio.ImageInput.open(str(tmp_path / "a.exr")).spec()
    assert spec.getattribute("textureformat") == "LatLong Environment" and (spec.width, spec.height) == (WIDTH, HEIGHT)
    there = found["rgba"][..., 3] > 0.5
    center = CAPTURE_FROM_SCENE.apply(torch.zeros(3)).numpy()
    distance = np.linalg.norm(found["position"][there] - center, axis=-1)
    assert there.any() and np.allclose(distance, found["depth"][there][:, 0], rtol=1e-4)
    light = (distance > 0) & (np.linalg.norm(found["normal"][there], axis=-1) > 0.99)
    assert light.mean() > 0.95
    with pytest.raises(ValueError, match="panorama: it has no border"):
        write_exr(
            tmp_path / "b.exr",
            gaussians,
            ExrFrame(camera),
            capture_from_scene=CAPTURE_FROM_SCENE,
            settings=replace(settings, overscan_px=3),
        )
