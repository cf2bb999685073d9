"""Poses as files hold them -> camera_from_world with OpenCV axes, in float64; what is no rigid pose is refused."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from neural3d.capture.listing import BadFrame

MAX_COORDINATE = 1e12
"""Larger numbers are damage: the Earth in micrometres is smaller, and sums of squares stay far from overflow."""
TOLERANCE = 1e-3
"""Of R R^T = 1: text files round their numbers; a wrong pose misses by far more."""


def pose_from_colmap(quat_wxyz: Sequence[float], translation: Sequence[float]) -> Float64[np.ndarray, "4 4"]:
    """camera_from_world of a COLMAP image.

    Raises: BadFrame when it is not finite or the quaternion is not of length 1.
    """
    quat = np.asarray(quat_wxyz, dtype=np.float64)
    if not (np.isfinite(quat).all() and is_sane(np.asarray(translation))):
        raise BadFrame("its pose is not finite")
    length = math.hypot(*quat_wxyz)
    if abs(length - 1.0) > TOLERANCE:
        raise BadFrame(f"its rotation quaternion has length {length:.4g}, expected 1")
    w, x, y, z = quat / length
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    camera_from_world[:3, 3] = translation
    return camera_from_world


def pose_from_opengl(matrix: Any, name: str = "transform_matrix") -> Float64[np.ndarray, "4 4"]:
    """camera_from_world of a `transform_matrix`: 3x4 or 4x4, world from camera, OpenGL axes (y up, z backward).

    `name` is what the file calls it.

    Raises: BadFrame when it is no such matrix, not finite, or its rotation is scaled, skewed or mirrored.
    """
    world_from_camera = _matrix(matrix, name)
    rotation = nearest_rotation(world_from_camera[:3, :3] @ np.diag([1.0, -1.0, -1.0]))
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = rotation.T
    camera_from_world[:3, 3] = -rotation.T @ world_from_camera[:3, 3]
    return camera_from_world


def _matrix(matrix: Any, name: str) -> Float64[np.ndarray, "4 4"]:
    rows = matrix if isinstance(matrix, list) else []
    shape_fits = len(rows) in (3, 4) and all(isinstance(row, list) and len(row) == 4 for row in rows)
    if not shape_fits or not all(_is_number(value) for row in rows for value in row):
        raise BadFrame(f"{name} is no 4x4 matrix of numbers")
    values = np.eye(4)
    values[: len(rows)] = np.array(rows, dtype=np.float64)
    if not is_sane(values):
        raise BadFrame("its pose is not finite")
    if not np.allclose(values[3], [0, 0, 0, 1], atol=TOLERANCE):
        raise BadFrame(f"the last row of {name} is not 0 0 0 1")
    return values


def is_sane(values: np.ndarray) -> bool:
    """Whether all values are finite and no larger than any world."""
    return bool((np.abs(values) <= MAX_COORDINATE).all())


def _is_number(value: Any) -> bool:
    # An integer beyond the range of a float would raise in numpy; it is no coordinate either.
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300)


def nearest_rotation(matrix: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation nearest to a matrix that is one up to rounding in its file.

    Raises: BadFrame when it is scaled, skewed or mirrored.
    """
    deviation = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if deviation > TOLERANCE:
        raise BadFrame(f"its rotation is scaled or skewed (R R^T misses 1 by {deviation:.2g})")
    if np.linalg.det(matrix) < 0:
        raise BadFrame("its rotation is mirrored (determinant -1)")
    left, _, right = np.linalg.svd(matrix)
    return left @ right
