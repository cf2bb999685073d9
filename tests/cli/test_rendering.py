"""render from end to end: layers, sequences that go on, cameras out and in again, videos."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from neural3d.cli import main

from .captures import SIZE, refused

needs_exr = pytest.mark.skipif(find_spec("OpenEXR") is None, reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")


def render(run: Path, output: Path, *options: str) -> int:
    return main(["render", str(run), "--output", str(output), *options])


@needs_exr
def test_a_sequence_goes_on_where_it_was_stopped(trained: Path, tmp_path: Path, capsys):
    pattern = tmp_path / "sh ot" / "tea.%04d.exr"
    assert render(trained, pattern, "--frames", "1001-1004", "--size", "24", "16") == 0
    files = sorted((tmp_path / "sh ot").iterdir())
    assert [file.name for file in files] == [f"tea.{n}.exr" for n in range(1001, 1005)]
    before = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:100])  # as a copy that was cut off
    capsys.readouterr()
    assert render(trained, pattern, "--frames", "1001-1004", "--size", "24", "16") == 0
    said = capsys.readouterr()
    assert "2 of 4 frames are finished already" in said.err and "num_rendered  2" in said.out
    after = [file.stat().st_mtime_ns for file in files]
    assert [b == a for b, a in zip(before, after, strict=True)] == [True, False, False, True]


@needs_exr
def test_other_settings_are_rendered_again(trained: Path, tmp_path: Path, capsys):
    options = ["--frames", "3", "--size", "12", "8", "--format", "exr"]
    assert render(trained, tmp_path / "a", *options) == 0
    capsys.readouterr()
    for more in (["--color-space", "acescg"], ["--layers", "rgba"], ["--overscan", "4"], ["--precision", "float"]):
        assert render(trained, tmp_path / "a", *options, *more) == 0
        assert "num_rendered  3" in capsys.readouterr().out, more


def test_pictures_are_known_again_too(trained: Path, tmp_path: Path, capsys):
    options = ["--frames", "2", "--size", "12", "8"]
    assert render(trained, tmp_path / "a", *options) == 0
    assert render(trained, tmp_path / "a", *options) == 0
    assert "num_rendered  0" in capsys.readouterr().out
    assert render(trained, tmp_path / "a", *options, "--alpha") == 0
    assert "num_rendered  2" in capsys.readouterr().out
    with Image.open(tmp_path / "a" / "00000.png") as image:
        assert image.mode == "RGBA" and image.size == (12, 8)


def test_every_other_frame_of_an_orbit(trained: Path, tmp_path: Path):
    assert render(trained, tmp_path / "a.##.png", "--frames", "10-14x2", "--size", "12", "8") == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.10.png", "a.12.png", "a.14.png"]


@pytest.mark.parametrize("suffix", ["usda", "usdc", "chan", "glb", "gltf", "blender.json", "json"])
def test_cameras_out_and_in_again_give_the_same_pictures(trained: Path, tmp_path: Path, suffix: str):
    if suffix.startswith("usd"):
        pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    file = tmp_path / f"move.{suffix}"
    export = ["export", str(trained), "--format", "cameras", "--cameras", "orbit", "--frames", "101-103"]
    assert main([*export, "--fps", "24", "--up", "y", "--output", str(file)]) == 0
    assert render(trained, tmp_path / "there", "--frames", "101-103") == 0
    assert render(trained, tmp_path / "again", "--cameras", str(file), "--up", "y", "--frames", "102-103") == 0
    assert sorted(p.name for p in (tmp_path / "again").iterdir()) == ["00102.png", "00103.png"]
    for name in ("00102.png", "00103.png"):
        with Image.open(tmp_path / "there" / name) as a, Image.open(tmp_path / "again" / name) as b:
            assert a.size == b.size == SIZE
            assert np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= 2


def test_photos_as_cameras(trained: Path, capture: Path, tmp_path: Path):
    """The capture's own poses come out as they went in."""
    assert main(["export", str(trained), "--format", "cameras", "--output", str(tmp_path / "p.json")]) == 0
    found = json.loads((tmp_path / "p.json").read_text())["camera_path"]
    meta = json.loads((capture / "transforms.json").read_text())["frames"]
    assert len(found) == len(meta)
    for entry, frame in zip(found, meta, strict=True):
        matrix = np.array(entry["camera_to_world"]).reshape(4, 4)
        assert np.allclose(matrix, frame["transform_matrix"], atol=1e-5)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_two_eyes_side_by_side_and_apart(trained: Path, tmp_path: Path, capsys):
    eyes = ["--frames", "2", "--stereo", "0.3", "--convergence", "4"]
    assert render(trained, tmp_path / "both", *eyes) == 0
    assert render(trained, tmp_path / "%V", *eyes) == 0
    assert render(trained, tmp_path / "one", "--frames", "2") == 0
    both, left, right, one = (picture(tmp_path / name / "00001.png") for name in ("both", "left", "right", "one"))
    assert np.array_equal(both, np.concatenate([left, right], axis=1)) and left.shape == one.shape
    assert np.abs(left - right).mean() > np.abs(left - one).mean() > 0.2
    capsys.readouterr()
    assert render(trained, tmp_path / "%V", *eyes) == 0
    assert "num_rendered  0" in capsys.readouterr().out, "each eye is known again"


