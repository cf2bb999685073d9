"""The quality table: PSNR on held-out views over training time, on real captures."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

import neural3d
from neural3d.bench.children import call_in_new_process
from neural3d.bench.machine import peak_memory_bytes, provenance
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.evaluation import evaluate, evaluation_background, photo_colors
from neural3d.metrics import psnr, psnr_color_corrected
from neural3d.render.rendering import RenderFn
from neural3d.render.splats import render_function
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.observer import Progress, Request
from neural3d.train.splats import TrainResult, train_splats

DATA_VARIABLE = "NEURAL3D_DATA"
MOMENTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4)
"""Of the training time: when the curve's points are taken, the end aside."""
GIB = 2**30


@dataclass(frozen=True)
class CaptureSpec:
    """What to train on, and how long."""

    name: str
    path: str
    downscale: float
    background: Literal["auto", "white", "black"]
    seconds: float


@dataclass(frozen=True)
class CurvePoint:
    """The model at one moment of its training, on the held-out views."""

    seconds: float
    step: int
    num_gaussians: int
    psnr: float
    psnr_color_corrected: float


@dataclass(frozen=True)
class Snapshot:
    """A model on its way."""

    seconds: float
    step: int
    gaussians: Gaussians


class Snapshots:
    """A `TrainingObserver` that keeps the model at given moments, to be judged when the training is over."""

    def __init__(self, moments_s: Sequence[float]) -> None:
        self.due = sorted(moments_s)
        self.kept: list[Snapshot] = []

    def on_progress(self, progress: Progress, snapshot: Callable[[], Gaussians]) -> None:
        """Keep the first model after each moment."""
        if self.due and progress.train_seconds >= self.due[0]:
            self.kept.append(Snapshot(progress.train_seconds, progress.step, snapshot()))
            self.due = [moment for moment in self.due if moment > progress.train_seconds]

    def requested(self) -> Request:
        """Never anything but to go on."""
        return "run"


def measure_quality(
    captures: Sequence[str] | None = None, *, seconds: float | None = None, config: SplatConfig = SplatConfig()
) -> dict[str, Any]:
    """Train on each capture in a process of its own, then judge; the means over the captures come first.

    `captures` are names of `known_captures`, by default all but the bundled one, or that one alone where
    NEURAL3D_DATA is not set. `seconds` of training replaces each capture's own.

    Raises:
        InputError: There is no such capture.
    """
    specs = chosen_captures(captures)
    if seconds is not None:
        specs = [replace(spec, seconds=seconds) for spec in specs]
    results = {spec.name: _in_new_process(spec, config) for spec in specs}
    means = {key: fmean(r[key] for r in results.values()) for key in ("psnr", "psnr_color_corrected", "ssim", "flip")}
    peaks = [r["peak_rss_gib"] for r in results.values()]
    return {
        "table": "quality",
        **means,
        "seconds": sum(r["seconds"] for r in results.values()),
        "peak_rss_gib": None if None in peaks else max(peaks),
        "curve": {name: r["curve"] for name, r in results.items()},
        "captures": results,
        **provenance(),
    }


def known_captures() -> dict[str, CaptureSpec]:
    """Those of NEURAL3D_DATA where it is set, and the bundled one, as installed or in the source tree."""
    specs = []
    if DATA_VARIABLE in os.environ:
        data = Path(os.environ[DATA_VARIABLE])
        specs.append(CaptureSpec("nerf_synthetic_mic", str(data / "nerf_synthetic_mic"), 2.0, "white", 300.0))
        specs.append(CaptureSpec("snowmiku", str(data / "snowmiku"), 2.0, "auto", 120.0))
    package = Path(neural3d.__file__).parent
    found = sorted(path for root in (package, package.parent) for path in root.glob("scenes/*/transforms*.json"))
    for path in (path.parent for path in found[:1]):
        specs.append(CaptureSpec("bundled", str(path), 1.0, "auto", 60.0))
    return {spec.name: spec for spec in specs}


