"""Two reconstructions of the same photos: the similarity between their worlds, and how far their cameras differ."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class CameraDifference:
    """What is left between two sets of cameras once the worlds are aligned."""

    centers: Float64[np.ndarray, "V"]
    """Distances of the centres, in extents of the second set (its largest distance from the mean centre)."""
    angles_deg: Float64[np.ndarray, "V"]
    """Angles between the orientations."""


def fit_similarity(
    source: Float64[np.ndarray, "P 3"], target: Float64[np.ndarray, "P 3"]
) -> tuple[float, Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]:
    """Scale, rotation and translation with target = scale * rotation @ source + translation, by least squares.

    Source: Umeyama 1991, Least-squares estimation of transformation parameters between two point patterns, eq. 40-42.
    Limits: undetermined for fewer than three points, or points on a line.
    """
    middles = source.mean(axis=0), target.mean(axis=0)
    from_middle = source - middles[0], target - middles[1]
    left, sizes, right = np.linalg.svd(from_middle[1].T @ from_middle[0])
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ sign @ right
    scale = float(np.trace(np.diag(sizes) @ sign) / np.square(from_middle[0]).sum())
    return scale, rotation, middles[1] - scale * rotation @ middles[0]


def camera_difference(
    camera_from_first: Float64[np.ndarray, "V 4 4"], camera_from_second: Float64[np.ndarray, "V 4 4"]
) -> CameraDifference:
    """Align the first world to the second by the cameras' centres, and compare camera by camera."""
    centers = [
        -np.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3]) for poses in (camera_from_first, camera_from_second)
    ]
    scale, rotation, translation = fit_similarity(*centers)
    moved = scale * centers[0] @ rotation.T + translation
    extent = float(np.linalg.norm(centers[1] - centers[1].mean(axis=0), axis=1).max())
    between = camera_from_first[:, :3, :3] @ rotation.T @ camera_from_second[:, :3, :3].transpose(0, 2, 1)
    cosines = (np.trace(between, axis1=1, axis2=2) - 1) / 2
    return CameraDifference(
        np.linalg.norm(moved - centers[1], axis=1) / extent, np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    )
