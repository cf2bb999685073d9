"""Photos of linear light: EXR files are the photos, or lie beside them; their light comes through whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.capture import load_capture
from neural3d.capture.ingest.prepare import prepare_photos
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import find_source
from neural3d.capture.ingest.state import State
from neural3d.capture.light_files import read_light
from neural3d.errors import InputError
from neural3d.render.exr_files import write_parts
from neural3d.render.images import write_png
from neural3d.srgb import encode_srgb

from .test_photo_files import write_dng

pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
WIDTH, HEIGHT = 24, 16


def light_of(index: int, *, channels: int = 3) -> np.ndarray:
    """Up to 12 times a display's white, premultiplied where there is alpha."""
    random = np.random.default_rng(index)
    light = random.random((HEIGHT, WIDTH, channels)).astype(np.float32) ** 3
    light[..., :3] *= 12
    if channels == 4:
        light[..., :3] *= light[..., 3:]
    return light


def write_light(path: Path, light: np.ndarray, *, kind: type = np.float32, **header: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parts(
        path, {"rgba": {name: light[..., i].astype(kind) for i, name in enumerate("RGBA"[: light.shape[2]])}}, header
    )


def write_capture(folder: Path, names: list[str], **lens: float) -> Path:
    """Three cameras that look at the origin's neighbourhood."""
    frames = []
    for index, name in enumerate(names):
        pose = np.eye(4)
        pose[:3, 3] = [0.3 * index, 0.1 * index, 4]
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    common = {"w": WIDTH, "h": HEIGHT, "fl_x": 30.0, "fl_y": 30.0, "cx": WIDTH / 2, "cy": HEIGHT / 2, **lens}
    (folder / "transforms.json").write_text(json.dumps({**common, "frames": frames}))
    return folder


def exr_capture(folder: Path, *, channels: int = 3, **how: object) -> Path:
    names = [f"images/{index}.exr" for index in range(3)]
    for index, name in enumerate(names):
        write_light(folder / name, light_of(index, channels=channels), **how)
    return write_capture(folder, names)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_light_comes_through_and_displays_show_it(tmp_path: Path, kind: type):
    scene = load_capture(exr_capture(tmp_path, kind=kind), downscale=1)
    assert scene.is_linear and not scene.has_alpha
    for index, photo in enumerate(scene.photos):
        expected = light_of(index)
        assert np.allclose(photo.light.float(), expected, rtol=1e-3, atol=1e-6) and expected.max() > 8
        shown = encode_srgb(torch.from_numpy(expected)).clamp(0, 1) * 255
        assert (photo.pixels.float() - shown).abs().max() < 0.6


def test_light_is_averaged_as_light(tmp_path: Path):
    scene = load_capture(exr_capture(tmp_path), downscale=2)
    expected = light_of(0).reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    assert np.allclose(scene.photos[0].light.float(), expected, rtol=2e-3, atol=1e-6)
    shown = encode_srgb(torch.from_numpy(expected)).clamp(0, 1) * 255
    assert (scene.photos[0].pixels.float() - shown).abs().max() < 1


def test_premultiplied_light_becomes_straight(tmp_path: Path):
    scene = load_capture(exr_capture(tmp_path, channels=4), downscale=1)
    assert scene.has_alpha and scene.is_linear
    light, alpha = light_of(1, channels=4)[..., :3], light_of(1, channels=4)[..., 3:]
    there = alpha[..., 0] > 0.05
    straight = (light / np.maximum(alpha, 1e-9))[there]
    assert np.allclose(scene.photos[1].light.float().numpy()[there], straight, rtol=3e-3, atol=1e-4)
    assert np.abs(scene.photos[1].alpha.numpy() - 255 * alpha[..., 0]).max() < 1


def test_light_goes_through_the_lens(tmp_path: Path):
    """One colour everywhere stays that colour, with a border that the lens does not see."""
    names = [f"{index}.exr" for index in range(3)]
    for name in names:
        write_light(tmp_path / name, np.full((HEIGHT, WIDTH, 3), 5.0, np.float32))
    photo = load_capture(write_capture(tmp_path, names, k1=0.5), downscale=1).photos[0]
    assert photo.valid is not None and not photo.valid.all()
    assert torch.allclose(photo.light[photo.valid].float(), torch.tensor(5.0), rtol=1e-3)


def test_a_folder_beside_the_photos_holds_their_light(tmp_path: Path):
    """As where poses were found on what a display shows of RAW photos."""
    names = [f"images/{index}.png" for index in range(3)]
    for index, name in enumerate(names):
        write_png(tmp_path / name, torch.full((HEIGHT, WIDTH, 3), 0.5))
        write_light(tmp_path / "linear" / f"{index}.exr", light_of(index))
    capture = write_capture(tmp_path, names)
    assert np.allclose(load_capture(capture, downscale=1).photos[2].light.float(), light_of(2), rtol=1e-3, atol=1e-6)
    (tmp_path / "linear" / "1.exr").unlink()
    scene = load_capture(capture, downscale=1)
    assert not scene.is_linear and (scene.photos[0].pixels == 128).all()
    assert any("as a display shows them, cut off at white: 1 photos have none" in line for line in scene.warnings)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            {"chromaticities": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)},
            "primaries are not those of",
        ),
        ({"colorInteropID": "srgb_rec709_scene"}, "says that it is srgb_rec709_scene; convert it to linear Rec.709"),
        (
            {"displayWindow": (np.array([0, 0], np.int32), np.array([99, 99], np.int32))},
            "its data window is not its display window",
        ),
    ],
)
def test_other_colours_are_refused(tmp_path: Path, header: dict, expected: str):
    with pytest.raises(InputError, match=expected):
        load_capture(exr_capture(tmp_path, **header))