@needs_exr
def test_a_deep_sequence_goes_on_too(trained: Path, tmp_path: Path, capsys):
    options = ["--frames", "1-2", "--size", "12", "8", "--deep", "4"]
    assert render(trained, tmp_path / "a.%V.%02d.exr", *options, "--stereo", "0.1") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{e}.0{n}.exr" for e in ("left", "right") for n in (1, 2)]
    capsys.readouterr()
    assert render(trained, tmp_path / "a.%V.%02d.exr", *options, "--stereo", "0.1") == 0
    assert "num_rendered  0" in capsys.readouterr().out
    assert render(trained, tmp_path / "a.left.%02d.exr", *options[:-2]) == 0
    assert "num_rendered  2" in capsys.readouterr().out, "flat is something else"


@pytest.mark.parametrize("codec", ["h264", "prores422hq"])
def test_video_by_suffix_and_codec(trained: Path, tmp_path: Path, codec: str):
    output = tmp_path / "turn.mov"
    assert render(trained, output, "--frames", "2", "--codec", codec, "--fps", "25") == 0
    probe = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(output)]
    said = subprocess.run(probe, capture_output=True, text=True).stderr
    assert f"Video: {codec.removesuffix('422hq')} " in said and f"{SIZE[0]}x{SIZE[1]}" in said and "25 fps" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{tmp}/a.exr"], "expected a folder for the pictures, a pattern"),
        (["--output", "{tmp}/a.%04d.%d.png"], "two places"),
        (["--output", "{tmp}/a.%04d.exr", "--format", "png"], "a pattern that ends in .png"),
        (["--output", "{tmp}/d", "--frames", "5-1"], "--frames 5-1"),
        (["--output", "{tmp}/d", "--cameras", "test", "--frames", "5-9"], "photos are no frames"),
        (["--output", "{tmp}/d", "--cameras", "{capture}/transforms.json", "--frames", "5-99"], "but no 10"),
        (["--output", "{tmp}/d", "--size", "0", "5"], "--size 0 5"),
        (["--output", "{tmp}/d", "--layers", "depth"], "--layers: this is for EXR"),
        (["--output", "{tmp}/d", "--format", "exr", "--layers"], "--layers: expected at least one of rgba, depth"),
        (["--output", "{tmp}/d", "--overscan", "-1"], "--overscan -1"),
        (["--output", "{tmp}/d", "--panorama", "--size", "8", "8"], "twice as wide as high"),
        (["--output", "{tmp}/d", "--panorama", "--format", "exr", "--overscan", "4"], "--panorama: it has no border"),
        (["--output", "{tmp}/d", "--codec", "hevc"], "--codec hevc: this is for videos"),
        (["--output", "{tmp}/d.mp4", "--codec", "prores4444"], "ends in .mov"),
        (["--output", "{tmp}/d.mp4", "--alpha"], "h264 has none"),
        (["--output", "{tmp}/d", "--format", "exr", "--alpha"], "EXR files have alpha always"),
        (["--output", "{tmp}/d", "--format", "tiff", "--bits", "16"], "TIFF has 16"),
        (["--output", "{tmp}/d.mov", "--bits", "16"], "--bits 16: this is for PNG"),
        (["--output", "{tmp}/d", "--cameras", "{tmp}/no.chan"], "no such file"),
        (["--output", "{tmp}/d", "--deep", "16"], "--deep: this is for EXR"),
        (["--output", "{tmp}/a.%04d.exr", "--deep", "0"], "--deep 0: expected 1 to 256"),
        (["--output", "{tmp}/a.%04d.exr", "--deep", "8", "--layers", "rgba"], "--layers: deep pictures hold"),
        (["--output", "{tmp}/a.%04d.exr", "--stereo", "0.1"], "put %V into --output"),
        (["--output", "{tmp}/d", "--stereo", "-1"], "--stereo -1: expected a length"),
        (["--output", "{tmp}/d", "--stereo", "0.1", "--convergence", "0"], "--convergence 0: expected a length"),
        (["--output", "{tmp}/d", "--convergence", "3"], "--convergence: this is for two eyes"),
        (["--output", "{tmp}/d", "--stereo", "0.1", "--panorama"], "leave --panorama"),
    ],
)
def test_what_cannot_be_rendered_is_one_line(trained: Path, capture: Path, tmp_path: Path, capsys, arguments, message):
    filled = [part.format(tmp=tmp_path, capture=capture) for part in arguments]
    assert message in refused(capsys, "render", str(trained), *filled)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{tmp}/a.ply"], "expected a file that ends in .usd"),
        (["--output", "{tmp}/a.chan", "--min-opacity", "0.5"], "--min-opacity: this is for splats"),
        (["--output", "{tmp}/a.chan", "--fps", "0"], "--fps 0"),
        (["--output", "{tmp}/a.chan", "--cameras", "{tmp}/no.json"], "no.json"),
    ],
)
def test_cameras_that_cannot_be_exported_are_one_line(trained: Path, tmp_path: Path, capsys, arguments, message):
    filled = [part.format(tmp=tmp_path) for part in arguments]
    assert message in refused(capsys, "export", str(trained), "--format", "cameras", *filled)
    assert list(tmp_path.iterdir()) == []


