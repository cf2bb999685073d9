"""The table of refined cameras: a hash grid that is trained on poses that are right, and on poses that are off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neural3d.bench.few_photos import beside, turned_away
from neural3d.bench.machine import provenance
from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.alignment import camera_difference
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.render.fields import field_render_function
from neural3d.scene import Scene
from neural3d.train.fields import train_field
from neural3d.train.hashgrid_config import HASHGRID_PRESETS, HashGridConfig


def measure_refined_cameras(capture: Path, *, steps: int, downscale: float, noise_deg: float) -> dict[str, Any]:
    """Train the preset `fast` for some steps, without and with `--refine-cameras`.

    Once with the poses as they are given, and once with those of the training photos turned by `noise_deg` about random
    axes, and shifted by as large a part of the extent as that is of a radian. Cameras are compared with the given ones,
    and held-out views rendered, once the worlds are aligned by a similarity of the training photos' centres.
    """
    scene, config = load_capture(capture, downscale=downscale), HASHGRID_PRESETS["fast"]
    config = replace(config, steps=steps, max_seconds=None)
    return {
        "table": "refined_cameras",
        "capture": capture.resolve().name,
        "num_train": len(scene.train_indices),
        "held_out": len(scene.test_indices),
        "steps": steps,
        "downscale": downscale,
        "rows": [
            _row(scene, off_deg, replace(config, refine_cameras=refine))
            for off_deg in (0.0, noise_deg)
            for refine in (False, True)
        ],
        **provenance(),
    }


def _row(scene: Scene, off_deg: float, config: HashGridConfig) -> dict[str, Any]:
    """One training: how far cameras are from the given ones before and after, medians, and held-out scores."""
    train = scene.train_indices
    given, shown = scene.cameras[train], turned_away(scene.cameras, train, off_deg, scene.extent)
    result = train_field(replace(scene, cameras=shown), config)
    believed = shown[train] if result.cameras is None else result.cameras
    judged = replace(scene, cameras=beside(scene.cameras, given, believed))
    background = evaluation_background(scene.has_alpha)
    found = evaluate(field_render_function(result.field, background=background), judged, background=background)
    return {
        "poses_off_deg": off_deg,
        "refine_cameras": config.refine_cameras,
        "before": _difference(shown[train], given),
        "after": _difference(believed, given),
        "seconds": result.train_seconds,
        **{score: found.mean(score) for score in ("psnr", "psnr_color_corrected", "ssim")},
    }


def _difference(cameras: Cameras, given: Cameras) -> dict[str, float]:
    found = camera_difference(*(some.camera_from_world.double().numpy() for some in (cameras, given)))
    factors = torch.log(cameras.focal_px / given.focal_px).exp()
    return {
        "angle_deg": float(np.median(found.angles_deg)),
        "center_extents": float(np.median(found.centers)),
        "focal_factor": float(factors.median()),
    }
