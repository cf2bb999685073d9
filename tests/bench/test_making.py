"""Somebody who watches `make` sees cameras first, then splats, then the files are there."""

import pytest

from neural3d import bench
from neural3d.bench.making import measure_making


def test_what_a_page_is_shown_and_when(small_capture):
    found = measure_making(
        small_capture, max_seconds=3.0, limit_seconds=300.0
    )  # which its answer, once kept back, never met
    assert 0 < found["preview_seconds"] <= found["seconds"] and 0 < found["scene_seconds"] <= found["seconds"]
    assert 5 < found["psnr"] < 60 and found["num_gaussians"] > 0
    assert "first splats on the page" in bench.text_of(found)


def test_one_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="status 2: neural3d: error: .*nothing"):
        measure_making(tmp_path / "nothing")
