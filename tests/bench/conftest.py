"""A capture that costs nothing, photographed by our own renderer."""

import json
from pathlib import Path

import pytest
import torch

from neural3d.bench.scenes import TWIN, generate
from neural3d.cameras import Cameras
from neural3d.render.images import write_png
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats

NUM_VIEWS, WIDTH, HEIGHT, FOCAL = 10, 48, 32, 40.0


@pytest.fixture(scope="session")
def small_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transforms.json capture of a generated scene, from a small ring of cameras."""
    folder = tmp_path_factory.mktemp("bench") / "capture"
    cameras = _ring()
    with torch.no_grad():
        colors = render_splats(generate(TWIN).gaussians, cameras).colors
    frames = []
    for index in range(NUM_VIEWS):
        write_png(folder / "images" / f"{index:03d}.png", colors[index])
        matrix = cameras.world_from_camera[index] @ torch.diag(torch.tensor([1.0, -1, -1, 1]))
        frames.append({"file_path": f"images/{index:03d}.png", "transform_matrix": matrix.tolist()})
    lens = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def _ring() -> Cameras:
    angles = torch.arange(NUM_VIEWS) * (2 * torch.pi / NUM_VIEWS)
    centers = torch.stack([angles.cos(), angles.sin(), torch.zeros(NUM_VIEWS)], dim=-1)
    targets = torch.tensor([0.0, 0, 4]).repeat(NUM_VIEWS, 1)
    size = torch.tensor([WIDTH, HEIGHT]).repeat(NUM_VIEWS, 1)
    poses = look_at(centers, targets, torch.tensor([0.0, -1, 0])).float()
    return Cameras(poses, torch.full((NUM_VIEWS, 2), FOCAL), size / 2, size)
