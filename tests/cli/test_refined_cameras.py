"""--refine-cameras: what is told, what later commands see of it, what is refused."""

import json
from pathlib import Path

import pytest
import torch

from neural3d.cli import main
from neural3d.cli.runs import load_trained

from .captures import SMALL


@pytest.mark.parametrize(("method", "options"), [("splat", SMALL), ("nerf", ["--preset", "fast", "--steps", "8"])])
def test_refined_cameras_are_told_and_kept(method, options, capture: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    command = ["train", method, "--output", str(run), "--json"]
    assert main([*command, "--capture", str(capture), "--refine-cameras", *options]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert "cameras were refined: turned by" in said.err
    assert 0 < facts["refined_angle_deg"][0] <= facts["refined_angle_deg"][1] < 20
    trained = load_trained(run)
    moved = (trained.cameras.camera_from_world - trained.views.cameras.camera_from_world).abs().amax(dim=(1, 2)) > 0
    held_out = torch.zeros(len(moved), dtype=torch.bool)
    held_out[trained.views.test_indices] = True
    assert torch.equal(moved, ~held_out)
    assert main(["eval", str(run), "--json"]) == 0  # the capture is still the one that it was trained on
    assert main([*command, "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "splat", "--backend", "gsplat"], "--refine-cameras: gsplat's renderer tells no gradient"),
        (["train", "nerf", "--tiny"], "--refine-cameras: this is for splats and the field hashgrid; leave it out, or"),
        (["train", "nerf", "--field", "points"], "--refine-cameras: this is for splats and the field hashgrid"),
    ],
)
def test_what_cannot_refine_them_says_so(capture: Path, tmp_path: Path, capsys, arguments, message):
    given = ["--capture", str(capture), "--output", str(tmp_path / "run"), "--refine-cameras"]
    assert main([*arguments, *given]) == 2
    assert message in capsys.readouterr().err
