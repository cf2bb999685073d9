"""What training makes of two captures' poses is judged on the same photos."""

import json
import shutil
from pathlib import Path

import pytest

from neural3d import bench
from neural3d.bench.poses import measure_trained_poses
from neural3d.errors import InputError


def test_the_same_poses_are_worth_the_same(small_capture):
    found = measure_trained_poses(small_capture, small_capture, steps=5, downscale=1.0)
    assert found["rows"]["found"] == found["rows"]["known"] and found["held_out"] > 0
    assert 5 < found["rows"]["found"]["psnr"] < 60
    assert "colour-corrected" in bench.text_of(found)


def test_each_capture_is_trained_with_its_own_cameras(small_capture, tmp_path):
    wider = Path(shutil.copytree(small_capture, tmp_path / "wider"))
    description = json.loads((wider / "transforms.json").read_text())
    for key in ("fl_x", "fl_y"):
        description[key] *= 0.6
    (wider / "transforms.json").write_text(json.dumps(description))
    rows = measure_trained_poses(wider, small_capture, steps=2, downscale=1.0)["rows"]
    assert abs(rows["found"]["psnr"] - rows["known"]["psnr"]) > 0.1


def test_captures_of_other_photos_are_told_apart(small_capture, tmp_path):
    other = Path(shutil.copytree(small_capture, tmp_path / "other"))
    text = (other / "transforms.json").read_text()
    (other / "transforms.json").write_text(text.replace("images/", "pictures/a"))
    (other / "images").rename(other / "pictures")
    for path in list((other / "pictures").iterdir()):
        path.rename(path.with_name("a" + path.name))
    with pytest.raises(InputError, match="other: has no photo .*; both captures must be of the same photos"):
        measure_trained_poses(small_capture, other, steps=1, downscale=1.0)


def test_the_table_of_halves_can_be_read():
    kept = Path(bench.__file__).parents[2] / "benchmarks" / "results" / "pose_halves.json"
    report = json.loads(kept.read_text())
    said = bench.text_of(report)
    assert f"{report['given_fits_better']} of {report['num_photos']} photos" in said
    assert f"{report['worst']} " in said and "% apart" in said
