"""world on the command line, and what it changes: inspect, exports, the ruler of the viewer."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.ingest.report import Report
from neural3d.cli import main
from neural3d.export.ply import read_ply
from neural3d.scene import Similarity
from neural3d.viewer.place import distance_label
from tests.cli.captures import SMALL, refused, write_capture

SCALE = 4.0


@pytest.fixture
def placed(tmp_path) -> tuple:
    """A capture whose cameras were measured: four times as large, and turned upside down."""
    capture = write_capture(tmp_path / "capture")
    lines = []
    for frame in list_capture(capture).frames:
        x, y, z = SCALE * camera_center(frame.camera_from_world) * [1, -1, -1]
        lines.append(f"{frame.name}, {x}, {y}, {z}")
    path = tmp_path / "stations.csv"
    path.write_text("\n".join(lines))
    return capture, path


def test_metres_reach_every_command(placed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neural3d.cli.inspecting.expected_steps", lambda scene: 100)  # seconds of measuring
    capture, stations = placed
    run = tmp_path / "run"
    assert main(["train", "splat", "--capture", str(capture), "--output", str(run), *SMALL]) == 0
    assert "neural3d world" in refused(
        capsys, "export", str(run), "--output", str(tmp_path / "a.ply"), "--units", "metres"
    )
    assert main(["world", str(capture), "--control-points", str(stations), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["num_used"] == 10 and math.isclose(said["metres_from_capture"]["scale"], SCALE, rel_tol=1e-6)
    assert main(["inspect", str(capture)]) == 0
    assert "world      1 unit is 4 m (standard error 0.00%), from 10 control points" in capsys.readouterr().out
    assert main(["inspect", str(capture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["world"]["metres_from_capture"]["scale"] == pytest.approx(SCALE)

    for units in ("capture", "metres"):
        assert main(["export", str(run), "--output", str(tmp_path / f"{units}.ply"), "--units", units]) == 0
    one, other = (read_ply(tmp_path / f"{units}.ply") for units in ("capture", "metres"))
    expected = SCALE * one.means_world * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(other.means_world, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.log_scales, one.log_scales + math.log(SCALE), rtol=1e-4, atol=1e-4)


def test_usd_says_what_a_unit_is(placed, tmp_path):
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    capture, stations = placed
    assert main(["world", str(capture), "--control-points", str(stations)]) == 0
    run = tmp_path / "run"
    assert main(["train", "splat", "--capture", str(capture), "--output", str(run), *SMALL]) == 0
    for units, expected in (("capture", SCALE), ("metres", 1.0)):
        path = tmp_path / f"{units}.usda"
        assert main(["export", str(run), "--output", str(path), "--units", units]) == 0
        stage = usd.Stage.Open(str(path))
        assert stage.GetMetadata("metersPerUnit") == pytest.approx(expected)
        assert stage.GetMetadata("upAxis") == {"capture": "Y", "metres": "Z"}[units]  # the capture stands on its head
        cameras = tmp_path / f"cameras-{units}.usda"
        assert main(["export", str(run), "--format", "cameras", "--output", str(cameras), "--units", units]) == 0
        stage = usd.Stage.Open(str(cameras))
        assert stage.GetMetadata("metersPerUnit") == pytest.approx(expected)
        assert stage.GetMetadata("upAxis") == {"capture": "Y", "metres": "Z"}[units]


def test_a_scene_in_metres_is_rendered_at_cameras_in_metres(placed, tmp_path, capsys):
    """The same pictures as in the capture's units; depths and positions are metres then."""
    openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR")
    capture, stations = placed
    assert main(["world", str(capture), "--control-points", str(stations)]) == 0
    run = tmp_path / "run"
    assert main(["train", "splat", "--capture", str(capture), "--output", str(run), *SMALL]) == 0
    pictures = {}
    for units in ("capture", "metres"):
        path = tmp_path / f"{units}.chan"
        assert main(["export", str(run), "--format", "cameras", "--output", str(path), "--units", units]) == 0
        name = str(tmp_path / f"{units}.%04d.exr")
        where = ["--cameras", str(path), "--frames", "2-2", "--size", "48", "32", "--units", units]
        assert main(["render", str(run), *where, "--precision", "float", "--output", name]) == 0
        with openexr.File(str(tmp_path / f"{units}.0002.exr"), separate_channels=True) as file:
            pictures[units] = [{k: c.pixels for k, c in file.channels(i).items()} for i in range(3)]
    one, other = pictures["capture"], pictures["metres"]
    alpha = one[0]["A"]
    assert (alpha > 0.5).sum() > 50 and abs(other[0]["A"] - alpha).max() < 2e-3
    there = alpha > 0.5
    assert other[1]["depth.Z"][there] == pytest.approx(SCALE * one[1]["depth.Z"][there], rel=2e-3)
    # Measured anew, its metres are others: what was rendered in the old ones is not finished.
    orbit = ["--frames", "1", "--size", "12", "8", "--units", "metres", "--output", str(tmp_path / "orbit.%04d.exr")]
    assert main(["render", str(run), *orbit]) == 0
    said = json.loads((capture / "world.json").read_text())
    said["metres_from_capture"]["scale"] *= 2
    (capture / "world.json").write_text(json.dumps(said))
    capsys.readouterr()
    for num_rendered in (1, 0):
        assert main(["render", str(run), *orbit]) == 0
        assert f"num_rendered  {num_rendered}" in capsys.readouterr().out
    assert "yards" in refused(capsys, "render", str(run), "--units", "yards", "--output", str(tmp_path / "x"))


