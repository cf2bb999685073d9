"""The yardstick of fields does the same work as what it is compared with, and its table can be read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neural3d import bench
from neural3d.bench.mlp_twin import Twin
from neural3d.capture import load_capture
from neural3d.fields.mlp import layers_of
from neural3d.train.mlp import MlpLearner
from neural3d.train.mlp_config import MlpConfig

SMALL = MlpConfig(rays=64, coarse_samples=8, fine_samples=8, depth=3, width=16, skip=1, precision="float32")


def test_the_twin_finds_the_same_loss_and_learns(small_capture: Path):
    learner = MlpLearner(load_capture(small_capture), SMALL)
    learner.begin()
    twin = Twin(SMALL, learner.space)
    for network, vector in zip(twin.networks, learner.networks.values(), strict=True):
        modules = {f"trunk.{i}": layer for i, layer in enumerate(network.trunk)}
        modules |= {name: getattr(network, name) for name in ("density", "feature", "view", "color")}
        for name, (weights, bias) in layers_of(vector, SMALL.shape).items():
            modules[name].load_state_dict({"weight": weights, "bias": bias})
    batch = learner.pixels.batch(64, learner.background, 0, 0, central=False)
    drawn = learner.draw(0)
    losses = [twin.step(batch, drawn.coarse, drawn.fine) for _ in range(20)]
    learner.config = replace(SMALL, central_until=0.0)
    assert losses[0] == pytest.approx(float(learner.take_step(0, 0.0).loss), rel=1e-4)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(learner.draw(0).fine, drawn.fine)


def test_the_table_of_what_is_kept(repository: Path):
    report = json.loads((repository / "benchmarks" / "results" / "fields.json").read_text())
    text = bench.text_of(report)
    assert "plain torch" in text and f"{report['torch_ratio_bfloat16']:.1f} times as long" in text
    assert report["torch_ratio_bfloat16"] == pytest.approx(report["step_ms_torch"] / report["step_ms_bfloat16"])
