"""Nuke's .chan: a line a frame with its number, position, three angles and the vertical angle of view.

Angles are in degrees, to be applied about z first, then x, then y (Nuke calls it ZXY); cameras look along -z with y up.
"""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from neural3d.capture.poses import is_sane
from neural3d.errors import InputError
from neural3d.export.film import FilmCamera, FilmMove
from neural3d.render.camera_files import MAX_FRAMES, SENSOR_WIDTH_MM
from neural3d.storage import atomic_write_text

FPS = 24.0
"""The file names no frame rate: this is Nuke's."""
_COLUMNS = 8
_MAX_BYTES = 512 * MAX_FRAMES
_STRAIGHT = 1e-9
"""Cosine of the tilt below which the camera looks straight up or down, and roll is one with heading."""


def write_chan(path: Path, move: FilmMove) -> tuple[str, ...]:
    """Write a move.

    Raises: StorageError.
    """
    turns = np.unwrap(np.array([_angles(c.world_from_camera[:3, :3]) for c in move.cameras]), axis=0)
    lines = []
    for number, camera, angles in zip(move.frames, move.cameras, turns, strict=True):
        values = [*camera.world_from_camera[:3, 3], *np.degrees(angles), _angle_of_view(camera)]
        lines.append(f"{number} " + " ".join(f"{value:.10g}" for value in values))
    atomic_write_text(path, "\n".join(lines) + "\n")
    lost = max(abs(offset) for camera in move.cameras for offset in camera.off_center)
    rate = (f"{path.name}: .chan names no frame rate; it is {move.fps:g} a second",)
    if lost < 1e-6:
        return rate
    return *rate, f"{path.name}: .chan has no principal point; up to {lost:.2%} of the picture is lost, take USD"


def read_chan(path: Path) -> FilmMove:
    """Read a move; the picture's shape, which the file does not name, is that of the render.

    Raises: InputError naming the line.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, more than {MAX_FRAMES} frames; cut it")
    frames, cameras = [], []
    text = path.read_text(encoding="utf-8", errors="replace")
    for count, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            number, camera = _camera(path, count, words)
            frames.append(number)
            cameras.append(camera)
    if not cameras or any(b <= a for a, b in zip(frames, frames[1:])):
        raise InputError(f"{path}: expected a line a frame, numbers ascending; write the file again")
    return FilmMove(tuple(cameras), tuple(frames), FPS)


def _camera(path: Path, line: int, words: list[str]) -> tuple[int, FilmCamera]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) < _COLUMNS or not is_sane(np.array(values)) or values[0] != int(values[0]):
        raise InputError(
            f"{path}: line {line}: expected frame tx ty tz rx ry rz vfov; write the file again, with the angle of view"
        )
    number, position, angles, vfov = int(values[0]), values[1:4], np.radians(values[4:7]), math.radians(values[7])
    if not 0 < vfov < math.pi:
        raise InputError(f"{path}: line {line}: the angle of view is {values[7]:g} degrees, expected 0 to 180")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = _rotation(angles), position
    return number, FilmCamera(matrix, 0.0, (SENSOR_WIDTH_MM, 0.0), vertical_angle_rad=vfov)


def _angle_of_view(camera: FilmCamera) -> float:
    return math.degrees(2 * math.atan(camera.sensor_mm[1] / 2 / camera.focal_mm))


def _angles(rotation: Float64[np.ndarray, "3 3"]) -> tuple[float, float, float]:
    """About x, y, z of R = Ry Rx Rz, radians."""
    sine = -rotation[1, 2]
    cosine = math.hypot(rotation[0, 2], rotation[2, 2])
    x = math.atan2(sine, cosine)
    if cosine < _STRAIGHT:
        return x, math.atan2(-rotation[2, 0], rotation[0, 0]), 0.0
    return x, math.atan2(rotation[0, 2], rotation[2, 2]), math.atan2(rotation[1, 0], rotation[1, 1])


def _rotation(angles: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z
