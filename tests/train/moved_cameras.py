"""Cameras whose poses are wrong, and how wrong they are."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.alignment import fit_similarity
from neural3d.train.camera_refinement import rotation_of

from .small_scenes import truth


def moved(cameras: Cameras, degrees: float, share: float, seed: int = 1) -> Cameras:
    """Every camera turned and shifted at random by so much."""
    random = torch.Generator().manual_seed(seed)
    poses = cameras.camera_from_world.clone()
    for i, center in enumerate(cameras.centers_world):
        axis, shift = torch.nn.functional.normalize(torch.randn(2, 3, generator=random), dim=1)
        rotation = rotation_of(axis * math.radians(degrees)) @ poses[i, :3, :3]
        poses[i, :3, :3], poses[i, :3, 3] = rotation, -rotation @ (center + share * shift)
    return replace(cameras, camera_from_world=poses)


def picture_error_px(cameras: Cameras, given: Cameras, places: Float[Tensor, "P 3"] | None = None) -> float:
    """How far places, or the small scene's Gaussians, are seen from where they should be; median over the photos.

    The worlds are aligned first.
    """
    places = truth().means_world.double() if places is None else places
    scale, rotation, translation = fit_similarity(*(c.centers_world.double().numpy() for c in (given, cameras)))
    shown = _pixels(given, places)
    found = _pixels(cameras, places @ torch.from_numpy(scale * rotation).T + torch.from_numpy(translation))
    return float(np.median([float((a - b).norm(dim=1).mean()) for a, b in zip(shown, found, strict=True)]))


def _pixels(cameras: Cameras, points: Tensor) -> list[Tensor]:
    poses = cameras.camera_from_world.double()
    seen = [points @ pose[:3, :3].T + pose[:3, 3] for pose in poses]
    return [xyz[:, :2] / xyz[:, 2:] * focal for xyz, focal in zip(seen, cameras.focal_px, strict=True)]