def test_the_ruler_measures_metres(placed):
    capture, stations = placed
    main(["world", str(capture), "--control-points", str(stations)])
    world, way = list_capture(capture).world, Similarity(3.0, torch.eye(3).double(), torch.zeros(3).double())
    ends = torch.zeros(3), torch.tensor([0.0, 0.5, 0.0])
    assert distance_label(*ends, way, world) == "6 m"
    assert distance_label(*ends, way) == "1.5 units of the capture"


def test_ingest_finds_metres_too(tmp_path, capsys, monkeypatch):
    """The poses themselves are another test's; here they are there already."""
    capture = write_capture(tmp_path / "capture")
    for frame in list_capture(capture).frames:
        east, north, up = SCALE * camera_center(frame.camera_from_world)
        exif = Image.Exif()
        exif[34853] = {
            **{1: "N", 2: (0.0, 0.0, (1000 + north) * 3600 / 110574.3), 3: "E"},
            **{4: (13.0, 1.0, east * 3600 / 111319.5 + 10), 6: up},
        }
        path = frame.image_path
        Image.open(path).save(path, exif=exif)

    report = Report(10, 10, 0.5, 100, "incremental", 45, 1.0, {})
    monkeypatch.setattr("neural3d.cli.ingesting.ingest_photos", lambda *_, **__: report)
    assert main(["ingest", "photos", "--output", str(capture), "--gps", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["num_registered"] == 10
    assert said["world"]["metres_from_capture"]["scale"] == pytest.approx(SCALE, rel=1e-3)
    np.testing.assert_allclose(said["world"]["metres_from_capture"]["rotation"], np.eye(3), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of them"),
        (["--gps", "--control-points", "x.csv"], "give one of them"),
        (["--control-points", "/nowhere.csv"], "/nowhere.csv"),
        (["--gps"], "0 photos with a pose have GPS positions"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, message):
    capture = write_capture(tmp_path / "capture")
    assert message in refused(capsys, "world", str(capture), *arguments)


def test_bad_control_points_end_an_ingest_before_it_begins(tmp_path, capsys):
    (tmp_path / "gcp.csv").write_text("a, b, c")
    bad = ["--output", str(tmp_path / "out"), "--control-points", str(tmp_path / "gcp.csv")]
    assert "gcp.csv: line 1 has 3 fields" in refused(capsys, "ingest", str(tmp_path), *bad)
    assert not (tmp_path / "out").exists()
