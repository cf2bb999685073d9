"""The scene frame: the capture's world, moved and uniformly scaled so that the numbers suit float32; never rotated."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from neural3d.capture.listing import PointCloud
from neural3d.capture.poses import MAX_COORDINATE
from neural3d.scene import Points, Similarity

OUTLIER_FACTOR = 5.0
"""A camera further from the middle than this many medians belongs to no walk around a scene."""
MAX_UP_DISAGREEMENT_RAD = math.radians(60)
MAX_STEP = 1e-4
"""Of the capture's radius: coarser steps of its coordinates in float32 can be seen."""


@dataclass(frozen=True)
class SceneFrame:
    """Where the scene frame lies in the capture's world."""

    center: Float64[np.ndarray, "3"]
    unit: float
    """Length of one scene unit in the capture's units."""
    far_cameras: Bool[np.ndarray, "V"]
    """Cameras that are so far from the others that they did not count."""

    @property
    def capture_from_scene(self) -> Similarity:
        """The way back to the capture's own frame and units."""
        return Similarity(self.unit, torch.eye(3, dtype=torch.float64), torch.from_numpy(self.center))


def scene_frame(centers: Float64[np.ndarray, "V 3"], points: PointCloud | None) -> SceneFrame:
    """Centre on the mean of the cameras, take their radius as the unit; those far from the median camera do not count.

    A single camera has no radius: the median distance of the points serves, else 1.
    """
    distances = np.linalg.norm(centers - np.median(centers, axis=0), axis=1)
    apart = distances[distances > 0]
    far = distances > OUTLIER_FACTOR * np.median(apart) if len(apart) else np.zeros(len(centers), dtype=bool)
    center = centers[~far].mean(axis=0)
    unit = float(np.linalg.norm(centers[~far] - center, axis=1).max())
    # Cameras in one place up to rounding: the distances between them say nothing about the scene.
    if unit <= 1e-9 * max(1.0, float(np.abs(center).max())):
        finite = finite_points(points)
        spread = np.linalg.norm(finite.xyz - center, axis=1) if finite is not None else np.ones(1)
        unit, far = float(np.median(spread)) or 1.0, np.zeros(len(centers), dtype=bool)
    return SceneFrame(center, unit, far)


def precision_notes(centers: Float64[np.ndarray, "V 3"], points: PointCloud | None) -> tuple[str, ...]:
    """Whether the capture stands so far from its origin that float32, in which most files are written, is too coarse.

    Training does not mind: the scene's frame lies around the cameras.
    """
    frame = scene_frame(centers, points)
    largest = float(np.abs(frame.center).max())
    step = float(np.spacing(np.float32(largest)))
    if step <= MAX_STEP * frame.unit:
        return ()
    return (
        f"its coordinates are as large as {largest:.3g}, its cameras within {frame.unit:.3g}: files of float32, as "
        f"those of splats and meshes, have places in steps of {step:.2g}; "
        "write the poses with an origin near the cameras",
    )


def finite_points(points: PointCloud | None) -> PointCloud | None:
    """The points whose coordinates are numbers of a sane size, None where there are none."""
    if points is None:
        return None
    finite = (np.abs(points.xyz) <= MAX_COORDINATE).all(axis=1)
    return PointCloud(points.xyz[finite], points.rgb[finite]) if finite.any() else None


def points_in_scene(points: PointCloud | None, frame: SceneFrame) -> Points | None:
    """Points that are finite in float32, in the scene frame."""
    finite = finite_points(points)
    if finite is None:
        return None
    with np.errstate(over="ignore"):
        means_world = ((finite.xyz - frame.center) / frame.unit).astype(np.float32)
    small = np.isfinite(means_world).all(axis=1)
    return Points(torch.from_numpy(means_world[small]), torch.from_numpy(finite.rgb[small].copy()))


def poses_in_scene(poses: Float64[np.ndarray, "V 4 4"], frame: SceneFrame) -> Float[torch.Tensor, "V 4 4"]:
    """camera_from_world for the scene frame; rotations stay as they are."""
    moved = poses.copy()
    moved[:, :3, 3] = (poses[:, :3, 3] + poses[:, :3, :3] @ frame.center) / frame.unit
    return torch.from_numpy(moved.astype(np.float32))


def camera_centers(poses: Float64[np.ndarray, "V 4 4"]) -> Float64[np.ndarray, "V 3"]:
    """Optical centres of camera_from_world."""
    return -np.einsum("vji,vj->vi", poses[:, :3, :3], poses[:, :3, 3])


def scene_up(poses: Float64[np.ndarray, "V 4 4"], world_up: Float64[np.ndarray, "3"] | None) -> torch.Tensor:
    """Unit up vector: the file's convention, unless the photos were held otherwise; else their mean up axis.

    A file's world need not follow its format's convention; people hold cameras upright, on average.
    """
    mean = -poses[:, 1, :3].mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 0.05:
        # Cameras held in all directions: their mean is noise. COLMAP's worlds tend to have y down.
        mean, length = (np.array([0.0, -1.0, 0.0]) if world_up is None else world_up), 1.0
    up = mean / length
    if world_up is not None and math.acos(float(np.clip(up @ world_up, -1, 1))) <= MAX_UP_DISAGREEMENT_RAD:
        up = world_up
    return torch.from_numpy(up.astype(np.float32))