def test_camera_options_are_refused_for_splats(trained: Path, tmp_path: Path, capsys):
    line = refused(capsys, "export", str(trained), "--output", str(tmp_path / "a.ply"), "--frames", "5")
    assert "--frames: this is for --format cameras" in line


@needs_exr
def test_maps_and_plates_of_photos_without_distortion(trained: Path, tmp_path: Path, capsys):
    """Their maps change nothing, and so does --distort."""
    assert main(["export", str(trained), "--format", "st-maps", "--output", str(tmp_path / "maps")]) == 0
    listing = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert len(listing) == 10 and all(entry["overscan_px"] == 0 for entry in listing.values())
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == ["maps.json", "redistort.exr", "undistort.exr"]
    common = ["--format", "exr", "--cameras", "test", "--precision", "float", "--layers", "rgba"]
    assert render(trained, tmp_path / "straight", *common) == 0
    assert render(trained, tmp_path / "plate", *common, "--distort") == 0
    import OpenEXR

    for path in (tmp_path / "straight").iterdir():
        with OpenEXR.File(str(path)) as a, OpenEXR.File(str(tmp_path / "plate" / path.name)) as b:
            straight, plate = (file.channels()["RGBA"].pixels for file in (a, b))
        assert np.abs(straight - plate).max() < 1e-5
    maps = ["export", str(trained), "--format", "st-maps", "--output", str(tmp_path / "m"), "--max-splats", "5"]
    assert "--max-splats: maps have no such option" in refused(capsys, *maps)
    assert "no motion part" in refused(capsys, "render", str(trained), "--output", str(tmp_path / "x"), *common[:2],
                                       "--distort", "--overscan", "3")  # fmt: skip
