"""ingest on the command line, and make on photos without poses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural3d.bench.poses import compare_captures
from neural3d.capture.ingest.pipeline import Progress
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.state import State, save_state
from neural3d.cli import main
from neural3d.cli.ingesting import describe, posed_capture
from neural3d.cli.options import Make
from neural3d.errors import InputError

TEATIME = Path(__file__).parents[2] / "scenes" / "teatime"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Eight overlapping views of the synthetic scene."""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in (11, 12, 22, 23, 32, 33, 34, 44):
        Image.open(TEATIME / f"images/{index:03d}.webp").convert("RGB").save(folder / f"{index:03d}.png")
    return folder


def test_ingest_prints_one_json_object_and_progress_apart(photos, tmp_path, capsys):
    capture = tmp_path / "capture"
    assert main(["ingest", str(photos), "--output", str(capture), "--threads", "1", "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["num_registered"] == report["num_photos"] == 8 and report["failed"] == {}
    for stage in ("1/4 photos", "2/4 features", "3/4 matches", "4/4 poses"):
        assert stage in said.err
    assert main(["inspect", str(capture)]) == 0
    assert "8 usable of 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "/nowhere: does not exist; give a folder of photos or a video"),
        ([str(TEATIME / "points.ply")], "points.ply: is no video"),
        ([str(TEATIME), "--focal", "-3"], "--focal -3: expected pixels, more than 0"),
        ([str(TEATIME), "--camera", "FOV9"], "--camera FOV9: expected one of"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, arguments, message):
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    assert main(["ingest", *arguments, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_colmap_the_remedy_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["ingest", str(TEATIME), "--output", str(tmp_path / "out")]) == 2
    assert "pip install pycolmap" in capsys.readouterr().err


def test_progress_says_how_long_it_will_take():
    assert describe(Progress("features", 20, 80, "", 10.0)) == "2/4 features  20 of 80  0:30 left"
    assert describe(Progress("poses", 3, 0, "global", 1.0)) == "4/4 poses  3  global"
    assert describe(Progress("poses", 0, 0, "adjusting", 1.0)) == "4/4 poses  adjusting"


def test_make_takes_poses_where_there_are_some(tmp_path):
    assert posed_capture(Make(source=TEATIME, output=tmp_path / "run")) == TEATIME


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        (["--focal", "800"], "--focal: .* has camera poses already; leave it out"),
        (["--matching", "similar"], "--matching: .*; leave it out"),
        (["--gps"], "--gps: .*; use neural3d world before"),
        (["--masks", "auto"], "--masks: .*; use neural3d masks before"),
        (["--frames", "0"], "--frames: .*; leave it out"),
    ],
)
def test_make_refuses_what_poses_that_are_there_have_no_use_for(tmp_path, capsys, option, remedy):
    assert main(["make", str(TEATIME), "--output", str(tmp_path / "run"), "--no-viewer", *option]) == 2
    assert re.search(remedy, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def unposed(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    return folder


def make_with(monkeypatch, unposed: Path, *options: str) -> tuple[int, list]:
    """The exit status of make, and what its ingest was told; it ends there."""
    told: list = []

    def ingest(source, output, settings, *, overwrite, watch):
        told.append((source, output, settings, overwrite))
        raise InputError("enough")

    monkeypatch.setattr("neural3d.cli.ingesting.ingest_photos", ingest)
    run = str(unposed.parent / "run")
    return main(["make", str(unposed), "--output", run, "--no-viewer", *options]), told


def test_make_hands_on_what_is_said_about_poses(monkeypatch, unposed):
    options = ["--focal", "700", "--camera", "OPENCV", "--camera-per-photo", "--matching", "similar", "--frames", "50"]
    status, told = make_with(monkeypatch, unposed, *options, "--equirectangular", "--linear", "--seed", "5")
    expected = Settings(700.0, "OPENCV", True, "similar", True, 50, linear=True)
    assert (status, told) == (2, [(unposed, unposed.parent / "run-capture", expected, False)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "0"], "--frames 0: expected 3 or more"),
        (["--masks", "nothing"], "--masks nothing: "),
        (["--gps", "--control-points", "a.csv"], "give one of them"),
        (["--cameras", "a.usd", "--gps"], "--gps: poses are not looked for where --cameras gives them"),
    ],
)
def test_make_says_what_cannot_be_before_it_looks_for_poses(monkeypatch, unposed, capsys, options, message):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    status, told = make_with(monkeypatch, unposed, *options)
    assert (status, told) == (2, []) and message in capsys.readouterr().err


def test_make_begins_anew_only_where_settings_changed(monkeypatch, unposed):
    capture = unposed.parent / "run-capture"
    capture.mkdir()
    save_state(capture, State(Settings(focal_px=700.0), False))
    for focal, is_anew in (("700", False), ("800", True)):
        told = make_with(monkeypatch, unposed, "--overwrite", "--focal", focal)[1]
        assert told[0][3] == is_anew


@pytest.mark.long
def test_make_finds_poses_first(photos, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["make", str(photos), "--output", str(run), "--max-seconds", "10", "--no-viewer", "--json"]
    assert main(arguments) == 0
    assert (run / "exports" / "splat.ply").is_file()
    assert json.loads(capsys.readouterr().out)["psnr"] > 15
    assert compare_captures(tmp_path / "run-capture", TEATIME).centers.max() < 0.02


@pytest.mark.long
def test_the_whole_synthetic_scene(tmp_path, capsys):
    """All views of the spiral, as 480 pixel photos of a pot on which one flower repeats: centres within 0.2 %."""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    capture = tmp_path / "capture"
    assert main(["ingest", str(TEATIME / "images"), "--output", str(capture), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_registered"] == 70
    difference = compare_captures(capture, TEATIME)
    assert np.quantile(difference.centers, 0.9) < 0.0015
    assert difference.centers.max() < 0.002
    assert difference.angles_deg.max() < 0.2
