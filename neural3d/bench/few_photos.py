"""The table of few photos: held-out views of a capture, after training on some of its photos alone."""

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neural3d.bench.machine import provenance
from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.alignment import fit_similarity
from neural3d.errors import InputError
from neural3d.evaluation import evaluate
from neural3d.render.splats import render_function
from neural3d.scene import Points, Scene
from neural3d.train.camera_refinement import rotation_of
from neural3d.train.config import FEW_PHOTOS, SplatConfig
from neural3d.train.splats import train_splats

SETTINGS = (
    ("default", SplatConfig()),
    ("--few-photos", replace(FEW_PHOTOS, refine_cameras=False)),
    ("--few-photos --refine-cameras", replace(FEW_PHOTOS, refine_cameras=True)),
)
_POINT, _LENGTH = struct.Struct("<Q3d3Bd"), struct.Struct("<Q")


def measure_few_photos(
    capture: Path, points: Path, *, count: int, steps: int, downscale: float, first: int = 0, noise_deg: float = 0.5
) -> dict[str, Any]:
    """Train on `count` photos spread over a capture, beginning with the `first`, with and without the preset.

    Once with the poses as they are given, and once with those of the training photos turned by `noise_deg` about random
    axes, and shifted by as large a part of the extent as that is of a radian. Held-out views are rendered from where
    they lie beside the training photos' cameras that the model came to believe in: a similarity, which no photo could
    have shown, is not counted against it.

    `points` is a points3D.bin whose tracks say which photos saw a point: those that two of the chosen ones saw are all
    that training is given, as if there were no other photos.

    Raises:
        InputError: The tracks are of other photos.
    """
    scene = few_of(load_capture(capture, downscale=downscale), points, count, first)
    rows = []
    for off_deg in (0.0, noise_deg):
        for name, base in SETTINGS:
            rows.append(_row(scene, off_deg, replace(base, steps=steps, max_seconds=None)) | {"settings": name})
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


def _row(scene: Scene, off_deg: float, config: SplatConfig) -> dict[str, Any]:
    """One training, and its scores on the held-out views."""
    train = scene.train_indices
    shown = replace(scene, cameras=turned_away(scene.cameras, train, off_deg, scene.extent))
    result = train_splats(shown, config)
    believed = shown.cameras[train] if result.cameras is None else result.cameras
    judged = replace(scene, cameras=beside(scene.cameras, scene.cameras[train], believed))
    black = torch.zeros(3)
    found = evaluate(render_function(result.gaussians, background=black), judged, background=black)
    return {
        "poses_off_deg": off_deg,
        "num_gaussians": len(result.gaussians),
        "seconds": result.train_seconds,
        **{score: found.mean(score) for score in ("psnr", "psnr_color_corrected", "ssim")},
    }


def turned_away(cameras: Cameras, indices: Tensor, degrees: float, extent: float, seed: int = 1) -> Cameras:
    """Some of the cameras turned about random axes, and shifted by `extent` times the same angle in radians."""
    random, poses = torch.Generator().manual_seed(seed), cameras.camera_from_world.clone()
    for index in indices.tolist():
        axis, shift = torch.nn.functional.normalize(torch.randn(2, 3, generator=random), dim=1) * math.radians(degrees)
        rotation = rotation_of(axis) @ poses[index, :3, :3]
        poses[index, :3, :3] = rotation
        poses[index, :3, 3] = -rotation @ (cameras.centers_world[index] + extent * shift)
    return replace(cameras, camera_from_world=poses)


def beside(cameras: Cameras, true: Cameras, believed: Cameras) -> Cameras:
    """The cameras moved by the similarity that takes the `true` ones' centres to the `believed` ones'."""
    centers = [some.centers_world.double().numpy() for some in (true, believed)]
    scale, turn, shift = (torch.as_tensor(part, dtype=torch.float64) for part in fit_similarity(*centers))
    poses = cameras.camera_from_world.double().clone()
    moved = scale * cameras.centers_world.double() @ turn.T + shift
    poses[:, :3, :3] = poses[:, :3, :3] @ turn.T
    poses[:, :3, 3] = -torch.einsum("vij,vj->vi", poses[:, :3, :3], moved)
    return replace(cameras, camera_from_world=poses.to(cameras.camera_from_world))


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
