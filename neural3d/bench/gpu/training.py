"""A training on a capture by one of four trainers: pace, memory, and quality over time on held-out photos."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from neural3d.bench.gpu.gsplat_trainer import PRESETS, Preset, train_with_gsplat
from neural3d.bench.gpu.timing import forget_peak_memory, peak_memory_mib, wait_for
from neural3d.bench.quality import CaptureSpec
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background, photo_colors
from neural3d.metrics import psnr
from neural3d.render.gsplat_view import gsplat_render_function
from neural3d.render.rendering import RenderFn
from neural3d.render.splats import render_function
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.gradients import GradientFn, photo_gradient
from neural3d.train.gsplat_gradients import gsplat_photo_gradient
from neural3d.train.observer import Progress, Request
from neural3d.train.splats import train_splats

MOMENTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
"""Fractions of the steps at which the model is kept, to be judged when the training is over."""
WARM_UP_STEPS = 60
Keep = Callable[[float, int, Callable[[], Gaussians]], None]


@dataclass(frozen=True)
class Snapshot:
    """A model on its way."""

    seconds: float
    step: int
    gaussians: Gaussians


class Snapshots:
    """Keeps the first model after each moment; a `TrainingObserver`, too."""

    def __init__(self, steps: int) -> None:
        self.due = [moment * steps for moment in MOMENTS]
        self.kept: list[Snapshot] = []

    def __call__(self, seconds: float, step: int, snapshot: Callable[[], Gaussians]) -> None:
        """Told after every step, or now and then."""
        if self.due and step >= self.due[0]:
            self.kept.append(Snapshot(seconds, step, snapshot().to("cpu")))  # where it counts as nobody's memory
            self.due = [moment for moment in self.due if moment > step]

    def on_progress(self, progress: Progress, snapshot: Callable[[], Gaussians]) -> None:
        """As training tells it."""
        self(progress.train_seconds, progress.step, snapshot)

    def requested(self) -> Request:
        """Never anything but to go on."""
        return "run"


Trainer = Callable[[Scene, SplatConfig, torch.device, Snapshots], tuple[Gaussians, float]]
"""Returns the model and the seconds of its loop."""


def _ours(
    gradient_of: GradientFn | None, scene: Scene, config: SplatConfig, device: torch.device, snapshots: Snapshots
) -> tuple[Gaussians, float]:
    result = train_splats(scene, config, observers=[snapshots], device=device, gradient_of=gradient_of)
    wait_for(device)
    return result.gaussians, result.train_seconds


def _gsplats(
    preset: Preset, scene: Scene, config: SplatConfig, device: torch.device, snapshots: Snapshots
) -> tuple[Gaussians, float]:
    result = train_with_gsplat(scene, config, preset, device=device, watcher=snapshots)
    return result.gaussians, result.seconds


TRAINERS: dict[str, tuple[Trainer, Callable[..., RenderFn]]] = {
    "native": (partial(_ours, None), render_function),
    "native-exact": (partial(_ours, photo_gradient), render_function),
    "gsplat": (partial(_ours, gsplat_photo_gradient), gsplat_render_function),
    "gsplat-default": (partial(_gsplats, PRESETS["default"]), gsplat_render_function),
    "gsplat-mcmc": (partial(_gsplats, PRESETS["mcmc"]), gsplat_render_function),
}
"""Our trainer with either rasterizer, gsplat's with either strategy; each is judged by the one it trained with.

native-exact waits in the middle of each step for the number of pairs, in the place of planning memory for them.
"""


def measure_training(trainer: str, spec: CaptureSpec, *, steps: int, device: torch.device) -> dict[str, Any]:
    """Train for a number of steps after a few that warm the device up, then judge.

    Limits: how long it takes to read the photos and to place the first Gaussians is told apart, as `setup_seconds`.
    """
    train, renderer = TRAINERS[trainer]
    config = SplatConfig(steps=steps, max_seconds=None, background=spec.background)
    scene = load_capture(spec.path, downscale=spec.downscale)
    train(scene, replace(config, steps=min(WARM_UP_STEPS, steps)), device, Snapshots(1))
    forget_peak_memory(device)
    begun = time.perf_counter()
    snapshots = Snapshots(steps)
    gaussians, seconds = train(scene, config, device, snapshots)
    whole_seconds, memory = time.perf_counter() - begun, peak_memory_mib(device)
    background = evaluation_background(scene.has_alpha, spec.background)
    points = [_point(s.seconds, s.step, s.gaussians.to(device), scene, renderer) for s in snapshots.kept]
    judged = evaluate(renderer(gaussians, background=background), scene, background=background)
    means = {name: judged.mean(name) for name in ("psnr", "psnr_color_corrected", "ssim")}
    points.append(Point(seconds, steps, len(gaussians), means["psnr"]))
    return {
        "trainer": trainer,
        "capture": spec.name,
        "photo_size_px": list(scene.photos[0].pixels.shape[1::-1]),
        "num_photos": len(scene.train_indices),
        "num_views": len(judged.views),
        "steps": steps,
        "seconds": seconds,
        "setup_seconds": whole_seconds - seconds,
        "steps_per_second": steps / seconds,
        "num_gaussians": len(gaussians),
        "peak_memory_mib": memory,
        **means,
        "curve": [asdict(point) for point in points],
    }


@dataclass(frozen=True)
class Point:
    """The model at one moment of its training, on the held-out views."""

    seconds: float
    step: int
    num_gaussians: int
    psnr: float


def _point(seconds: float, step: int, gaussians: Gaussians, scene: Scene, renderer: Callable[..., RenderFn]) -> Point:
    background = evaluation_background(scene.has_alpha)
    render = renderer(gaussians, background=background)
    scores = []
    for index in scene.test_indices.tolist():
        photo = scene.photos[index]
        image = render(scene.cameras[index]).colors[0].cpu()
        scores.append(psnr(image, photo_colors(photo, background), photo.valid))
    return Point(seconds, step, len(gaussians), sum(scores) / len(scores))
