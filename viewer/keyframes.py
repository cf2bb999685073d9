"""A camera path: key frames, and the smooth move through them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from viser.transforms import SO3

from neural3d.cameras import Cameras
from neural3d.viewer.space import View, fov_from_cameras, wxyz_from_cameras

MAX_KEYS = 200


@dataclass(frozen=True)
class Keyframe:
    """A place, a direction and an angle of view, in the scene's frame."""

    wxyz: tuple[float, float, float, float]
    """World from camera, OpenCV axes, unit length."""
    position: tuple[float, float, float]
    fov_rad: float
    """Vertical, in (0, pi)."""


def keyframe_of_view(view: View) -> Keyframe:
    """Where a visitor stands."""
    return Keyframe(view.wxyz, view.position, view.fov_rad)


def keyframes_of_cameras(cameras: Cameras) -> tuple[Keyframe, ...]:
    """What a file says of each."""
    wxyz, fov = wxyz_from_cameras(cameras).tolist(), fov_from_cameras(cameras).tolist()
    places = cameras.centers_world.double().tolist()
    found = [(tuple(turn), tuple(place), angle) for turn, place, angle in zip(wxyz, places, fov, strict=True)]
    return tuple(Keyframe(*key) for key in found)


def cameras_of_keyframes(keys: tuple[Keyframe, ...], size_px: tuple[int, int]) -> Cameras:
    """Pinholes of these pictures' size."""
    width, height = size_px
    turns = np.array([key.wxyz for key in keys], dtype=np.float64)
    camera_from_world = np.tile(np.eye(4), (len(keys), 1, 1))
    rotations = SO3(turns / np.linalg.norm(turns, axis=1, keepdims=True)).as_matrix()
    camera_from_world[:, :3, :3] = rotations.transpose(0, 2, 1)
    places = np.array([key.position for key in keys], dtype=np.float64)
    camera_from_world[:, :3, 3] = -np.einsum("kij,kj->ki", camera_from_world[:, :3, :3], places)
    focal = height / 2 / torch.tan(torch.tensor([key.fov_rad for key in keys]) / 2)
    size = torch.tensor([[width, height]]).repeat(len(keys), 1)
    return Cameras(torch.from_numpy(camera_from_world).float(), focal[:, None].repeat(1, 2).float(), size / 2.0, size)


def path_through(keys: tuple[Keyframe, ...], count: int, *, is_loop: bool = False) -> tuple[Keyframe, ...]:
    """So many key frames evenly in time along the smooth move that passes through all of them.

    Places and the logarithms of focal lengths follow Catmull-Rom splines; rotations do so in the space of quaternions,
    brought back to length one. The last frame of a loop leads into its first.

    Source: Catmull and Rom 1974, A class of local interpolating splines.
    Raises: ValueError without a key frame.
    """
    if not keys:
        raise ValueError("keys: a path needs a key frame at least")
    if len(keys) == 1:
        return keys * count
    points = _as_points(keys)
    spans = len(keys) if is_loop else len(keys) - 1
    last = spans * (1 - 1 / count) if is_loop else spans
    times = np.linspace(0.0, last, count) if count > 1 else np.zeros(1)
    return tuple(_key_at(point) for point in _catmull_rom(points, times, is_loop))


def _as_points(keys: tuple[Keyframe, ...]) -> Float[np.ndarray, "K 8"]:
    """Quaternion, place, logarithm of the focal length; of a rotation's two quaternions the one nearer to the last."""
    quats = np.array([key.wxyz for key in keys], dtype=np.float64)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    for i in range(1, len(quats)):
        if quats[i] @ quats[i - 1] < 0:
            quats[i] = -quats[i]
    focal = [[-math.log(math.tan(key.fov_rad / 2))] for key in keys]
    return np.concatenate([quats, np.array([key.position for key in keys]), np.array(focal)], axis=1)


def _catmull_rom(
    points: Float[np.ndarray, "K 8"], times: Float[np.ndarray, "F"], is_loop: bool
) -> Float[np.ndarray, "F 8"]:
    count = len(points)
    if is_loop:
        first = points[0].copy()
        if first[:4] @ points[-1, :4] < 0:
            first[:4] = -first[:4]  # once round, a rotation may come back as its other quaternion
        last = points[-1].copy()
        last[:4] *= np.sign(first[:4] @ points[0, :4])
        second = points[1].copy()
        second[:4] *= np.sign(first[:4] @ points[0, :4])
        around = np.concatenate([last[None], points, first[None], second[None]])
    else:
        # The ends are mirrored, so that the move begins and ends with the speed that it has beside them.
        around = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    span = np.minimum(times.astype(int), count - 1 if is_loop else count - 2)
    t = (times - span)[:, None]
    before, start, end, after = (around[span + k] for k in range(4))
    slope_start, slope_end = (end - before) / 2, (after - start) / 2
    return (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * slope_start
        + (3 * t**2 - 2 * t**3) * end
        + (t**3 - t**2) * slope_end
    )


def _key_at(point: Float[np.ndarray, "8"]) -> Keyframe:
    w, x, y, z = (point[:4] / np.linalg.norm(point[:4])).tolist()
    place = tuple(point[4:7].tolist())
    return Keyframe((w, x, y, z), (place[0], place[1], place[2]), 2 * math.atan(math.exp(-float(point[7]))))


def thinned(keys: tuple[Keyframe, ...], count: int) -> tuple[Keyframe, ...]:
    """At most `count` of them, spread evenly, the ends included."""
    places = torch.linspace(0, len(keys) - 1, min(count, len(keys))).round().long().tolist()
    return tuple(keys[i] for i in places)
