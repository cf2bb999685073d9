"""Splats and a hash grid on the same photos for the same time, judged on all held-out views."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from neural3d.bench.machine import provenance
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.render.model import Model, model_render_function
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.fields import train_field
from neural3d.train.hashgrid_config import HASHGRID_PRESETS
from neural3d.train.splats import train_splats


def measure_side_by_side(
    capture: str | None = None, *, seconds: float, preset: str = "fast", downscale: float | None = None
) -> dict[str, Any]:
    """One after the other, with the sizes of a preset.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    scene = load_capture(spec.path, downscale=spec.downscale if downscale is None else downscale)
    field_config = replace(HASHGRID_PRESETS[preset], max_seconds=seconds)

    def splats() -> tuple[Model, int]:
        found = train_splats(scene, SplatConfig(max_seconds=seconds))
        return found.gaussians, found.step

    def hashgrid() -> tuple[Model, int]:
        found = train_field(scene, field_config)
        return found.field, found.step

    return {
        "table": "side_by_side",
        "capture": spec.name,
        "downscale": scene.downscale,
        "size_px": list(scene.photos[0].pixels.shape[1::-1]),
        "seconds": seconds,
        "preset": preset,
        "models": {"splats": _judged(splats, scene), "hashgrid": _judged(hashgrid, scene)},
        **provenance(),
    }


def _judged(train: Callable[[], tuple[Model, int]], scene: Scene) -> dict[str, Any]:
    background, spent = evaluation_background(scene.has_alpha), time.process_time()
    model, steps = train()
    spent = time.process_time() - spent
    found = evaluate(model_render_function(model, background=background), scene, background=background)
    return {
        "psnr": found.mean("psnr"),
        "psnr_color_corrected": found.mean("psnr_color_corrected"),
        "ssim": found.mean("ssim"),
        "views": len(found.views),
        "steps": steps,
        "processor_seconds": spent,
        "seconds_a_frame": 1 / found.render_fps,
    }
