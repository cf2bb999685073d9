"""What is measured of the viewer: how long pictures take, and whether it forgets its visitors."""

import json
import sys
from dataclasses import replace

import pytest

from neural3d import bench
from neural3d.bench import clients
from neural3d.bench.crowd import Mix
from neural3d.bench.latency import SCENE, measure_latency
from neural3d.bench.scenes import TWIN
from neural3d.bench.viewer_soak import Held, growth_mib, measure_viewer_soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the light clients are of Linux")


def test_the_latency_table():
    report = measure_latency(scene=replace(SCENE, name="a few", num_gaussians=500, pairs=200_000), moves=8)
    assert 0 < report["p50_ms"] <= report["p95_ms"] <= report["max_ms"]
    assert 32 <= report["picture_rows"]["least"] <= report["picture_rows"]["median"] <= 360
    assert report["unasked_pictures"] == 0, "each picture answers one move"
    json.dumps(report, allow_nan=False)
    assert "a few, 8 moves" in bench.text_of(report)


def test_growth_is_what_stays():
    """Not what is there from the beginning, and not a peak in the middle."""
    held = [Held(float(t), 100.0 + (50 if t < 10 else 0) + (900 if t == 50 else 0) + 0.1 * t, 5, 9) for t in range(101)]
    assert growth_mib(held) == pytest.approx(0.1 * (95 - 25))


def test_the_viewer_forgets_who_came():
    mix = Mix(live=2, stalled=1, garbage=1, vanishing=3)
    report = measure_viewer_soak(seconds=8.0, mix=mix, scene=TWIN)
    assert report["left_over"] == 0 and report["viewer_errors"] == 0
    assert report["joined"] > 3 and report["ended"] >= 3, "they came again and again"
    assert set(report["turned_away"]) == {"undecodable message: DecodeError"}
    assert report["growth_mib"] < 50
    json.dumps(report, allow_nan=False)
    assert "clients left over" in bench.text_of(report)


def test_clients_that_look_at_the_engines_pictures(monkeypatch):
    monkeypatch.setattr(clients, "SETTLE_SECONDS", 0.2)
    drawn = []
    monkeypatch.setattr(clients.Viewer, "_deliver", lambda self, client_id, picture: drawn.append(client_id))
    report = clients.measure_clients(counts=(0, 2), steps=200, rounds=1, downscale=8.0, by_engine=True)
    assert report["table"] == "clients_engine" and [crowd["live"] for crowd in report["crowds"]] == [0, 2]
    assert len(set(drawn)) == 2, "both were drawn for"