def test_broken_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nothing = light_of(0)
    nothing[3, 4, 1] = np.nan
    names = [f"{index}.exr" for index in range(5)]
    write_light(tmp_path / names[0], nothing)
    write_light(tmp_path / names[1], light_of(1)[..., :2])
    write_light(tmp_path / names[2], light_of(2))
    (tmp_path / names[2]).write_bytes((tmp_path / names[2]).read_bytes()[:600])
    (tmp_path / names[3]).write_bytes(b"no picture")
    with pytest.raises(InputError) as refused:
        load_capture(write_capture(tmp_path, names))
    for words in ("no flat part with channels R, G and B", "3.exr cannot be decoded", "4.exr"):
        assert words in str(refused.value), refused.value
    write_light(tmp_path / names[4], light_of(4))
    scene = load_capture(write_capture(tmp_path, names))
    assert [photo.name for photo in scene.photos] == [names[4]]
    assert any("0.exr holds values that are no numbers" in line for line in scene.warnings)
    assert any("2.exr cannot be decoded" in line for line in scene.warnings)
    assert not capsys.readouterr().out, "what the library says belongs to nobody's standard output"


def test_sizes_are_believed_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("neural3d.capture.images.MAX_PIXELS", 100)
    with pytest.raises(InputError, match="0.exr claims 24 x 16 pixels, at most 100 are read"):
        load_capture(exr_capture(tmp_path))


def prepared(folder: Path, capture: Path, *, linear: bool) -> State:
    state = State(Settings(linear=linear), False)
    for state in prepare_photos(capture, find_source(folder), state, lambda *_: None):
        pass
    assert all(photo.fault is None for photo in state.photos)
    return state


@pytest.mark.parametrize("orientation", [1, 6])
def test_ingest_keeps_the_light_of_raw_photos(tmp_path: Path, orientation: int):
    """Of 0.4, in the left quarter 0.1: the photo that poses are found on, and beside it the light that it shows."""
    pytest.importorskip("rawpy", reason="rawpy is not installed")
    (tmp_path / "photos").mkdir()
    mosaic = np.full((128, 192), 0.4)
    mosaic[:, :48] = 0.1
    write_dng(tmp_path / "photos" / "a.dng", np.round(mosaic * 65535), orientation)
    (photo,) = prepared(tmp_path / "photos", tmp_path / "capture", linear=True).photos
    light = read_light(tmp_path / "capture" / "linear" / "a.exr", 10**6)
    assert light.shape == (photo.height, photo.width, 3)
    upright = np.rot90(light, 1) if orientation == 6 else light
    height, width = upright.shape[:2]
    found = [upright[height // 2, width // 8].mean(), upright[height // 2, width // 2].mean()]
    np.testing.assert_allclose(found, [0.1, 0.4], rtol=0.02)
    prepared(tmp_path / "photos", tmp_path / "other", linear=False)
    assert not (tmp_path / "other" / "linear").exists()


@pytest.mark.parametrize("channels", [3, 4])
def test_a_capture_of_ingested_light_is_trained_in_light(tmp_path: Path, channels: int):
    lights = [np.tile(light_of(index, channels=channels), (6, 6, 1)) for index in range(3)]
    for index, light in enumerate(lights):
        write_light(tmp_path / "photos" / f"{index}.exr", light)
    state = prepared(tmp_path / "photos", tmp_path / "capture", linear=True)
    lens = {"w": 6 * WIDTH, "h": 6 * HEIGHT, "cx": 3 * WIDTH, "cy": 3 * HEIGHT}
    write_capture(tmp_path / "capture", [f"images/{photo.name}" for photo in state.photos], **lens)
    scene = load_capture(tmp_path / "capture", downscale=1)
    assert scene.is_linear and len(scene.photos) == 3
    for photo, light in zip(scene.photos, lights, strict=True):
        alpha = light[..., 3] if channels == 4 else np.ones(light.shape[:2])
        seen = alpha > 0.01  # what is clearer is no colour in eight bits of alpha
        colors = light[seen, :3] / alpha[seen, None]
        np.testing.assert_allclose(photo.light.float().numpy()[seen], colors, rtol=0.01, atol=0.01)
