"""The yardstick of neural points does the same work as what it is compared with, and its table can be read."""

import pytest
import torch

from neural3d import bench
from neural3d.bench import points
from neural3d.bench.points_twin import PointsTwin, neighbors_by_cells
from neural3d.bench.quality import CaptureSpec
from neural3d.capture import load_capture
from neural3d.ops.point_index import index_points
from neural3d.reference.nearest_points import nearest_points
from neural3d.train.points import PointsLearner
from neural3d.train.points_config import PointsConfig

SMALL = PointsConfig(
    splat_steps=20, max_points=300, samples=3000, features=16, width=16, occupancy_cells=16, max_seconds=None, steps=20
)


def test_the_twin_learns_the_same(small_capture):
    scene = load_capture(small_capture)
    ours, theirs = PointsLearner(scene, SMALL), PointsTwin(scene, SMALL)
    for learner in (ours, theirs):
        learner.begin()
    for step in range(3):
        losses = [float(learner.take_step(step, 0.1).loss) for learner in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_the_twin_finds_the_same_neighbours():
    index, queries = index_points(torch.rand(300, 3), 0.2), torch.rand(100, 3)
    found = neighbors_by_cells(queries, index, 6)
    assert torch.equal(found.int().sort().values, nearest_points(queries, index, 6).sort().values)


def test_the_table_has_two_curves(small_capture, monkeypatch):
    spec = CaptureSpec("it", str(small_capture), 1.0, "auto", 1.0)
    monkeypatch.setattr(points, "chosen_captures", lambda names: [spec])
    for name, value in {"WARM_STEPS": 2, "REPEATS": 1, "TWIN_REPEATS": 1}.items():
        monkeypatch.setattr(points, name, value)
    monkeypatch.setattr(points, "PointsConfig", lambda **given: PointsConfig(**(vars(SMALL) | given)))
    report = points.measure_points(seconds=0.8)
    text = bench.text_of(report)
    assert f"{report['torch_ratio']:.1f} times as long" in text
    for name, label in (("ours", "ours "), ("twin", "plain torch ")):
        assert len(report[name]["curve"]) >= 1 and label in text
        assert report[name]["curve"][-1]["psnr"] == report[name]["psnr"] > 0
