"""The table of refined cameras compares poses with those that were given, before and after."""

from dataclasses import replace

import pytest

from neural3d import bench
from neural3d.bench import refined_cameras
from neural3d.train.hashgrid_config import HashGridConfig

SMALL = HashGridConfig(
    samples=3000, levels=4, log2_rows=10, coarsest=4, finest=32, width=16, occupancy_cells=16, open_rays=64
)


def test_each_row_says_how_far_cameras_are(small_capture, monkeypatch):
    monkeypatch.setattr(refined_cameras, "HASHGRID_PRESETS", {"fast": replace(SMALL, steps=9)})
    found = refined_cameras.measure_refined_cameras(small_capture, steps=10, downscale=1.0, noise_deg=2.0)
    assert [(row["poses_off_deg"], row["refine_cameras"]) for row in found["rows"]] == [
        (off, refine) for off in (0.0, 2.0) for refine in (False, True)
    ]
    right, refined, off, learnt = found["rows"]
    assert right["before"] == right["after"] and right["before"]["center_extents"] < 1e-5
    assert off["before"] == off["after"] == learnt["before"] and off["before"]["angle_deg"] == pytest.approx(2, rel=0.3)
    assert 0 < refined["after"]["angle_deg"] < 30 and learnt["after"] != learnt["before"]
    assert all(0 < row["psnr"] < 60 for row in found["rows"])
    assert "poses off by 2 degrees, --refine-cameras" in bench.text_of(found)
