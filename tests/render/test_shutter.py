"""Between two frames: an even turn on a straight way; light that is averaged while the shutter is open."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.render.color_spaces import straight_alpha
from neural3d.render.exr import ExrFrame, ExrSettings, write_exr
from neural3d.render.layers import layer_tiles
from neural3d.render.shutter import between, shutter_cameras
from neural3d.scene import Similarity
from neural3d.srgb import encode_srgb

from .scenes import disk, some_gaussians, straight_camera
from .test_exr import parts_of


def turned(degrees: float, x: float = 0.0):
    camera = straight_camera(back=0.0)
    a = math.radians(degrees)
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([x, 0, 0])
    return replace(camera, camera_from_world=pose[None], focal_px=camera.focal_px * (1 + x))


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("degrees", [0.001, 40.0, 150.0])
def test_it_turns_and_moves_evenly(share: float, degrees: float):
    found = between(turned(10.0), turned(10 + degrees, 0.4), share)
    expected = turned(10 + share * degrees, 0.4 * share)
    assert torch.allclose(found.camera_from_world, expected.camera_from_world, atol=1e-5)
    assert torch.allclose(found.focal_px, expected.focal_px)


def test_the_shutter_is_open_around_the_frame():
    before, now, after = turned(0.0), turned(10.0), turned(30.0)

    def angles(*around) -> list[float]:
        views = shutter_cameras(now, *around, shutter=0.5, count=4)
        return [math.degrees(math.atan2(v.camera_from_world[0, 2, 0], v.camera_from_world[0, 0, 0])) for v in views]

    assert angles(before, after) == pytest.approx([8.125, 9.375, 11.25, 13.75], abs=1e-3)
    assert angles(None, after) == pytest.approx([6.25, 8.75, 11.25, 13.75], abs=1e-3)
    assert angles(before, None) == pytest.approx([8.125, 9.375, 10.625, 11.875], abs=1e-3)
    assert angles(None, None) == pytest.approx([10] * 4, abs=1e-3)


def test_colours_are_blurred_and_depth_is_not(tmp_path: Path):
    """A disk, and a camera that goes sideways by 30 pixels a frame: with half a frame it is seen 15 pixels wider."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    now = straight_camera()
    poses = [now.camera_from_world.clone() for _ in range(2)]
    poses[0][0, 0, 3], poses[1][0, 0, 3] = -2.0, 2.0
    before, after = (replace(now, camera_from_world=pose) for pose in poses)
    frame, found = ExrFrame(now, after, previous_camera=before), {}
    for shutter in (0.0, 0.5):
        settings = ExrSettings(("rgba", "depth"), precision="float", shutter=shutter, shutter_samples=15)
        where = {"capture_from_scene": Similarity.identity(), "settings": settings}
        write_exr(tmp_path / "a.exr", disk(radius=0.05), frame, **where)
        found[shutter] = {name: pixels for name, (_, pixels) in parts_of(tmp_path / "a.exr").items()}
    sharp, blurred = (found[s]["rgba"] for s in (0.0, 0.5))
    assert blurred.sum() == pytest.approx(sharp.sum(), rel=0.02), "no light is lost"
    assert np.ptp(np.nonzero(blurred[25, :, 3])[0]) == pytest.approx(np.ptp(np.nonzero(sharp[25, :, 3])[0]) + 14, abs=2)
    assert np.array_equal(found[0.0]["depth"], found[0.5]["depth"])


def test_what_is_averaged_is_light_in_every_color_space(tmp_path: Path):
    """The mean of light and its code for a display, and no mean of codes."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    frame, found = _passing(), {}
    for space in ("linear", "srgb"):
        settings = ExrSettings(("rgba",), space, "float", shutter=0.5, shutter_samples=8)
        how = {"capture_from_scene": Similarity.identity(), "settings": settings}
        write_exr(tmp_path / "a.exr", some_gaussians(), frame, **how)
        found[space] = torch.from_numpy(parts_of(tmp_path / "a.exr")["rgba"][1])
    light, alphas = found["linear"][..., :3], found["linear"][..., 3:]
    expected = encode_srgb(straight_alpha(light, alphas)) * alphas
    assert alphas.max() > 0.5 and torch.allclose(found["srgb"][..., :3], expected, atol=1e-5)
    assert torch.equal(found["srgb"][..., 3:], alphas)


def test_blurred_views_are_not_all_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One is rendered after the other, whatever their number: each holds a projected model while it is."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    in_work, most = 0, 0

    def counted(*args, **kwargs):
        nonlocal in_work, most
        in_work += 1
        most = max(most, in_work)
        yield from layer_tiles(*args, tile_px=32, **kwargs)
        in_work -= 1

    monkeypatch.setattr("neural3d.render.exr.layer_tiles", counted)
    settings = ExrSettings(("rgba", "depth"), shutter=0.5, shutter_samples=5)
    how = {"capture_from_scene": Similarity.identity(), "settings": settings}
    write_exr(tmp_path / "a.exr", some_gaussians(), _passing(), **how)
    assert most == 1 and in_work == 0


def _passing() -> ExrFrame:
    now = straight_camera()
    pose = now.camera_from_world.clone()
    pose[0, 0, 3] = 2.0
    return ExrFrame(now, replace(now, camera_from_world=pose))
