"""The poses tables: how many photos get a pose, how fast, how far from known ones, and what training makes of them."""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from neural3d.bench.machine import provenance
from neural3d.capture import load_capture
from neural3d.capture.alignment import CameraDifference, camera_difference
from neural3d.capture.detect import list_capture
from neural3d.capture.ingest.pipeline import Progress, ingest_photos
from neural3d.capture.ingest.report import Report
from neural3d.capture.ingest.settings import Settings
from neural3d.errors import InputError
from neural3d.evaluation import evaluate
from neural3d.render.splats import render_function
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.splats import train_splats


def measure_poses(
    photos: Path, truth: Path, *, output: Path | None = None, settings: Settings | None = None
) -> dict[str, Any]:
    """Find the poses of a folder of photos anew, and compare them with a capture that knows them.

    Photos are paired by their file's name. `output` keeps the capture.

    Raises:
        InputError: There is nothing to compare, or `output` holds something.
    """
    with TemporaryDirectory() as folder:
        capture = output or Path(folder) / "capture"
        if capture.exists():
            raise InputError(f"{capture}: is there already; name a new folder")
        begun, stages = time.monotonic(), Stages()
        report = ingest_photos(photos, capture, settings, watch=stages)
        seconds = time.monotonic() - begun
        difference = compare_captures(capture, truth)
    return {"table": "poses", **facts(report, difference), "seconds": seconds, "stages": stages.seconds, **provenance()}


class Stages:
    """Seconds that each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Note the latest moment."""
        self.seconds[progress.stage] = progress.seconds


def compare_captures(capture: Path, truth: Path) -> CameraDifference:
    """The cameras of the first capture against those of the second.

    Raises: InputError when fewer than three photos are in both.
    """
    found, known = (
        {Path(f.name).stem: f.camera_from_world for f in list_capture(path).frames} for path in (capture, truth)
    )
    names = sorted(found.keys() & known.keys())
    if len(names) < 3:
        raise InputError(f"{truth}: only {len(names)} of its photos are in {capture}; at least 3 are needed")
    return camera_difference(np.stack([found[name] for name in names]), np.stack([known[name] for name in names]))


def measure_trained_poses(found: Path, known: Path, *, steps: int, downscale: float, seed: int = 0) -> dict[str, Any]:
    """Train on each of two captures of the same photos, and judge both on the photos that the first holds out.

    Raises:
        InputError: A photo of one capture is not in the other.
    """
    captures = {"found": load_capture(found, downscale=downscale), "known": load_capture(known, downscale=downscale)}
    held_out = _names(captures["found"], captures["found"].test_indices.tolist())
    rows = {name: _trained(_split(scene, held_out, path), steps, seed)
            for (name, scene), path in zip(captures.items(), (found, known), strict=True)}  # fmt: skip
    settings = {"steps": steps, "downscale": downscale, "seed": seed, "held_out": len(held_out)}
    return {"table": "trained_poses", "capture": known.resolve().name, **settings, "rows": rows, **provenance()}


def _names(scene: Scene, indices: list[int]) -> set[str]:
    return {Path(scene.photos[i].name).stem for i in indices}


def _split(scene: Scene, held_out: set[str], path: Path) -> Scene:
    """The scene with these photos held out.

    Raises: InputError when one of them is not there.
    """
    if missing := held_out - _names(scene, list(range(len(scene.photos)))):
        raise InputError(f"{path}: has no photo {min(missing)}; both captures must be of the same photos")
    chosen = torch.tensor([Path(photo.name).stem in held_out for photo in scene.photos])
    return replace(scene, train_indices=torch.where(~chosen)[0], test_indices=torch.where(chosen)[0])


def _trained(scene: Scene, steps: int, seed: int) -> dict[str, float]:
    result = train_splats(scene, SplatConfig(steps=steps, max_seconds=None, seed=seed))
    judged = evaluate(render_function(result.gaussians), scene)
    return {score: judged.mean(score) for score in ("psnr", "psnr_color_corrected", "ssim")}


def facts(report: Report, difference: CameraDifference) -> dict[str, Any]:
    """What is kept of one comparison; distances in percent of the extent of the known cameras."""
    return {
        "num_photos": report.num_photos,
        "num_registered": report.num_registered,
        "num_pairs": report.num_pairs,
        "num_points": report.num_points,
        "mapping": report.mapping,
        "reprojection_error_px": report.reprojection_error_px,
        **spread("center_percent", 100 * difference.centers),
        **spread("angle_deg", difference.angles_deg),
    }


def spread(name: str, values: np.ndarray) -> dict[str, float]:
    """Their median and their largest."""
    return {f"{name}_median": float(np.median(values)), f"{name}_max": float(values.max())}
