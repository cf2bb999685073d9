"""The hash grid's table: a training step against plain torch, and PSNR over training time by preset."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from neural3d.bench.clock import interleaved_ms, split_ms
from neural3d.bench.hashgrid_twin import HashGridTwin
from neural3d.bench.machine import provenance
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.fields.field import RadianceField
from neural3d.ops.library import native
from neural3d.ops.records import RaySamples
from neural3d.render.fields import field_render_function
from neural3d.scene import Scene
from neural3d.train.fields import train_field
from neural3d.train.hashgrid import HashGridLearner
from neural3d.train.hashgrid_config import HASHGRID_PRESETS, HashGridConfig
from neural3d.train.marched import REFRESH_STEPS
from neural3d.train.observer import Progress, Request
from neural3d.train.ray_batches import RayBatch

STEP_RAYS = 4096
"""Of the step that is compared."""
WARM_SECONDS = 20.0
"""Of training before a step is measured: at the beginning more of space counts as occupied."""
REPEATS, TWIN_REPEATS = 4, 8
STEPS = REFRESH_STEPS
"""That are timed together: one of them looks at a part of the occupancy grid, too."""
MOMENTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of a preset's time: when the curve's points are taken, the end aside."""
JUDGED_VIEWS = 10


@dataclass(frozen=True)
class Moment:
    """A field on its way, after so much training."""

    seconds: float
    processor_seconds: float
    step: int
    field: RadianceField


class Moments:
    """A `TrainingObserver` that keeps the field at given times."""

    def __init__(self, due: Sequence[float]) -> None:
        self.due, self.kept, self.start = list(due), list[Moment](), time.process_time()

    def on_progress(self, progress: Progress, snapshot: Callable[[], RadianceField]) -> None:
        """Keep the first field after each."""
        if self.due and progress.train_seconds >= self.due[0]:
            spent = time.process_time() - self.start
            self.kept.append(Moment(progress.train_seconds, spent, progress.step, snapshot()))
            self.due = [moment for moment in self.due if moment > progress.train_seconds]

    def requested(self) -> Request:
        """Never anything but to go on."""
        return "run"


def measure_hashgrid(capture: str | None = None, *, presets: Sequence[str] = tuple(HASHGRID_PRESETS)) -> dict[str, Any]:
    """A step in turns with its twin, then a training with each preset (or with none), judged on some held-out views.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    scene = load_capture(spec.path, downscale=spec.downscale)
    return {
        "table": "hashgrid" if presets else "hashgrid_step",
        "capture": spec.name,
        "downscale": scene.downscale,
        "size_px": list(scene.photos[0].pixels.shape[1::-1]),
        **_steps(scene),
        "presets": {name: _trained(scene, HASHGRID_PRESETS[name]) for name in presets},
        **provenance(),
    }


def _steps(scene: Scene) -> dict[str, Any]:
    native().keep_memory()  # as training does; the twin has it, too
    config = replace(HashGridConfig(), most_rays=STEP_RAYS, samples=1 << 24)
    learner = HashGridLearner(scene, config)
    learner.begin()
    step, start = 0, time.process_time()
    while time.process_time() - start < WARM_SECONDS or learner.rays < STEP_RAYS:
        learner.take_step(step, 0.5)
        step += 1
    twin = HashGridTwin(learner.shape, learner.weights, config.rate_start)
    batch, samples = _work(learner, step)

    def ours() -> None:
        for k in range(STEPS):
            learner.take_step(step + k, 0.5)

    _, operators = split_ms(ours, REPEATS)
    spent = time.process_time()
    for _ in range(REPEATS):
        ours()
    spent = 1e3 * (time.process_time() - spent) / (REPEATS * STEPS)
    times = interleaved_ms({"ours": ours, "torch": lambda: twin.step(batch, samples)}, TWIN_REPEATS)
    step_ms = times["ours"] / STEPS
    return {
        "step_ms": step_ms,
        "step_processor_ms": spent,
        "step_ms_torch": times["torch"],
        "torch_ratio": times["torch"] / step_ms,
        "operators_ms": {name: taken / STEPS for name, taken in operators.items()},
        "step_rays": STEP_RAYS,
        "step_samples": len(samples.ts),
        "warm_steps": step,
    }


def _work(learner: HashGridLearner, step: int) -> tuple[RayBatch, RaySamples]:
    """Rays and samples of a step, for the twin."""
    batch = learner.pixels.batch(STEP_RAYS, learner.background, 0, step, central=False)
    offsets = torch.from_numpy(np.random.default_rng(0).random(STEP_RAYS, dtype=np.float32))
    return batch, learner.search.guide().samples(learner.place.rays(batch.rays), offsets)


def _trained(scene: Scene, config: HashGridConfig) -> dict[str, Any]:
    moments = Moments([part * (config.max_seconds or 0.0) for part in MOMENTS])
    result = train_field(scene, config, observers=[moments])
    spent = time.process_time() - moments.start
    last = Moment(result.train_seconds, spent, result.step, result.field)
    curve = [judged(moment, scene) for moment in (*moments.kept, last)]
    sizes = asdict(config.shape.levels) | {"features": config.shape.features, "width": config.width}
    return {**sizes, "num_parameters": result.field.num_parameters, **curve[-1], "curve": curve}


def judged(moment: Moment, scene: Scene, views: int = JUDGED_VIEWS) -> dict[str, Any]:
    background = evaluation_background(scene.has_alpha)
    chosen = scene.test_indices[:: max(1, len(scene.test_indices) // views)][:views]
    spent = time.process_time()
    found = evaluate(
        field_render_function(moment.field, background=background), scene, indices=chosen, background=background
    )
    spent = (time.process_time() - spent) / len(found.views)
    return {
        "seconds": moment.seconds,
        "processor_seconds": moment.processor_seconds,
        "steps": moment.step,
        "psnr": found.mean("psnr"),
        "psnr_color_corrected": found.mean("psnr_color_corrected"),
        "ssim": found.mean("ssim"),
        "views": len(found.views),
        "seconds_a_frame": 1 / found.render_fps,
        "processor_seconds_a_judged_frame": spent,
    }
