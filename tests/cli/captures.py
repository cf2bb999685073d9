"""A capture that costs nothing: a few Gaussians photographed by our own renderer."""

import json
from pathlib import Path

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.cli import main
from neural3d.render.images import write_png
from neural3d.render.paths import look_at
from neural3d.render.splats import render_splats
from neural3d.splats.gaussians import Gaussians

NUM_VIEWS, SIZE = 10, (48, 32)
BALL_AT = torch.tensor([5.0, -1.0, 2.0]).double()
"""Where the ball of `ball_run` lies in its capture."""
SMALL = ["--steps", "12", "--max-gaussians", "150"]
"""Of a training that costs nothing either."""


def small_gaussians(count: int = 60) -> Gaussians:
    generator = torch.Generator().manual_seed(1)
    return Gaussians(
        means_world=torch.randn(count, 3, generator=generator) * 0.5,
        log_scales=torch.full((count, 3), -2.0),
        quats_wxyz=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        logit_opacities=torch.full((count,), 2.0),
        sh=torch.rand(count, 1, 3, generator=generator) * 3 - 1.5,
    )


def ring_cameras(count: int = NUM_VIEWS) -> Cameras:
    angles = torch.arange(count) * (2 * torch.pi / count)
    centers = torch.stack([4 * angles.cos(), 4 * angles.sin(), torch.ones(count)], dim=-1)
    size = torch.tensor([SIZE]).repeat(count, 1)
    poses = look_at(centers, torch.zeros(count, 3), torch.tensor([0.0, 0, 1])).float()
    return Cameras(poses, torch.full((count, 2), 50.0), size / 2, size)


def write_capture(folder: Path) -> Path:
    """A transforms.json capture, as nerfstudio writes them."""
    cameras = ring_cameras()
    with torch.no_grad():
        colors = render_splats(small_gaussians(), cameras).colors
    frames = []
    for index in range(NUM_VIEWS):
        write_png(folder / "images" / f"{index:03d}.png", colors[index])
        matrix = cameras.world_from_camera[index] @ torch.diag(torch.tensor([1.0, -1, -1, 1]))
        frames.append({"file_path": f"images/{index:03d}.png", "transform_matrix": matrix.tolist()})
    lens = {"w": SIZE[0], "h": SIZE[1], "fl_x": 50.0, "fl_y": 50.0, "cx": SIZE[0] / 2, "cy": SIZE[1] / 2}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """Run a command that must fail with one line."""
    capsys.readouterr()
    assert main(list(arguments)) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line and "going on" not in line]
    assert len(lines) == 1 and lines[0].startswith("neural3d: error: "), lines
    return lines[0]
