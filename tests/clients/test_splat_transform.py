"""Our PLY means to another program what it means to us: its own renderer shows what ours shows.

The two cannot agree to the last code: the client subtracts exp(-4.5) from each Gaussian, so that its cut at three sigma
is no step, which takes 1 % of the opacity wherever a Gaussian is.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.capture import load_capture
from neural3d.export.ply import read_ply, write_ply
from neural3d.render.splats import render_splats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.train.splats import SplatConfig, train_splats

from . import splat_transform

POSITION, TARGET = torch.tensor([0.6, 0.4, 4.0]), torch.tensor([0.6, 0.2, 0.0])
CAPTURE_FROM_SCENE = Similarity(0.5, torch.eye(3, dtype=torch.float64), torch.tensor([0.1, 0.2, -0.3]).double())


def scene_gaussians() -> Gaussians:
    """240 splats of degree 3, in a scene frame twice as large as the capture's."""
    return Gaussians(
        means_world=2 * torch.randn(240, 3) * torch.tensor([1.0, 0.7, 1.0]),
        log_scales=torch.randn(240, 3) * 0.4 - 2.4,
        quats_wxyz=torch.randn(240, 4),
        logit_opacities=torch.randn(240) + 0.5,
        sh=torch.cat([torch.randn(240, 1, 3) * 0.8, torch.randn(240, 15, 3) * 0.2], dim=1),
    )


def ours(gaussians: Gaussians, position: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return render_splats(gaussians, splat_transform.camera(position, target)).colors[0].clamp(0, 1).double().numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_it_shows_what_we_show(tmp_path: Path):
    path = tmp_path / "splats.ply"
    write_ply(path, scene_gaussians(), capture_from_scene=CAPTURE_FROM_SCENE)
    theirs = splat_transform.render(path, POSITION, TARGET)
    in_file = read_ply(path)
    assert psnr(ours(in_file, POSITION, TARGET), theirs) >= 44
    swapped = in_file.sh.clone()
    swapped[:, 4:9] = swapped[:, 4:9].flip(1)
    wrong = Gaussians(**{**in_file.tensors(), "sh": swapped})
    assert psnr(ours(wrong, POSITION, TARGET), theirs) < 38, "the bound would not see harmonics in the wrong order"


@pytest.mark.parametrize("antialiased", [False, True])
def test_it_finds_what_we_say_is_in_the_file(tmp_path: Path, antialiased: bool):
    gaussians = dataclasses.replace(scene_gaussians(), antialiased=antialiased)
    write_ply(tmp_path / "a.ply", gaussians, capture_from_scene=CAPTURE_FROM_SCENE)
    found = splat_transform.info(tmp_path / "a.ply")
    expected = {"numGaussians": 240, "shBands": 3, "model": "antialiased" if antialiased else "default"}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.long
def test_it_shows_a_trained_scene_as_we_show_it(tmp_path: Path, data_dir: Path):
    splat_transform.command()
    splat_transform.require_renderer()
    scene = load_capture(data_dir / "nerf_synthetic_mic", downscale=4.0)
    config = SplatConfig(steps=1500, max_seconds=None, max_gaussians=20_000)
    trained = train_splats(scene, config).gaussians
    path = tmp_path / "mic.ply"
    write_ply(path, trained, capture_from_scene=scene.capture_from_scene)
    position, target = torch.tensor([0.5, -1.5, 3.5]), torch.zeros(3)
    assert psnr(ours(read_ply(path), position, target), splat_transform.render(path, position, target)) >= 40
