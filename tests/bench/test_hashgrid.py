"""The hash grid's yardstick does the same work as what it is compared with, and its table can be read."""

from dataclasses import replace

import pytest
import torch

from neural3d import bench
from neural3d.bench import hashgrid, side_by_side
from neural3d.bench.hashgrid_twin import HashGridTwin
from neural3d.bench.quality import CaptureSpec
from neural3d.capture import load_capture
from neural3d.fields.hashgrid import view_samples
from neural3d.train.hashgrid import HashGridLearner
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.mlp_config import TINY_MLP

SMALL = HashGridConfig(
    samples=3000, levels=4, log2_rows=10, coarsest=4, finest=32, width=16, occupancy_cells=16, open_rays=64
)


def test_the_twin_finds_the_same_loss_and_learns(small_capture):
    learner = HashGridLearner(load_capture(small_capture), SMALL)
    learner.begin()
    batch = learner.pixels.batch(64, learner.background, 0, 0, central=False)
    samples = learner.search.guide().samples(learner.place.rays(batch.rays), torch.rand(64))
    seen = view_samples(learner.weights, learner.shape, samples, batch.rays.directions, torch.zeros(64, 0))
    shown = seen.colors + (1 - seen.alphas)[:, None] * batch.backgrounds
    twin = HashGridTwin(learner.shape, learner.weights, 1e-2)
    losses = [twin.step(batch, samples) for _ in range(10)]
    assert losses[0] == pytest.approx(float((shown - batch.colors).square().mean()), rel=1e-3)
    assert losses[-1] < losses[0]


def test_the_table_has_a_curve_for_each_preset(small_capture, monkeypatch):
    monkeypatch.setattr(
        hashgrid, "chosen_captures", lambda names: [CaptureSpec("it", str(small_capture), 1.0, "auto", 1.0)]
    )
    for name, value in {"STEP_RAYS": 64, "WARM_SECONDS": 0.0, "REPEATS": 1, "TWIN_REPEATS": 1, "STEPS": 1}.items():
        monkeypatch.setattr(hashgrid, name, value)
    monkeypatch.setitem(
        hashgrid.HASHGRID_PRESETS, "fast", HashGridConfig(max_seconds=0.5, samples=3000, log2_rows=10, open_rays=64)
    )
    report = hashgrid.measure_hashgrid(presets=["fast"])
    text = bench.text_of(report)
    assert f"{report['torch_ratio']:.1f} times as long" in text and text.count("--preset fast") == len(
        report["presets"]["fast"]["curve"]
    )
    steps = [point["steps"] for point in report["presets"]["fast"]["curve"]]
    assert steps == sorted(steps) and steps[-1] == report["presets"]["fast"]["steps"] > 0


def test_splats_and_fields_side_by_side(small_capture, tmp_path, monkeypatch):
    spec = CaptureSpec("it", str(small_capture), 1.0, "auto", 1.0)
    monkeypatch.setattr(side_by_side, "chosen_captures", lambda names: [spec])
    monkeypatch.setitem(side_by_side.HASHGRID_PRESETS, "fast", SMALL)
    small = replace(TINY_MLP, coarse_samples=8, width=16, occupancy_cells=16)
    monkeypatch.setitem(side_by_side.MODELS, "mlp", small)
    models = ("splats", "hashgrid", "mlp")
    report = side_by_side.measure_side_by_side(seconds=0.3, models=models, pictures=tmp_path)
    text = bench.text_of(report)
    assert tuple(report["models"]) == models
    for name, found in report["models"].items():
        assert len(list((tmp_path / name).glob("*.png"))) == found["views"] > 0
        assert found["steps"] > 0 and found["psnr"] > 3 and f"{found['psnr']:.2f} dB" in text and name in text
