"""From EXR photos to EXR renders: light in, light out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cli import main, results
from neural3d.cli.runs import load_trained
from neural3d.cli.surfaces import color_maps
from neural3d.render.exr_files import write_parts
from neural3d.render.layers import layer_tiles
from neural3d.srgb import decode_srgb

from .captures import SMALL, refused, write_capture

OpenEXR = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")


@pytest.fixture(scope="module")
def light_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual capture with twice the light of its photos beside them."""
    folder = write_capture(tmp_path_factory.mktemp("light") / "capture")
    for photo in sorted((folder / "images").iterdir()):
        with Image.open(photo) as image:
            light = 2 * decode_srgb(torch.from_numpy(np.asarray(image).astype(np.float32) / 255)).numpy()
        target = folder / "linear" / f"{photo.stem}.exr"
        target.parent.mkdir(exist_ok=True)
        write_parts(target, {"rgba": {name: light[..., i].copy() for i, name in enumerate("RGB")}}, {})
    return folder


@pytest.fixture(scope="module")
def light_run(light_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "light"
    assert main(["train", "splat", "--capture", str(light_capture), "--output", str(path), *SMALL]) == 0
    return path


def test_an_exr_holds_the_light_that_the_model_sends(light_run: Path, tmp_path: Path):
    trained = load_trained(light_run)
    assert trained.gaussians.linear
    assert main(["render", str(light_run), "--cameras", "photos", "--output", str(tmp_path / "a.%04d.exr")]) == 0
    (tile,) = layer_tiles(trained.gaussians, trained.cameras[0])
    first = sorted(tmp_path.iterdir())[0]
    with OpenEXR.File(str(first), separate_channels=True) as file:
        channels = next(part.channels for part in file.parts if "R" in part.channels)
        found = np.stack([channels[name].pixels for name in "RGB"], axis=-1).astype(np.float32)
    assert tile.is_light and np.allclose(found, tile.colors.numpy(), rtol=2e-3, atol=1e-4)


def test_display_pictures_and_judgements_are_of_display_colours(light_run: Path, tmp_path: Path, capsys):
    assert main(["eval", str(light_run), "--json"]) == 0
    assert 5 < json.loads(capsys.readouterr().out)["psnr"] < 60
    options = ["--frames", "1", "--size", "24", "16", "--alpha", "--output", str(tmp_path / "p")]
    assert main(["render", str(light_run), *options]) == 0
    assert main(["export", str(light_run), "--output", str(tmp_path / "a.ply")]) == 0
    assert "trained on linear light: the file holds display colours" in capsys.readouterr().err


def test_what_knows_no_light_says_so(light_capture: Path, tmp_path: Path, capsys, monkeypatch):
    field = [
        "train",
        "nerf",
        "--capture",
        str(light_capture),
        "--output",
        str(tmp_path / "f"),
        "--field",
        "mlp",
        "--tiny",
    ]
    assert main([*field, "--output", str(tmp_path / "f"), "--steps", "2"]) == 0
    assert "a field learns what a display shows, cut off at white" in capsys.readouterr().err
    from neural3d.cli import training
    from neural3d.cli.engines import Engine

    monkeypatch.setattr(training, "engine_of", lambda backend: Engine())
    monkeypatch.setattr(training, "asked_device", lambda backend, asked: "cpu")
    splats = ["train", "splat", "--capture", str(light_capture), "--output", str(tmp_path / "s"), "--backend", "gsplat"]
    assert "--backend gsplat: it knows no linear light" in refused(capsys, *splats)


def test_textures_take_exposures_out_as_light(light_run: Path):
    trained = load_trained(light_run)
    matrices = 2 * torch.eye(3, 4).flatten().repeat(len(trained.checkpoint.tensors["exposure.matrices"]), 1)
    tensors = {**trained.checkpoint.tensors, "exposure.matrices": matrices}
    trained = replace(trained, checkpoint=replace(trained.checkpoint, tensors=tensors))
    photo = torch.full((3, 2, 2), 0.8)
    found = color_maps(trained)(0)(photo, photo)
    assert torch.allclose(decode_srgb(found), decode_srgb(photo) / 2, atol=1e-5)


def test_splats_of_light_are_judged_by_photos_mixed_as_light(light_run: Path, monkeypatch):
    asked = []
    evaluate = results.evaluate
    monkeypatch.setattr(results, "evaluate", lambda *a, **b: asked.append(b.get("linear")) or evaluate(*a, **b))
    assert main(["eval", str(light_run)]) == 0
    assert asked == [True]
