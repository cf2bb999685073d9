"""Camera paths as files: nerfstudio's camera_path.json, read and written, and the poses of any transforms.json.

Files hold OpenGL camera axes and are in the capture's own frame.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.listing import BadFrame
from neural3d.capture.poses import pose_from_opengl
from neural3d.capture.strict_json import load_json, number
from neural3d.errors import InputError
from neural3d.scene import Similarity
from neural3d.storage import atomic_write_text

FPS = 30.0
SENSOR_WIDTH_MM = 36.0
"""What focal lengths in millimetres refer to where nobody says otherwise: the full frame of photography."""
MAX_SIZE_PX = 16384
MAX_FRAMES = 100_000
MAX_FPS = 1000.0


@dataclass(frozen=True)
class CameraPath:
    """Views in order, and how fast they follow each other in a video."""

    cameras: Cameras
    fps: float
    frames: tuple[int, ...]
    """Their numbers, ascending."""
    sensor_width_mm: float = SENSOR_WIDTH_MM


def load_camera_path(path: str | Path, *, scene_from_capture: Similarity, size_px: tuple[int, int]) -> CameraPath:
    """Read camera_path.json or transforms.json into the scene frame; `size_px` serves where the file names no size.

    Raises: InputError naming the file and the frame.
    Limits: lens distortion in a transforms.json is not rendered; its pinhole is.
    """
    path = Path(path)
    content = load_json(path)
    key = next((key for key in ("camera_path", "frames") if isinstance(content.get(key), list)), None)
    if key is None or not content[key] or len(content[key]) > MAX_FRAMES:
        raise InputError(f"{path}: expected 1 to {MAX_FRAMES} cameras under 'camera_path' or 'frames'; add them")
    views = []
    for index, record in enumerate(content[key]):
        try:
            if not isinstance(record, dict):
                raise BadFrame("it is no JSON object")
            views.append(_view({**content, **record}, size_px))
        except BadFrame as error:
            raise InputError(f"{path}: {key}[{index}]: {error}; correct or remove it") from error
    try:
        fps = number(content, "fps", FPS)
    except BadFrame as error:
        raise InputError(f"{path}: {error}") from error
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"{path}: fps is {fps:g}, expected more than 0, at most {MAX_FPS:g}")
    return CameraPath(_in_scene(path, views, scene_from_capture), fps, _numbers(path, content, len(views)))


def _numbers(path: Path, content: dict[str, Any], count: int) -> tuple[int, ...]:
    """From 0, or from the key of ours that says where; or as another one lists them."""
    numbers = content.get("frame_numbers")
    if numbers is not None:
        rising = rising_numbers(numbers)
        if not rising or len(rising) != count:
            raise InputError(
                f"{path}: frame_numbers: expected {count} whole numbers that rise, one a camera; correct or remove it"
            )
        return rising
    first = content.get("frame_start", 0)
    if not isinstance(first, int) or isinstance(first, bool) or abs(first) >= 10**9:
        raise InputError(f"{path}: frame_start is {first!r}, expected a whole number; correct or remove it")
    return tuple(range(first, first + count))


def rising_numbers(values: object) -> tuple[int, ...]:
    """Numbers of frames as a file has them, with gaps or without; none where they are no whole numbers that rise."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > MAX_FRAMES:
        return ()
    are_numbers = all(type(number) is int and abs(number) < 10**9 for number in values)
    is_rising = are_numbers and all(before < after for before, after in zip(values, values[1:], strict=False))
    return tuple(values) if is_rising else ()