def chosen_captures(names: Sequence[str] | None) -> list[CaptureSpec]:
    """Captures by name, see `measure_quality`.

    Raises:
        InputError: There is no such capture, or none at all, or its folder is missing.
    """
    known = known_captures()
    if names is None:
        names = [name for name in known if name != "bundled"] or list(known)
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise InputError(
            f"bench: no capture {', '.join(missing) or 'at all'}; set {DATA_VARIABLE} to the folder that holds "
            f"nerf_synthetic_mic and snowmiku, or choose among: {', '.join(known) or 'none'}"
        )
    specs = [known[name] for name in names]
    if gone := [spec.path for spec in specs if not Path(spec.path).is_dir()]:
        raise InputError(f"bench: there is no folder {gone[0]}; set {DATA_VARIABLE} to the folder that holds it")
    return specs


def train_and_judge(spec: CaptureSpec, config: SplatConfig = SplatConfig()) -> dict[str, Any]:
    """One capture: its curve, and everything about its last point."""
    config = replace(config, max_seconds=spec.seconds, background=spec.background)
    scene = load_capture(spec.path, downscale=spec.downscale)
    snapshots = Snapshots([fraction * spec.seconds for fraction in MOMENTS])
    result = train_splats(scene, config, observers=[snapshots])
    peak_bytes = peak_memory_bytes()
    kept_bytes = sum(_size_bytes(snapshot.gaussians) for snapshot in snapshots.kept)
    background = evaluation_background(scene.has_alpha, spec.background)
    points = [_judged(snapshot, scene, background) for snapshot in snapshots.kept]
    return {
        **_judged_wholly(result, scene, background, points),
        "peak_rss_gib": None if peak_bytes is None else peak_bytes / GIB,
        "snapshots_gib": kept_bytes / GIB,
        **{key: value for key, value in asdict(spec).items() if key not in ("path", "seconds")},
        "seconds_asked": spec.seconds,
        "photo_size_px": list(scene.photos[0].pixels.shape[1::-1]),
    }


def _judged_wholly(
    result: TrainResult, scene: Scene, background: Float[Tensor, "3"], points: list[CurvePoint]
) -> dict[str, Any]:
    evaluation = evaluate(render_function(result.gaussians, background=background), scene, background=background)
    means = {key: value for key, value in evaluation.to_json().items() if key not in ("views", "skipped")}
    last = CurvePoint(
        result.train_seconds, result.step, len(result.gaussians), means["psnr"], means["psnr_color_corrected"]
    )
    return {
        **means,
        "seconds": result.train_seconds,
        "steps": result.step,
        "num_gaussians": len(result.gaussians),
        "curve": [asdict(point) for point in (*points, last)],
    }


def _judged(snapshot: Snapshot, scene: Scene, background: Float[Tensor, "3"]) -> CurvePoint:
    render = render_function(snapshot.gaussians, background=background)
    scores = [_psnrs(render, scene, index, background) for index in scene.test_indices.tolist()]
    plain, corrected = (fmean(column) for column in zip(*scores, strict=True))
    return CurvePoint(snapshot.seconds, snapshot.step, len(snapshot.gaussians), plain, corrected)


def _psnrs(render: RenderFn, scene: Scene, index: int, background: Float[Tensor, "3"]) -> tuple[float, float]:
    photo = scene.photos[index]
    image, expected = render(scene.cameras[index]).colors[0], photo_colors(photo, background)
    return psnr(image, expected, photo.valid), psnr_color_corrected(image, expected, photo.valid)


def _size_bytes(gaussians: Gaussians) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in gaussians.tensors().values())


def _in_new_process(spec: CaptureSpec, config: SplatConfig) -> dict[str, Any]:
    """So that neither memory nor warm caches of one capture show in the next one's numbers."""
    return call_in_new_process(_with_threads, torch.get_num_threads(), spec, config)


def _with_threads(threads: int, spec: CaptureSpec, config: SplatConfig) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return train_and_judge(spec, config)
