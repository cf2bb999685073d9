"""Where the cameras stand: a spiral around the tray, and some close-ups. Poses are OpenGL's, world from camera."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FOCAL_OVER_WIDTH = 1.375
"""Focal length in image widths: a field of view of 40 degrees."""

CLOSE_UPS = (
    # target, azimuth and elevation in degrees, distance
    ((0.10, -0.25, 0.25), -62, 24, 2.1),
    ((0.40, 0.35, 0.30), 20, 38, 1.9),
    ((0.55, -0.25, 0.10), -30, 30, 1.8),
    ((-0.35, 0.35, 0.85), 115, 12, 2.0),
    ((-0.55, -0.30, 0.15), -140, 26, 1.9),
    ((-0.10, -0.10, 0.35), 175, 34, 2.0),
    ((-0.20, 0.30, 0.90), -70, 22, 2.1),
    ((0.40, 0.40, 0.25), 75, 18, 2.0),
    ((0.05, -0.60, 0.00), -85, 42, 1.9),
    ((0.10, 0.60, 0.10), 95, 48, 2.0),
    ((-0.55, 0.10, 0.20), 160, 14, 2.0),
    ((0.30, -0.10, 0.15), -15, 58, 2.0),
)


@dataclass(frozen=True)
class View:
    """One picture to take."""

    name: str
    world_from_camera: Float[np.ndarray, "4 4"]
    is_test: bool


def all_views(seed: int, around: int = 58) -> list[View]:
    """The spiral, then the close-ups; every 7th, starting with the fourth, is held out."""
    poses = [*_spiral(np.random.default_rng(seed), around), *(_look_from(*shot) for shot in CLOSE_UPS)]
    return [View(f"{i:03d}", pose, i % 7 == 3) for i, pose in enumerate(poses)]


def _spiral(rng: np.random.Generator, count: int, turns: float = 5.37) -> list[Float[np.ndarray, "4 4"]]:
    """From just above the table's plane to almost overhead; distance and aim vary a little."""
    poses = []
    for part in (np.arange(count) + 0.5) / count:
        target = np.array([0.0, 0.0, 0.42 - 0.12 * part]) + rng.uniform(-0.05, 0.05, 3)
        poses.append(_look_from(target, 360 * turns * part - 60, 3 + 71 * part**1.1, rng.uniform(3.25, 3.6)))
    return poses


def _look_from(
    target: Float[np.ndarray, "3"] | tuple[float, float, float],
    azimuth_deg: float,
    elevation_deg: float,
    distance: float,
) -> Float[np.ndarray, "4 4"]:
    """A camera in this direction from its target, the horizon level."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    back = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = np.asarray(target) + distance * back
    return pose
