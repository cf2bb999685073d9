"""Splats and fields on the same photos for the same time, judged on held-out views."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from neural3d.bench.curves import MLP_VIEWS
from neural3d.bench.machine import provenance
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.render.model import Model, model_render_function
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.fields import FieldConfig, train_field
from neural3d.train.hashgrid_config import HASHGRID_PRESETS
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.points_config import PointsConfig
from neural3d.train.splats import train_splats

ModelName = Literal["splats", "hashgrid", "points", "mlp"]
MODELS: dict[ModelName, SplatConfig | FieldConfig] = {
    "splats": SplatConfig(),
    "points": PointsConfig(),
    "mlp": MlpConfig(),
}
"""As they are trained by default; a hash grid by its preset."""


def measure_side_by_side(
    capture: str | None = None,
    *,
    seconds: float,
    preset: str = "fast",
    downscale: float | None = None,
    models: Sequence[ModelName] = ("splats", "hashgrid"),
    pictures: Path | None = None,
) -> dict[str, Any]:
    """One after the other; the hash grid with the sizes of a preset. Held-out views lie in `pictures` afterwards.

    Raises:
        InputError: There is no such capture.
    """
    spec = chosen_captures(None if capture is None else [capture])[0]
    scene = load_capture(spec.path, downscale=spec.downscale if downscale is None else downscale)
    configs = {**MODELS, "hashgrid": HASHGRID_PRESETS[preset]}
    return {
        "table": "side_by_side",
        "capture": spec.name,
        "downscale": scene.downscale,
        "size_px": list(scene.photos[0].pixels.shape[1::-1]),
        "seconds": seconds,
        "preset": preset,
        "models": {
            name: _judged(
                replace(configs[name], max_seconds=seconds), scene, None if pictures is None else pictures / name
            )
            for name in models
        },
        **provenance(),
    }


def _judged(config: SplatConfig | FieldConfig, scene: Scene, pictures: Path | None) -> dict[str, Any]:
    background, spent = evaluation_background(scene.has_alpha), time.process_time()
    model, steps = _trained(config, scene)
    spent = time.process_time() - spent
    views = MLP_VIEWS if isinstance(config, MlpConfig) else len(scene.test_indices)
    found = evaluate(
        model_render_function(model, background=background),
        scene,
        indices=scene.test_indices[:: max(1, len(scene.test_indices) // views)][:views],
        background=background,
        output=pictures,
    )
    return {
        "psnr": found.mean("psnr"),
        "psnr_color_corrected": found.mean("psnr_color_corrected"),
        "ssim": found.mean("ssim"),
        "views": len(found.views),
        "steps": steps,
        "processor_seconds": spent,
        "seconds_a_frame": 1 / found.render_fps,
    }


def _trained(config: SplatConfig | FieldConfig, scene: Scene) -> tuple[Model, int]:
    if isinstance(config, SplatConfig):
        splats = train_splats(scene, config)
        return splats.gaussians, splats.step
    field = train_field(scene, config)
    return field.field, field.step