def load_keyframes(path: str | Path, *, scene_from_capture: Similarity, size_px: tuple[int, int]) -> Cameras | None:
    """The key frames of a camera_path.json, in the scene frame; None where it has none.

    Raises: InputError naming the file and the key frame.
    """
    path = Path(path)
    content = load_json(path)
    keys = content.get("keyframes", [])
    if not isinstance(keys, list) or len(keys) > MAX_FRAMES:
        raise InputError(f"{path}: keyframes: expected a list of at most {MAX_FRAMES}; correct or remove it")
    views = []
    for index, key in enumerate(keys):
        try:
            if not isinstance(key, dict):
                raise BadFrame("it is no JSON object")
            views.append(_view({"camera_to_world": key.get("matrix"), "fov": key.get("fov")}, size_px))
        except BadFrame as error:
            raise InputError(f"{path}: keyframes[{index}]: {error}; correct or remove it") from error
    return _in_scene(path, views, scene_from_capture) if views else None


def _in_scene(path: Path, views: "list[FileView]", scene_from_capture: Similarity) -> Cameras:
    try:
        return in_scene(views, scene_from_capture)
    except BadFrame as error:
        raise InputError(f"{path}: {error}; correct or remove it") from error


def save_camera_path(
    path: str | Path,
    cameras: Cameras,
    *,
    capture_from_scene: Similarity,
    fps: float = FPS,
    frames: Sequence[int] | None = None,
    keyframes: Cameras | None = None,
) -> None:
    """Write a camera_path.json that nerfstudio reads too; keys of ours beside its own keep the exact pinhole.

    `frames` are the cameras' numbers, from 0 where they are not given.

    Raises: StorageError.
    """
    entries = _entries(cameras, capture_from_scene)
    keys = [] if keyframes is None else _entries(keyframes, capture_from_scene)
    keys = [{"matrix": key["camera_to_world"], "fov": key["fov"], "aspect": key["aspect"]} for key in keys]
    width, height = cameras.size_px[0].tolist()
    numbers = list(range(len(cameras)) if frames is None else frames)
    content = {
        **{"camera_type": "perspective", "render_width": width, "render_height": height, "fps": fps},
        **{"seconds": len(cameras) / fps, "frame_start": numbers[0], "keyframes": keys, "camera_path": entries},
        **({} if numbers == list(range(numbers[0], numbers[0] + len(numbers))) else {"frame_numbers": numbers}),
    }
    atomic_write_text(Path(path), json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class FileView:
    """One camera of a file, in the file's frame."""

    camera_from_world: Float[Tensor, "4 4"]
    """OpenCV axes, float64."""
    focal_px: tuple[float, float]
    principal_px: tuple[float, float]
    size_px: tuple[int, int]


def _view(record: dict[str, Any], size_px: tuple[int, int]) -> FileView:
    """One camera from its own keys over those of the file."""
    if record.get("camera_type", "perspective") not in ("perspective", "PERSPECTIVE"):
        raise BadFrame(f"camera_type {record['camera_type']!r} is not 'perspective'")
    # A view's own size, to which its focal length in pixels belongs, before the one that the file has for all.
    width = number(record, "w", number(record, "render_width", float(size_px[0])))
    height = number(record, "h", number(record, "render_height", float(size_px[1])))
    for name, value in (("width", width), ("height", height)):
        if value != int(value) or not 1 <= value <= MAX_SIZE_PX:
            raise BadFrame(f"its {name} is {value:g}, expected 1 to {MAX_SIZE_PX} whole pixels")
    name = "camera_to_world" if "camera_to_world" in record else "transform_matrix"
    matrix = record.get(name)
    if isinstance(matrix, list) and len(matrix) == 16:
        matrix = [matrix[4 * row : 4 * row + 4] for row in range(4)]
    pose = torch.from_numpy(pose_from_opengl(matrix, name))
    principal_px = number(record, "cx", width / 2), number(record, "cy", height / 2)
    return FileView(pose, _focal_px(record, width, height), principal_px, (int(width), int(height)))


def _focal_px(record: dict[str, Any], width: float, height: float) -> tuple[float, float]:
    """fl_x and fl_y, else fov (vertical, degrees), else camera_angle_x or _y (radians)."""
    angles_rad = {"x": "camera_angle_x", "y": "camera_angle_y"}
    focal = {axis: number(record, f"fl_{axis}") for axis in "xy" if f"fl_{axis}" in record}
    if not focal and "fov" in record:
        focal["y"] = _focal_from_angle(math.radians(number(record, "fov")), height)
    if not focal:
        sizes = {"x": width, "y": height}
        focal = {a: _focal_from_angle(number(record, key), sizes[a]) for a, key in angles_rad.items() if key in record}
    if not focal:
        raise BadFrame("it has no focal length; add fov (degrees), fl_x (pixels) or camera_angle_x (radians)")
    if min(focal.values()) <= 0:
        raise BadFrame("its focal length is not positive")
    return focal.get("x", focal.get("y", 0.0)), focal.get("y", focal.get("x", 0.0))


def _focal_from_angle(angle_rad: float, size: float) -> float:
    if not 0 < angle_rad < math.pi:
        raise BadFrame(f"its angle of view is {math.degrees(angle_rad):g} degrees, expected more than 0, less than 180")
    return size / 2 / math.tan(angle_rad / 2)


def in_scene(views: list[FileView], scene_from_capture: Similarity) -> Cameras:
    """Rotate and move the poses, and bring them to the type that renderers take.

    Raises: BadFrame where that type cannot hold one of them.
    """
    from_capture = torch.stack([view.camera_from_world for view in views])
    rotation = from_capture[:, :3, :3] @ scene_from_capture.rotation.double().T
    centers = -(from_capture[:, :3, :3].transpose(1, 2) @ from_capture[:, :3, 3:])[:, :, 0]
    camera_from_world = torch.eye(4, dtype=torch.float64).repeat(len(views), 1, 1)
    camera_from_world[:, :3, :3] = rotation
    camera_from_world[:, :3, 3] = -(rotation @ scene_from_capture.apply(centers)[:, :, None])[:, :, 0]
    cameras = Cameras(
        camera_from_world=camera_from_world.float(),
        focal_px=torch.tensor([view.focal_px for view in views], dtype=torch.float32),
        principal_px=torch.tensor([view.principal_px for view in views], dtype=torch.float32),
        size_px=torch.tensor([view.size_px for view in views]),
    )
    fits = cameras.camera_from_world.flatten(1).isfinite().all(1) & cameras.principal_px.isfinite().all(1)
    fits &= (cameras.focal_px.isfinite() & (cameras.focal_px > 0)).all(1)
    if not fits.all():
        raise BadFrame(f"camera {int(fits.int().argmin())}: a place or a focal length is too large or small to render")
    return cameras


def _entries(cameras: Cameras, capture_from_scene: Similarity) -> list[dict[str, Any]]:
    world_from_camera = cameras.world_from_camera.double().cpu()
    rotations = capture_from_scene.rotation.double() @ world_from_camera[:, :3, :3] @ torch.diag(_flip())
    centers = capture_from_scene.apply(world_from_camera[:, :3, 3])
    return [_entry(rotations[i], centers[i], cameras[i]) for i in range(len(cameras))]


def _entry(rotation: Float[Tensor, "3 3"], center: Float[Tensor, "3"], camera: Cameras) -> dict[str, Any]:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = rotation, center
    (fl_x, fl_y), (cx, cy), (width, height) = (
        tensor[0].tolist() for tensor in (camera.focal_px, camera.principal_px, camera.size_px)
    )
    return {
        **{"camera_to_world": matrix.flatten().tolist(), "aspect": width / height},
        **{"fov": math.degrees(2 * math.atan(height / (2 * fl_y)))},
        **{"fl_x": fl_x, "fl_y": fl_y, "cx": cx, "cy": cy, "w": width, "h": height},
    }


def _flip() -> Float[Tensor, "3"]:
    """OpenCV's camera axes to OpenGL's and back."""
    return torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
