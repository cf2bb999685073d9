"""ingest --cameras: the cameras of a matchmove and its plates come in as a capture, exactly."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.light_files import write_light
from neural3d.cli import main
from neural3d.export.camera_formats import write_cameras
from neural3d.render.camera_files import CameraPath
from neural3d.scene import Similarity
from neural3d.srgb import decode_srgb

from .captures import NUM_VIEWS, SIZE, refused, ring_cameras

FIRST = 1001


def track(path: Path, cameras: Cameras | None = None) -> Path:
    """A camera file in the plates' own frame."""
    frames = tuple(range(FIRST, FIRST + NUM_VIEWS))
    write_cameras(path, CameraPath(cameras or ring_cameras(), 24.0, frames), capture_from_scene=Similarity.identity())
    return path


@pytest.fixture
def plates(capture: Path, tmp_path: Path) -> Path:
    """The capture's photos, numbered as a shot."""
    folder = tmp_path / "plates"
    folder.mkdir()
    for i in range(NUM_VIEWS):
        shutil.copy(capture / "images" / f"{i:03d}.png", folder / f"sh010_v2.{FIRST + i}.png")
    return folder


def ingest(plates: Path, file: Path, output: Path, *more: str) -> int:
    return main(["ingest", str(plates), "--cameras", str(file), "--output", str(output), *more])


@pytest.mark.parametrize("suffix", ["usda", "usdc", "chan", "glb", "blender.json", "json"])
def test_poses_and_lenses_are_the_matchmoves(capture: Path, plates: Path, tmp_path: Path, capsys, suffix: str):
    if suffix.startswith("usd"):
        pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    assert ingest(plates, track(tmp_path / f"track.{suffix}"), tmp_path / "shot") == 0
    assert f"{NUM_VIEWS} of {NUM_VIEWS} plates have a camera" in capsys.readouterr().out
    ours, theirs = load_capture(tmp_path / "shot"), load_capture(capture)
    assert [photo.name for photo in ours.photos] == [f"images/sh010_v2.{FIRST + i}.png" for i in range(NUM_VIEWS)]
    centers = [scene.capture_from_scene.apply(scene.cameras.centers_world.double()) for scene in (ours, theirs)]
    assert torch.allclose(*centers, atol=1e-5)
    for name in ("focal_px", "principal_px", "size_px"):
        assert torch.allclose(*(getattr(scene.cameras, name).double() for scene in (ours, theirs)), atol=1e-3), name
    turns = [scene.cameras.camera_from_world[:, :3, :3] for scene in (ours, theirs)]
    assert torch.allclose(*turns, atol=1e-5)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(ours.photos, theirs.photos, strict=True))


def test_it_trains_and_renders_at_the_track(plates: Path, tmp_path: Path):
    """In, trained, and out at the same cameras: the frame and the units are the matchmove's throughout."""
    file, run = track(tmp_path / "track.chan"), tmp_path / "run"
    assert ingest(plates, file, tmp_path / "shot") == 0
    small = ["--steps", "400", "--max-gaussians", "400"]
    assert main(["train", "splat", "--capture", str(tmp_path / "shot"), "--output", str(run), *small]) == 0
    where = ["--cameras", str(file), "--frames", "1002-1003", "--output", str(tmp_path / "r.%04d.png")]
    assert main(["render", str(run), *where]) == 0
    for number in (1002, 1003):
        files = (tmp_path / f"r.{number}.png", plates / f"sh010_v2.{number}.png")
        render, plate = (np.asarray(Image.open(path).convert("RGB")).astype(float) for path in files)
        assert np.corrcoef(render.ravel(), plate.ravel())[0, 1] > 0.7


