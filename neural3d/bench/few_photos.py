"""The table of few photos: held-out views of a capture, after training on some of its photos alone."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neural3d.bench.machine import provenance
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.evaluation import evaluate
from neural3d.render.splats import render_function
from neural3d.scene import Points, Scene
from neural3d.train.config import FEW_PHOTOS, SplatConfig
from neural3d.train.splats import train_splats

_POINT, _LENGTH = struct.Struct("<Q3d3Bd"), struct.Struct("<Q")


def measure_few_photos(
    capture: Path, points: Path, *, count: int, steps: int, downscale: float, first: int = 0
) -> dict[str, Any]:
    """Train on `count` photos spread over a capture, beginning with the `first`, with and without the preset.

    `points` is a points3D.bin whose tracks say which photos saw a point: those that two of the chosen ones saw are all
    that training is given, as if there were no other photos.

    Raises:
        InputError: The tracks are of other photos.
    """
    scene = few_of(load_capture(capture, downscale=downscale), points, count, first)
    rows = []
    for name, base in (("default", SplatConfig()), ("--few-photos", FEW_PHOTOS)):
        result = train_splats(scene, replace(base, steps=steps, max_seconds=None))
        black = torch.zeros(3)
        found = evaluate(render_function(result.gaussians, background=black), scene, background=black)
        scores = {score: found.mean(score) for score in ("psnr", "psnr_color_corrected", "ssim")}
        rows.append(
            {"settings": name, "num_gaussians": len(result.gaussians), "seconds": result.train_seconds, **scores}
        )
    return {
        "table": "few_photos",
        "photos": [scene.photos[i].name for i in scene.train_indices.tolist()],
        "held_out": len(scene.test_indices),
        "points": len(scene.points.means_world),
        "steps": steps,
        "downscale": downscale,
        "rows": rows,
        **provenance(),
    }


def few_of(scene: Scene, points: Path, count: int, first: int) -> Scene:
    """The scene with `count` training photos, and the points that two of these saw.

    Raises:
        InputError: The tracks are of other photos.
    """
    usable = scene.train_indices.tolist()[first:]
    chosen = sorted({usable[round(k)] for k in np.linspace(0, len(usable) - 1, count)})
    xyz, rgb, tracks = _read_tracks(points)
    image_ids = sorted(set().union(*tracks))
    if len(image_ids) != len(scene.photos):
        raise InputError(f"{points}: its tracks name {len(image_ids)} photos, the capture has {len(scene.photos)}")
    wanted = {image_ids[i] for i in chosen}
    kept = np.array([len(track & wanted) >= 2 for track in tracks])
    means = scene.capture_from_scene.inverse().apply(torch.from_numpy(xyz[kept])).float()
    return replace(
        scene, train_indices=torch.tensor(chosen), points=Points(means, torch.from_numpy(rgb[kept].astype(np.uint8)))
    )


def _read_tracks(path: Path) -> tuple[np.ndarray, np.ndarray, list[set[int]]]:
    content = path.read_bytes()
    (count,) = _LENGTH.unpack_from(content)
    at, xyz, rgb, tracks = _LENGTH.size, [], [], []
    for _ in range(count):
        _, *place, red, green, blue, _error = _POINT.unpack_from(content, at)
        (length,) = _LENGTH.unpack_from(content, at + _POINT.size)
        at += _POINT.size + _LENGTH.size
        tracks.append(set(np.frombuffer(content, "<u4", 2 * length, at)[::2].tolist()))
        at += 8 * length
        xyz.append(place)
        rgb.append((red, green, blue))
    return np.array(xyz), np.array(rgb), tracks
