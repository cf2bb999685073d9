"""The field table: a step of the paper's network against plain torch, and the small network's quality."""

from dataclasses import replace
from typing import Any

import torch

from neural3d.bench.clock import fma_peak_gflops, interleaved_ms
from neural3d.bench.machine import provenance
from neural3d.bench.mlp_twin import Twin
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.ops.library import native
from neural3d.render.fields import field_render_function
from neural3d.scene import Scene
from neural3d.train.fields import train_field
from neural3d.train.mlp import MlpLearner
from neural3d.train.mlp_config import PAPERS_MLP, TINY_MLP

WARM_STEPS = 15
"""Steps before the measurement: at the beginning half of all samples pull on something, later few do."""
JUDGED_VIEWS = 5


def measure_fields(capture: str | None = None, *, seconds: float = 120.0, repeats: int = 2) -> dict[str, Any]:
    """Steps in turns with their twin, then `seconds` of training with `--tiny`, judged on a few held-out views.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    scene = load_capture(spec.path, downscale=spec.downscale)
    return {
        "table": "fields",
        "capture": spec.name,
        "downscale": scene.downscale,
        **_steps(scene, repeats),
        **_quality(scene, seconds),
        "fma_peak_gflops": fma_peak_gflops(),
        **provenance(),
    }


def _steps(scene: Scene, repeats: int) -> dict[str, Any]:
    """Of the paper's networks, after some training: ours in both precisions, and the twin's."""
    native().keep_memory()  # as training does; the twin has it, too
    learners = {precision: _warm(scene, precision) for precision in ("bfloat16", "float32")}
    twin = Twin(PAPERS_MLP, learners["float32"].space)
    times = interleaved_ms(
        {
            **{name: lambda learner=learner: learner.take_step(WARM_STEPS, 0.5) for name, learner in learners.items()},
            "torch": lambda: _twin_step(twin, learners["float32"]),
        },
        repeats,
    )
    first = {f"first_step_ms_{name}": ms for name, ms in _first_steps(scene, repeats).items()}
    return {
        **{f"step_ms_{name}": ms for name, ms in times.items()},
        "torch_ratio_bfloat16": times["torch"] / times["bfloat16"],
        "torch_ratio_float32": times["torch"] / times["float32"],
        **first,
        "rays": PAPERS_MLP.rays,
        "samples": 2 * PAPERS_MLP.coarse_samples + PAPERS_MLP.fine_samples,
    }


def _warm(scene: Scene, precision: str) -> MlpLearner:
    learner = MlpLearner(scene, replace(PAPERS_MLP, precision="bfloat16"))
    learner.begin()
    for step in range(WARM_STEPS):
        learner.take_step(step, 0.5)
    learner.dtype = getattr(torch, precision)
    return learner


def _first_steps(scene: Scene, repeats: int) -> dict[str, float]:
    """Of networks that know nothing yet."""
    learner = MlpLearner(scene, replace(PAPERS_MLP, precision="bfloat16", rate_start=1e-12, rate_end=1e-12))
    learner.begin()
    return interleaved_ms({"bfloat16": lambda: learner.take_step(0, 0.5)}, repeats)


def _twin_step(twin: Twin, learner: MlpLearner) -> None:
    batch = learner.pixels.batch(twin.config.rays, learner.background, 0, WARM_STEPS, central=False)
    drawn = learner.draw(WARM_STEPS)
    twin.step(batch, drawn.coarse, drawn.fine)


def _quality(scene: Scene, seconds: float) -> dict[str, Any]:
    result = train_field(scene, replace(TINY_MLP, max_seconds=seconds))
    background = evaluation_background(scene.has_alpha)
    chosen = scene.test_indices[:: max(1, len(scene.test_indices) // JUDGED_VIEWS)][:JUDGED_VIEWS]
    render = field_render_function(result.field, background=background)
    found = evaluate(render, scene, indices=chosen, background=background)
    return {
        "tiny_seconds": result.train_seconds,
        "tiny_steps": result.step,
        "tiny_psnr": found.mean("psnr"),
        "tiny_ssim": found.mean("ssim"),
        "tiny_views": len(found.views),
        "tiny_seconds_a_frame": 1 / found.render_fps,
    }
