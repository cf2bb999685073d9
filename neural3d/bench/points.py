"""The table of neural points: a training step against plain torch, and PSNR over training time of both."""

import time
from dataclasses import replace
from typing import Any

from neural3d.bench.clock import interleaved_ms, split_ms
from neural3d.bench.curves import Course, curves_at_once
from neural3d.bench.machine import provenance
from neural3d.bench.points_twin import PointsTwin
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.checkpoints import Checkpoint
from neural3d.ops.library import native
from neural3d.scene import Scene
from neural3d.train.points import PointsLearner
from neural3d.train.points_config import PointsConfig

WARM_STEPS = 100
"""Before a step is measured."""
REPEATS, TWIN_REPEATS = 12, 2


def measure_points(
    capture: str | None = None, *, seconds: float = 1800.0, downscale: float | None = None
) -> dict[str, Any]:
    """A step in turns with its twin, then `seconds` of training of both at once, judged on some held-out views.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    spec = spec if downscale is None else replace(spec, downscale=downscale)
    scene = load_capture(spec.path, downscale=spec.downscale)
    config = PointsConfig(steps=10**6, max_seconds=seconds)
    return {
        "table": "points",
        "capture": spec.name,
        "downscale": scene.downscale,
        "size_px": list(scene.photos[0].pixels.shape[1::-1]),
        **curves_at_once({"ours": PointsLearner, "twin": PointsTwin}, Course(spec, config)),
        **_steps(scene, replace(config, max_seconds=min(seconds, 60.0))),
        **provenance(),
    }


def _steps(scene: Scene, config: PointsConfig) -> dict[str, Any]:
    """The same step of both, from the same state."""
    native().keep_memory()  # as training does; the twin has it, too
    learner = PointsLearner(scene, config)
    learner.begin()
    for step in range(1, WARM_STEPS):
        learner.take_step(step, 0.0)
    twin = PointsTwin(scene, config)
    copies = {name: tensor.clone() for name, tensor in learner.tensors().items()}
    twin.load(Checkpoint(WARM_STEPS, copies, learner.meta()))
    steps = {"ours": lambda: learner.take_step(WARM_STEPS, 0.5), "torch": lambda: twin.take_step(WARM_STEPS, 0.5)}
    _, operators = split_ms(steps["ours"], REPEATS)
    spent = time.process_time()
    for _ in range(REPEATS):
        steps["ours"]()
    spent = 1e3 * (time.process_time() - spent) / REPEATS
    times = interleaved_ms(steps, TWIN_REPEATS)
    return {
        "step_ms": times["ours"],
        "step_processor_ms": spent,
        "step_ms_torch": times["torch"],
        "torch_ratio": times["torch"] / times["ours"],
        "operators_ms": operators,
        "step_rays": learner.rays,
        "step_points": len(learner.index),
    }