def test_frames_without_a_partner_are_named(plates: Path, tmp_path: Path, capsys):
    (plates / f"sh010_v2.{FIRST}.png").unlink()
    Image.open(plates / f"sh010_v2.{FIRST + 1}.png").save(plates / "sh010_v2.0990.png")
    Image.new("RGB", (70, 70)).save(plates / f"sh010_v2.{FIRST + 2}.png")
    assert ingest(plates, track(tmp_path / "t.json"), tmp_path / "shot", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_registered"] == NUM_VIEWS - 2 and told["num_photos"] == NUM_VIEWS
    assert told["failed"]["sh010_v2.0990.png"] == "there is no camera of frame 990"
    assert "another shape" in told["failed"][f"sh010_v2.{FIRST + 2}.png"]


def test_a_proxy_is_the_same_picture_smaller(plates: Path, tmp_path: Path):
    for file in plates.iterdir():
        Image.open(file).resize((2 * SIZE[0], 2 * SIZE[1])).save(file)
    assert ingest(plates, track(tmp_path / "t.json"), tmp_path / "shot") == 0
    cameras = load_capture(tmp_path / "shot").cameras
    assert cameras.size_px[0].tolist() == [96, 64] and cameras.focal_px[0].tolist() == pytest.approx([100, 100])


def test_plates_of_light_come_in_as_pictures_and_with_linear_as_light(plates: Path, tmp_path: Path):
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR")
    for file in sorted(plates.iterdir()):
        display = torch.from_numpy(np.asarray(Image.open(file).convert("RGB")).copy()).float() / 255
        write_light(file.with_suffix(".exr"), 2 * decode_srgb(display).numpy())
        file.unlink()
    file = track(tmp_path / "track.chan")
    assert ingest(plates, file, tmp_path / "shot") == 0 and ingest(plates, file, tmp_path / "lit", "--linear") == 0
    pictures, light = load_capture(tmp_path / "shot"), load_capture(tmp_path / "lit")
    assert [photo.name for photo in pictures.photos][0] == f"images/sh010_v2.{FIRST}.png"
    assert (light.is_linear, pictures.is_linear) == (True, False)


def test_masks_come_along(plates: Path, tmp_path: Path):
    (plates / "masks").mkdir()
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[:, : SIZE[0] // 2] = 255
    Image.fromarray(mask).save(plates / "masks" / f"sh010_v2.{FIRST}.png")
    assert ingest(plates, track(tmp_path / "t.json"), tmp_path / "shot") == 0
    frames = json.loads((tmp_path / "shot" / "transforms.json").read_text())["frames"]
    assert [("mask_path" in frame) for frame in frames] == [True] + [False] * (NUM_VIEWS - 1)
    assert (np.asarray(Image.open(tmp_path / "shot" / frames[0]["mask_path"])) == mask).all()


def test_what_does_not_fit_is_one_line(plates: Path, tmp_path: Path, capsys):
    file, out = track(tmp_path / "t.json"), tmp_path / "shot"

    def said(*arguments: str) -> str:
        return refused(capsys, "ingest", str(plates), "--cameras", str(file), "--output", *arguments)

    assert "--focal: poses are not looked for" in said(str(out), "--focal", "50")
    assert "lies in the folder of the plates" in said(str(plates / "capture"))
    Image.new("RGB", SIZE).save(plates / f"other.{FIRST}.png")
    assert f"are both frame {FIRST}" in said(str(out))
    (plates / f"other.{FIRST}.png").rename(plates / "notes.png")
    assert "notes.png: its name has no frame number" in said(str(out))
    (plates / "notes.png").unlink()
    for i, path in enumerate(sorted(plates.iterdir())):
        path.rename(plates / f"a.{i}.png")
    assert "plates are 0 to 9, cameras 1001 to 1010" in said(str(out))
    assert not out.exists()


def test_a_capture_is_replaced_only_on_request(plates: Path, tmp_path: Path, capsys):
    file, out = track(tmp_path / "t.json"), tmp_path / "shot"
    assert ingest(plates, file, out) == 0
    again = ("ingest", str(plates), "--cameras", str(file), "--output", str(out))
    assert "replace it with --overwrite" in refused(capsys, *again)
    assert main([*again, "--overwrite"]) == 0
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("kept")
    assert "choose an empty folder" in refused(capsys, *again[:-1], str(other), "--overwrite")
    assert (other / "letter.txt").read_text() == "kept"
