"""What the soak measures over an hour holds in a minute, too."""

import json
import sys

import pytest

from neural3d import bench
from neural3d.bench.soak import measure_soak
from neural3d.train.config import SplatConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the soak watches processes through /proc")


@pytest.mark.long
def test_kills_pauses_and_visitors_change_no_byte():
    report = measure_soak(
        seconds=20.0, steps=2500, kills=4, clients=8, downscale=8.0, config=SplatConfig(max_gaussians=2000)
    )
    calm, rough = report["undisturbed"], report["disturbed"]
    assert report["same_bytes"] and report["sha256"][0] == report["sha256"][1]
    assert rough["kills"] >= 3 and rough["pauses"] >= 1 and calm["kills"] == calm["pauses"] == 0
    assert [part["from_step"] > 0 for part in rough["parts"]][-1], "it went on from a checkpoint"
    assert len(rough["steps_lost"]) == rough["kills"]
    # A viewer has three threads and one socket to listen on; each of the eight visitors has one more.
    assert rough["threads_max"] <= calm["threads_max"] + 5
    assert rough["files_max"] <= calm["files_max"] + 8 + 8
    json.dumps(report, allow_nan=False)
    text = bench.text_of(report)
    for part in ("same bytes in the end", "yes", "2,500 steps"):
        assert part in text
