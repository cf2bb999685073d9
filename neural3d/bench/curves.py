"""PSNR over training time of a field and of its twin in plain torch, trained at once, on half of the machine each."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import torch

from neural3d.bench.children import end_with_parent
from neural3d.bench.hashgrid import JUDGED_VIEWS, Moment, Moments, judged
from neural3d.bench.machine import provenance
from neural3d.bench.mlp_twin import MlpTwin
from neural3d.bench.quality import CaptureSpec, chosen_captures
from neural3d.capture import load_capture
from neural3d.fields.points import PointsField
from neural3d.scene import Scene
from neural3d.train.fields import FieldLearner
from neural3d.train.loop import Budget, TrainingLoop
from neural3d.train.mlp import MlpLearner
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.points_config import PointsConfig

MOMENTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Of the time: when the curves' points are taken, the end aside."""
MLP_VIEWS = 3
"""Held-out views that judge the paper's networks: a frame of theirs takes up to a minute of a core."""
MLP_BACKGROUND = "white"
"""In training, as in the paper, and as they are judged."""


@dataclass(frozen=True)
class Course:
    """What both are trained on, and how they are judged."""

    capture: CaptureSpec
    config: MlpConfig | PointsConfig
    views: int = JUDGED_VIEWS


def measure_mlp_curves(capture: str | None = None, *, seconds: float = 1800.0) -> dict[str, Any]:
    """The paper's networks and their twin, each trained so long on half of the machine.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    config = MlpConfig(max_seconds=seconds, background=MLP_BACKGROUND)
    found = curves_at_once({"ours": MlpLearner, "twin": MlpTwin}, Course(spec, config, MLP_VIEWS))
    told = {"capture": spec.name, "downscale": spec.downscale, "background": config.background}
    return {"table": "mlp", **told, **found, **provenance()}


def curves_at_once(learners: Mapping[str, Callable[..., FieldLearner]], course: Course) -> dict[str, Any]:
    """The curve of each, trained in a process of its own while the others are: what disturbs one disturbs all."""
    threads = max(1, torch.get_num_threads() // len(learners))
    with ProcessPoolExecutor(
        len(learners), mp_context=get_context("spawn"), initializer=_begin_process, initargs=(threads,)
    ) as pool:
        futures = {name: pool.submit(_trained, learner, course) for name, learner in learners.items()}
        return {"threads_each": threads, **{name: future.result() for name, future in futures.items()}}


def _begin_process(threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)


def _trained(kind: Callable[..., FieldLearner], course: Course) -> dict[str, Any]:
    scene = load_capture(course.capture.path, downscale=course.capture.downscale)
    return trained_curve(kind(scene, course.config), course, scene)


def trained_curve(learner: FieldLearner, course: Course, scene: Scene) -> dict[str, Any]:
    """The curve of a training, what its beginning takes included."""
    config = course.config
    seconds = config.max_seconds or 0.0
    moments, started = Moments([part * seconds for part in MOMENTS]), time.perf_counter()
    learner.begin()
    earlier = {"train_seconds": time.perf_counter() - started, "poisoned_steps": 0}
    budget = Budget(config.steps, config.max_seconds, config.checkpoint_seconds)
    ending = TrainingLoop(learner, budget, observers=[moments], earlier=earlier).go()
    spent = time.process_time() - moments.start
    field = learner.snapshot()
    last = Moment(ending.train_seconds, spent, ending.step, field)
    curve = [judged(moment, scene, course.views) for moment in (*moments.kept, last)]
    sizes = {"points": len(field.index)} if isinstance(field, PointsField) else {}
    return {**sizes, **learner.size(), "begin_seconds": earlier["train_seconds"], **curve[-1], "curve": curve}
