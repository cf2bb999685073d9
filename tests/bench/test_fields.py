"""The yardstick of fields does the same work as what it is compared with, and its table can be read."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neural3d import bench
from neural3d.bench.curves import Course, curves_at_once
from neural3d.bench.machine import provenance
from neural3d.bench.mlp_twin import MlpTwin, Twin
from neural3d.bench.quality import CaptureSpec
from neural3d.capture import load_capture
from neural3d.train.mlp import MlpLearner
from neural3d.train.mlp_config import MlpConfig

SMALL = MlpConfig(
    rays=64, coarse_samples=8, fine_samples=8, depth=3, width=16, skip=1, occupancy_cells=16, precision="float32"
)


def test_the_twin_finds_the_same_loss_and_learns(small_capture: Path):
    learner = MlpLearner(load_capture(small_capture), SMALL)
    learner.begin()
    twin = Twin(SMALL, learner.space)
    for i, vector in enumerate(learner.networks.values()):
        twin.take(i, vector)
    batch = learner.pixels.batch(64, learner.background, 0, 0, central=False)
    drawn = learner.draw(0)
    losses = [twin.step(batch, drawn.coarse, drawn.fine) for _ in range(20)]
    learner.config = replace(SMALL, central_until=0.0)
    assert losses[0] == pytest.approx(float(learner.take_step(0, 0.0).loss), rel=1e-4)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(learner.draw(0).fine, drawn.fine)


def test_the_twin_trains_as_we_do(small_capture: Path):
    scene = load_capture(small_capture)
    fields = []
    for kind in (MlpLearner, MlpTwin):
        learner = kind(scene, SMALL)
        learner.begin()
        begun = learner.snapshot().networks.coarse
        losses = [float(learner.take_step(step, 0.1 * step).loss) for step in range(4)]
        fields.append((losses, learner.snapshot().networks))
        assert (fields[-1][1].coarse - begun).abs().max() > 1e-4
    assert fields[0][0] == pytest.approx(fields[1][0], rel=1e-3)
    for name in ("coarse", "fine"):
        ours, theirs = (getattr(networks, name) for _, networks in fields)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_the_curves_of_the_papers_networks(small_capture: Path) -> None:
    course = Course(CaptureSpec("it", str(small_capture), 1.0, "auto", 1.0), replace(SMALL, max_seconds=0.5), views=1)
    found = curves_at_once({"ours": MlpLearner, "twin": MlpTwin}, course)
    for name in ("ours", "twin"):
        seconds = [point["seconds"] for point in found[name]["curve"]]
        assert seconds == sorted(seconds) and seconds[-1] >= 0.5
        assert found[name]["psnr"] == found[name]["curve"][-1]["psnr"] > 0 and found[name]["views"] == 1
    report = {"table": "mlp", "capture": "it", **found, **provenance()}
    assert "plain torch" in bench.text_of(report)


def test_the_table_of_what_is_kept(repository: Path):
    report = json.loads((repository / "benchmarks" / "results" / "fields.json").read_text())
    text = bench.text_of(report)
    assert "plain torch" in text and f"{report['torch_ratio_bfloat16']:.1f} times as long" in text
    assert report["torch_ratio_bfloat16"] == pytest.approx(report["step_ms_torch"] / report["step_ms_bfloat16"])


def test_the_curves_that_are_kept(repository: Path):
    report = json.loads((repository / "benchmarks" / "results" / "mlp.json").read_text())
    text = bench.text_of(report)
    for name in ("ours", "twin"):
        point = report[name]["curve"][-1]
        assert (
            f"{point['psnr']:.2f} dB after {point['seconds']:.0f} s" in text and point["psnr"] == report[name]["psnr"]
        )
    assert "plain torch" in text and report["background"] == "white"
