"""Cameras and the scene's frame as a run's scene.json keeps them, checked as those of a capture are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.lenses import MAX_COEFFICIENT, MAX_SIDE_PX
from neural3d.capture.listing import BadFrame
from neural3d.capture.poses import MAX_COORDINATE, TOLERANCE, is_sane, nearest_rotation
from neural3d.errors import InputError
from neural3d.scene import Similarity


def cameras_from_json(content: dict[str, Any], names: tuple[str, ...]) -> Cameras:
    """One camera a photo.

    Raises: InputError naming the photo and the field of a camera that no capture could have; KeyError, TypeError,
        ValueError, OverflowError where something is missing or is no list of numbers.
    """
    fields = {field: _rows(content, field, names, *check) for field, check in _CHECKS.items()}
    size_px = torch.tensor(fields.pop("size_px"), dtype=torch.int64)
    return Cameras(
        **{field: torch.tensor(rows, dtype=torch.float32) for field, rows in fields.items()}, size_px=size_px
    )


def frame_from_json(content: dict[str, Any]) -> Similarity:
    """The way from the scene's frame to the capture's.

    Raises: as `cameras_from_json`.
    """
    scale, translation = float(content["scale"]), _numbers(content, "translation", (3,))
    rotation = _numbers(content, "rotation", (3, 3))
    if not 0 < scale <= MAX_COORDINATE:
        raise InputError(f"capture_from_scene: scale is {scale:g}, expected more than 0 and at most {MAX_COORDINATE:g}")
    if fault := _rotation_fault(rotation):
        raise InputError(f"capture_from_scene: rotation: {fault}")
    if not is_sane(translation):
        raise InputError(f"capture_from_scene: translation: expected numbers of at most {MAX_COORDINATE:g}")
    return Similarity(scale, torch.from_numpy(rotation), torch.from_numpy(translation))


def up_from_json(content: dict[str, Any]) -> Float[Tensor, "3"]:
    """What is up in the scene.

    Raises: as `cameras_from_json`.
    """
    up = _numbers(content, "up_world", (3,))
    if not (is_sane(up) and up.any()):
        raise InputError("up_world: expected a direction")
    return torch.tensor(up, dtype=torch.float32)


def _rows(
    content: dict[str, Any],
    field: str,
    names: tuple[str, ...],
    shape: tuple[int, ...],
    fault_of: Callable[[np.ndarray], str | None],
) -> np.ndarray:
    """Numbers of all cameras, each of them checked."""
    rows = _numbers(content, field, (len(names), *shape))
    for name, row in zip(names, rows, strict=True):
        if fault := fault_of(row):
            raise InputError(f"camera of {name}: {field}: {fault}")
    return rows


def _numbers(content: dict[str, Any], field: str, shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    numbers = np.array(content[field], dtype=np.float64)
    if numbers.shape != shape:
        expected, found = (" x ".join(map(str, sizes)) or "one number" for sizes in (shape, numbers.shape))
        raise InputError(f"{field}: expected numbers of shape {expected}, got {found}")
    return numbers


def _pose_fault(pose: Float64[np.ndarray, "4 4"]) -> str | None:
    if not is_sane(pose):
        return f"expected finite numbers of at most {MAX_COORDINATE:g}"
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=TOLERANCE):
        return "its last row is not 0 0 0 1"
    return _rotation_fault(pose[:3, :3])


def _rotation_fault(rotation: Float64[np.ndarray, "3 3"]) -> str | None:
    if not is_sane(rotation):
        return "expected finite numbers"
    try:
        nearest_rotation(rotation)
    except BadFrame as bad:
        return str(bad)
    return None


def _focal_fault(focal_px: Float64[np.ndarray, "2"]) -> str | None:
    fits = (focal_px > 0) & (focal_px <= MAX_COEFFICIENT)
    return None if fits.all() else f"expected more than 0 and at most {MAX_COEFFICIENT:g} pixels"


def _principal_fault(principal_px: Float64[np.ndarray, "2"]) -> str | None:
    fits = np.abs(principal_px) <= MAX_COEFFICIENT
    return None if fits.all() else f"expected finite numbers of at most {MAX_COEFFICIENT:g} pixels"


def _size_fault(size_px: Float64[np.ndarray, "2"]) -> str | None:
    fits = (size_px >= 1) & (size_px <= MAX_SIDE_PX) & (size_px % 1 == 0)
    return None if fits.all() else f"expected whole numbers from 1 to {MAX_SIDE_PX}"


_CHECKS = {
    "camera_from_world": ((4, 4), _pose_fault),
    "focal_px": ((2,), _focal_fault),
    "principal_px": ((2,), _principal_fault),
    "size_px": ((2,), _size_fault),
}
