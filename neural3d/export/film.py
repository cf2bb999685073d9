"""Cameras as film people write them down: millimetres, a sensor, an optical axis that may miss its middle."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64

from neural3d.capture.listing import BadFrame
from neural3d.capture.poses import pose_from_opengl
from neural3d.errors import InputError
from neural3d.render.camera_files import MAX_FPS, MAX_FRAMES, MAX_SIZE_PX, CameraPath, FileView, in_scene
from neural3d.scene import Similarity

MAX_MM = 1e6
_ROUNDING = 1e-3
"""Of a frame: what float32 seconds lose over an hour."""


@dataclass(frozen=True)
class FilmCamera:
    """One frame of a camera, in the file's frame and units."""

    world_from_camera: Float64[np.ndarray, "4 4"]
    """OpenGL axes: +x right, +y up, looking along -z."""
    focal_mm: float
    sensor_mm: tuple[float, float]
    """Width and height."""
    off_center: tuple[float, float] = (0.0, 0.0)
    """Of the principal point, right and down from the middle, in widths and in heights of the picture."""
    size_px: tuple[int, int] | None = None
    """None where the file does not say."""
    vertical_angle_rad: float | None = None
    """Where the file knows this alone: focal length and sensor's height then follow from the picture's shape."""


@dataclass(frozen=True)
class FilmMove:
    """A camera over time."""

    cameras: tuple[FilmCamera, ...]
    frames: tuple[int, ...]
    fps: float


def film_move(move: CameraPath, capture_from_scene: Similarity) -> FilmMove:
    """Of cameras in the scene's frame; the sensor's height follows from the focal length down the picture."""
    cameras = move.cameras
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    rotations = capture_from_scene.rotation.double() @ cameras.world_from_camera[:, :3, :3].double().cpu() @ flip
    centers = capture_from_scene.apply(cameras.centers_world.double().cpu())
    found = []
    for i in range(len(cameras)):
        (fx, fy), (cx, cy) = cameras.focal_px[i].tolist(), cameras.principal_px[i].tolist()
        width, height = cameras.size_px[i].tolist()
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotations[i].numpy(), centers[i].numpy()
        focal_mm = fx * move.sensor_width_mm / width
        sensor_mm = move.sensor_width_mm, focal_mm * height / fy
        off_center = (cx - width / 2) / width, (cy - height / 2) / height
        found.append(FilmCamera(matrix, focal_mm, sensor_mm, off_center, (width, height)))
    return FilmMove(tuple(found), move.frames, move.fps)


def camera_path(move: FilmMove, scene_from_capture: Similarity, size_px: tuple[int, int]) -> CameraPath:
    """Cameras in the scene's frame; `size_px` serves where the file names no size.

    Then a sensor of another shape is fitted to the picture's width, as programs do that know no size.

    Raises: BadFrame naming the frame.
    """
    if not 1 <= len(move.cameras) <= MAX_FRAMES:
        raise BadFrame(f"it has {len(move.cameras)} frames, expected 1 to {MAX_FRAMES}")
    if not 0 < move.fps <= MAX_FPS:
        raise BadFrame(f"its frame rate is {move.fps:g}, expected more than 0, at most {MAX_FPS:g}")
    views = []
    for number, camera in zip(move.frames, move.cameras, strict=True):
        try:
            views.append(_view(camera, size_px))
        except BadFrame as error:
            raise BadFrame(f"frame {number}: {error}") from error
    return CameraPath(in_scene(views, scene_from_capture), move.fps, move.frames, move.cameras[0].sensor_mm[0])


def _view(camera: FilmCamera, size_px: tuple[int, int]) -> FileView:
    if camera.vertical_angle_rad is not None:
        camera = _with_height(camera, camera.size_px or size_px)
    numbers = (camera.focal_mm, *camera.sensor_mm)
    # Compared alone: whole numbers of a file may be too large to be made floats, and nothing compares with NaN.
    if not all(0 < number <= MAX_MM for number in numbers):
        raise BadFrame("its focal length or sensor is no positive number of millimetres")
    if not all(abs(number) < 100 for number in camera.off_center):
        raise BadFrame("its principal point is nowhere near the picture")
    width, height = camera.size_px or size_px
    if not (1 <= width <= MAX_SIZE_PX and 1 <= height <= MAX_SIZE_PX):
        raise BadFrame(f"its picture has {width} x {height} pixels, expected 1 to {MAX_SIZE_PX}")
    fx = camera.focal_mm / camera.sensor_mm[0] * width
    fy = fx if camera.size_px is None else camera.focal_mm / camera.sensor_mm[1] * height
    if camera.size_px is None:
        # Offsets down are in heights of the sensor, whose pixels are square like the picture's.
        down = camera.off_center[1] * camera.sensor_mm[1] / camera.sensor_mm[0] * width
    else:
        down = camera.off_center[1] * height
    principal_px = width / 2 + camera.off_center[0] * width, height / 2 + down
    pose = torch.from_numpy(pose_from_opengl(unscaled(camera.world_from_camera).tolist(), "world_from_camera"))
    return FileView(pose, (fx, fy), principal_px, (width, height))


def _with_height(camera: FilmCamera, size_px: tuple[int, int]) -> FilmCamera:
    height = camera.sensor_mm[0] * size_px[1] / size_px[0]
    focal_mm = height / 2 / math.tan(camera.vertical_angle_rad / 2)
    return replace(camera, focal_mm=focal_mm, sensor_mm=(camera.sensor_mm[0], height))


def unscaled(matrix: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The same place and turn without a uniform scale, which a parent's units leave behind."""
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3]))) if np.isfinite(matrix).all() else 0.0
    if scale <= 0:
        return matrix
    rigid = matrix.copy()
    rigid[:3, :3] /= scale
    return rigid


def whole_frames(path: object, first: float, last: float) -> range:
    """The whole frames of a range of time.

    Raises: InputError when there are none, or too many.
    """
    if not (math.isfinite(first) and math.isfinite(last) and abs(first) < 1e9 and abs(last) < 1e9):
        raise InputError(f"{path}: its frames go from {first:g} to {last:g}; write the file again")
    frames = range(math.ceil(first - _ROUNDING), math.floor(last + _ROUNDING) + 1)
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise InputError(f"{path}: {len(frames)} whole frames from {first:g} to {last:g}, expected 1 to {MAX_FRAMES}")
    return frames
