"""Light clients are clients to the viewer, and the table of them is made."""

import sys
import time

import msgspec
import pytest

from neural3d import bench
from neural3d.bench import clients, crowd
from neural3d.bench.crowd import Crowd, Mix
from neural3d.viewer import Viewer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the light clients are of Linux")
PROTOCOL = f"viser-v{clients.version('viser')}"


def until(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_mix_is_that_many():
    assert [Mix.of(count).count for count in (0, 1, 8, 32)] == [0, 1, 8, 32]
    assert Mix.of(32) == Mix(live=20, stalled=4, flooding=4, garbage=4)


def test_its_camera_is_a_message():
    assert msgspec.msgpack.decode(crowd._camera())["look_at"] == [0.0, 0.0, 0.0]


def test_the_viewer_sees_the_crowd_as_what_it_is():
    with Viewer(port=0, stall_seconds=1.0) as viewer, Crowd(viewer.url, PROTOCOL, Mix(2, 0, 1, 1)) as visitors:
        door = viewer.server.door
        visitors.count()
        until(lambda: len(viewer.server.get_clients()) >= 3)
        until(lambda: door.counts["undecodable message: DecodeError"] >= 2)
        told = visitors.leave()
        until(lambda: not door.clients)
    assert told["joined"] >= 1 and told["ended"] >= 1 and told["received_bytes"] > 1000
    assert 0 < told["cpu_seconds"] < told["seconds"]
    assert set(door.counts) == {"undecodable message: DecodeError"}, "the others are welcome"


def test_the_clients_table(monkeypatch):
    monkeypatch.setattr(clients, "SETTLE_SECONDS", 0.2)
    report = clients.measure_clients(counts=(0, 8), steps=30, rounds=1, downscale=8.0)
    alone, crowded = report["crowds"]
    assert (alone["clients"], crowded["clients"]) == (0, 8)
    pace = report["headless"]["steps_per_second"]
    assert 0 < pace == pytest.approx(report["headless"]["each_round"][0])
    assert [row["share"] for row in (alone, crowded)] == pytest.approx(
        [row["steps_per_second"] / pace for row in (alone, crowded)]
    )
    assert alone["received_mib_per_second"] == 0
    assert report["steps"] == 30
    text = bench.text_of(report)
    for part in ("8 (5 live, 1 stalled, 1 flooding, 1 garbage)", "no viewer", "bundled", report["date"]):
        assert part in text
