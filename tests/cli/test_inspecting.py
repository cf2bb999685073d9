"""inspect and train on a capture with a planted fault: what is said, where, and the picture."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from neural3d.cli import main

from .captures import NUM_VIEWS, SMALL, refused, write_capture


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "capture")


@pytest.fixture
def faulty(capture: Path) -> Path:
    """One photo is white, one a copy of another, one cut off, one missing."""
    images = capture / "images"
    Image.new("RGB", (48, 32), (255, 255, 255)).save(images / "001.png")
    shutil.copy(images / "002.png", images / "003.png")
    (images / "004.png").write_bytes((images / "004.png").read_bytes()[:300])
    (images / "005.png").unlink()
    return capture


def test_json_is_one_object_with_a_verdict(capture, capsys):
    assert main(["inspect", str(capture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_usable"] == len(found["photos"]) == NUM_VIEWS and found["skipped"] == []
    assert found["findings"] == [] and found["verdict"].startswith("ready: 10 of 10 photos can be used")
    assert found["estimated_training_seconds"] == 300 and 0 < found["estimated_training_steps"] <= 30_000
    assert found["coverage"]["around_deg"] == 100 and found["coverage"]["gap_deg"] == pytest.approx(36, abs=0.1)
    assert {"sharpness", "brightness", "clipped", "points_in_view", "nearest_deg"} < found["photos"][0].keys()


def test_each_planted_fault_is_told(faulty, tmp_path, capsys):
    picture = tmp_path / "poses.png"
    assert main(["inspect", str(faulty), "--picture", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("photos     8 usable of 10") for line in lines)
    assert any(line.startswith("skipped    images/004.png: 004.png cannot be decoded") for line in lines)
    assert any(line.startswith("skipped    images/005.png: the photo is missing") for line in lines)
    assert "warning    images/001.png is nearly white: leave it out" in lines
    assert "warning    images/003.png shows the same as images/002.png: leave one of them out" in lines
    assert lines[-2].startswith("verdict    usable, but look at 4 warnings first (bright, duplicate, skipped)")
    with Image.open(picture) as opened:
        assert opened.size == (1600, 870)


def test_train_says_the_same_before_it_begins(faulty, tmp_path, capsys):
    assert main(["train", "splat", "--capture", str(faulty), "--output", str(tmp_path / "run"), *SMALL]) == 0
    said = capsys.readouterr().err
    assert "neural3d: warning: images/001.png is nearly white: leave it out" in said
    assert "neural3d: warning: images/003.png shows the same as images/002.png" in said


@pytest.mark.parametrize("name", ["poses.jpg", "missing/file.txt"])
def test_a_picture_is_a_png(capture, tmp_path, capsys, name):
    assert "expected a file that ends in .png" in refused(
        capsys, "inspect", str(capture), "--picture", str(tmp_path / name)
    )


def test_too_little_memory_is_a_warning_with_the_remedy(capture, capsys, monkeypatch):
    monkeypatch.setattr("neural3d.capture.inspection.free_memory_bytes", lambda: 10**6)
    assert main(["inspect", str(capture)]) == 0
    said = capsys.readouterr().out
    assert "GB, 0.0 GB are free: take a larger --downscale" in said and "1 warning first (memory)" in said
