"""Cameras as JSON for Blender, which docs/vfx/blender_cameras.py reads and writes there.

In Blender's terms: world matrices with the camera looking along -z, lens and sensor in millimetres, shifts in widths of
the picture, resolution in pixels. The world is the file's own: Blender's is z-up, so export with --up z.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from neural3d.capture.listing import BadFrame
from neural3d.capture.strict_json import load_json, number
from neural3d.errors import InputError
from neural3d.export.film import FilmCamera, FilmMove
from neural3d.storage import atomic_write_text

FORMAT = "neural3d cameras"
_MOST = 1e6
"""Of pixels across, of their aspect, and of a shift in widths."""


def write_blender(path: Path, move: FilmMove) -> tuple[str, ...]:
    """Write a move.

    Raises: StorageError.
    """
    width, height = move.cameras[0].size_px or (0, 0)
    frames = [_record(n, c, width, height) for n, c in zip(move.frames, move.cameras, strict=True)]
    content = {
        **{"format": FORMAT, "version": 1, "fps": move.fps},
        **{"resolution": [width, height], "sensor_width_mm": move.cameras[0].sensor_mm[0]},
        **{"pixel_aspect": [1.0, _pixel_height(move.cameras[0])], "frames": frames},
    }
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")
    return ()


def read_blender(path: Path) -> FilmMove:
    """Read a move.

    Raises: InputError naming the file; BadFrame naming the frame.
    """
    content = load_json(path)
    frames, size = content.get("frames"), content.get("resolution")
    if content.get("format") != FORMAT or not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: no {FORMAT!r} file with frames; write it by docs/vfx/blender_cameras.py")
    is_size = isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and 0 < n < _MOST for n in size)
    if not is_size:
        raise InputError(f"{path}: resolution is {size!r}, expected width and height in pixels; write the file again")
    numbers, cameras = [], []
    for index, record in enumerate(frames):
        if not isinstance(record, dict):
            raise BadFrame(f"frames[{index}] is no JSON object")
        numbers.append(int(number(record, "frame")))
        cameras.append(_camera({**content, **record}, (size[0], size[1])))
    if any(b <= a for a, b in zip(numbers, numbers[1:])):
        raise InputError(f"{path}: the frames' numbers do not ascend; write the file again")
    return FilmMove(tuple(cameras), tuple(numbers), number(content, "fps"))


def _record(frame: int, camera: FilmCamera, width: int, height: int) -> dict[str, Any]:
    right, down = camera.off_center
    return {
        "frame": frame,
        "world_from_camera": camera.world_from_camera.tolist(),
        "lens_mm": camera.focal_mm,
        # The picture moves against the principal point; with the sensor fitted across, both count in its width.
        "shift": [-right, down * height * _pixel_height(camera) / width],
    }


def _pixel_height(camera: FilmCamera) -> float:
    """Of a pixel, relative to its width."""
    width, height = camera.size_px or (1, 1)
    return camera.sensor_mm[1] / height * width / camera.sensor_mm[0]


def _camera(record: dict[str, Any], size_px: tuple[int, int]) -> FilmCamera:
    width, height = size_px
    matrix = record.get("world_from_camera")
    try:
        world_from_camera = np.array(matrix, dtype=np.float64).reshape(4, 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFrame(f"frame {record['frame']}: world_from_camera is no 4x4 matrix") from error
    shift, aspect = record.get("shift", [0.0, 0.0]), record.get("pixel_aspect", [1.0, 1.0])
    pairs = {"shift": shift, "pixel_aspect": aspect}
    for name, pair in pairs.items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(n, int | float) for n in pair):
            raise BadFrame(f"frame {record['frame']}: {name} is {pair!r}, expected two numbers")
    if not all(0 < part < _MOST for part in aspect) or not all(abs(part) < _MOST for part in shift):
        raise BadFrame(f"frame {record['frame']}: pixel_aspect {aspect} and shift {shift} are no camera's")
    tall = aspect[1] / aspect[0]
    sensor_width = number(record, "sensor_width_mm")
    off_center = -shift[0], shift[1] * width / (height * tall)
    sensor_mm = sensor_width, sensor_width * height * tall / width
    return FilmCamera(world_from_camera, number(record, "lens_mm"), sensor_mm, off_center, size_px)
