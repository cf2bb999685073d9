"""Web viewers of others open our files and show what we show: Spark reads PLY, SPZ and SOG, Babylon.js glTF."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from browser.chromium import Page, opened_browser
from browser.conftest import require_browser

from neural3d.export.formats import read_splats
from neural3d.export.glb import write_glb
from neural3d.export.ply import write_ply
from neural3d.export.sog import write_sog
from neural3d.export.spz import write_spz

from . import web
from .test_splat_transform import CAPTURE_FROM_SCENE, POSITION, TARGET, ours, psnr, scene_gaussians

WRITERS = {"a.ply": write_ply, "a.spz": write_spz, "a.sog": write_sog, "a.glb": write_glb}


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    require_browser()
    with opened_browser() as page:
        yield page


def shown(tab: Page, client: str, packages: Path, path: Path) -> np.ndarray:
    """The client's picture; it must have found every splat."""
    where = json.dumps([f"/files/{path.name}", POSITION.tolist(), TARGET.tolist()])
    with web.served(client, packages, path.parent) as address:
        count, found = web.picture(tab, f"{address}#{quote(where)}")
    assert count == 240
    return found


def written(tmp_path: Path, name: str) -> Path:
    torch.manual_seed(5)
    WRITERS[name](tmp_path / name, scene_gaussians(), capture_from_scene=CAPTURE_FROM_SCENE)
    return tmp_path / name


def agreement(tab: Page, client: str, packages: Path, path: Path) -> tuple[float, float]:
    """With our picture of the file, and with that of harmonics in the wrong order, both in dB."""
    found, in_file = shown(tab, client, packages, path), read_splats(path)
    swapped = in_file.sh.clone()
    swapped[:, 4:9] = swapped[:, 4:9].flip(1)
    models = (in_file, replace(in_file, sh=swapped))
    right, wrong = (psnr(ours(model, POSITION, TARGET), found) for model in models)
    print(path.name, right, wrong)
    return right, wrong


@pytest.mark.parametrize("name", ["a.ply", "a.spz", "a.sog"])
def test_spark_shows_what_we_show(tab: Page, tmp_path: Path, name: str):
    """It packs every file's splats into 16 bytes and harmonics into few bits, so that none is better than 42 dB."""
    right, wrong = agreement(tab, web.SPARK, web.modules("@sparkjsdev/spark", "three"), written(tmp_path, name))
    assert right >= 40 and wrong < 38


def test_babylon_shows_what_we_show(tab: Page, tmp_path: Path):
    packages = web.modules("babylonjs", "babylonjs-loaders")
    right, wrong = agreement(tab, web.BABYLON, packages, written(tmp_path, "a.glb"))
    assert right >= 40 and wrong < 38
