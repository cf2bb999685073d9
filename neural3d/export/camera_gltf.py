"""Cameras of glTF 2.0: a node with a perspective camera, moved by an animation; time 0 is the first frame.

glTF knows the vertical angle and the picture's shape, no principal point, and no angle that changes. What it lacks is
kept beside it in `extras`, which this program reads back and others leave alone.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural3d.errors import InputError
from neural3d.export.film import FilmCamera, FilmMove, whole_frames
from neural3d.export.frames import quat_wxyz
from neural3d.export.glb import BINARY_CHUNK, CHUNK_HEADER, FLOAT, HEADER, JSON_CHUNK, MAGIC
from neural3d.export.gltf_reader import GltfFile, accessor_column, list_of, node_matrix, open_gltf
from neural3d.render.camera_files import FPS, SENSOR_WIDTH_MM, rising_numbers
from neural3d.storage import atomic_write

_MAX_DEPTH = 64
_LARGEST = 1e12
_PROPERTIES = ("translation", "rotation", "scale")


def write_gltf_cameras(path: Path, move: FilmMove) -> tuple[str, ...]:
    """Write a move as .glb; or as .gltf, with the numbers inside it.

    Raises: StorageError.
    """
    times = (np.array(move.frames, np.float64) - move.frames[0]) / move.fps
    poses = np.stack([camera.world_from_camera for camera in move.cameras])
    arrays = [times[:, None], poses[:, :3, 3], _continuous_quats(poses[:, :3, :3])]
    binary = b"".join(array.astype("<f4").tobytes() for array in arrays)
    content = _description(move, arrays)
    data = _glb(content, binary) if path.suffix.lower() == ".glb" else _gltf(content, binary)
    atomic_write(path, lambda temporary: temporary.write_bytes(data), estimate_bytes=len(data))
    return _losses(path, move)


def read_gltf_cameras(path: Path) -> FilmMove:
    """Read the move of the file's one camera at whole frames, with the linear, stepped and cubic curves of glTF.

    Raises: InputError when there is none, or more than one, or when the file is damaged.
    Limits: sizes that are animated are not.
    """
    file = open_gltf(path)
    chain, camera = _one_camera(file)
    lens = file.item("cameras", camera.get("camera"))
    perspective, extras = lens.get("perspective"), camera.get("extras")
    if not isinstance(perspective, dict):
        raise InputError(f"{path}: its camera has no perspective; give a perspective camera")
    extras = extras if isinstance(extras, dict) else {}
    fps, first = _number(path, extras, "fps", FPS), int(_number(path, extras, "frame_start", 0.0))
    if fps <= 0:
        raise InputError(f"{path}: its camera's fps is {fps:g}; expected a frame rate above 0")
    curves = _curves(file)
    end = max((float(curve.times[-1]) for curve in curves.values()), default=0.0)
    frames, film = _film(extras)
    if not frames:
        frames = tuple(whole_frames(path, float(first), first + end * fps))
    cameras = tuple(_at(file, chain, curves, perspective, extras, film.get(n), (n - first) / fps) for n in frames)
    return FilmMove(cameras, frames, fps)


def _film(extras: dict[str, Any]) -> tuple[tuple[int, ...], dict[int, Any]]:
    """The frames' numbers and what film each has, as kept beside the camera by this program; none in other files."""
    numbers, film = rising_numbers(extras.get("frames")), list_of(extras.get("film"))
    return (numbers, dict(zip(numbers, film, strict=True))) if len(numbers) == len(film) else ((), {})


class _Curve:
    """Values over time of one property of one node."""

    def __init__(self, times: np.ndarray, values: np.ndarray, kind: str, is_turn: bool) -> None:
        self.times, self.values, self.kind, self.is_turn = times, values, kind, is_turn

    def at(self, time: float) -> np.ndarray:
        """Held before the first key and after the last.

        Source: glTF 2.0, appendix C.
        """
        keys = self.values[1::3] if self.kind == "CUBICSPLINE" else self.values
        time = float(np.float32(time))  # as the file has its times: a frame that has a key must not fall before it
        right = int(np.searchsorted(self.times, time, side="right"))
        if right == 0 or right == len(self.times):
            return keys[0 if right == 0 else -1]
        left, span = right - 1, float(self.times[right] - self.times[right - 1])
        share = (time - float(self.times[left])) / span
        if self.kind == "STEP":
            return keys[left]
        if self.kind == "CUBICSPLINE":
            return self._cubic(left, share, span)
        a, b = keys[left], keys[right]
        return _slerp(a, b, share) if self.is_turn else a + (b - a) * share

    def _cubic(self, left: int, t: float, span: float) -> np.ndarray:
        v, out_tangent = self.values[3 * left + 1], self.values[3 * left + 2]
        in_tangent, w = self.values[3 * left + 3], self.values[3 * left + 4]
        value = (2 * t**3 - 3 * t**2 + 1) * v + span * (t**3 - 2 * t**2 + t) * out_tangent
        value = value + (-2 * t**3 + 3 * t**2) * w + span * (t**3 - t**2) * in_tangent
        return value / np.linalg.norm(value) if self.is_turn else value


def _slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    cosine = float(a @ b)
    b, cosine = (b, cosine) if cosine >= 0 else (-b, -cosine)
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-6:
        value = a + (b - a) * share
    else:
        value = (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)
    return value / np.linalg.norm(value)


def _description(move: FilmMove, arrays: list[np.ndarray]) -> dict[str, Any]:
    first = move.cameras[0]
    lens = {"yfov": _yfov(first), "aspectRatio": first.sensor_mm[0] / first.sensor_mm[1], "znear": 0.001}
    frames = [[c.focal_mm, *c.sensor_mm, *c.off_center] for c in move.cameras]
    extras = {"fps": move.fps, "frame_start": move.frames[0], "frames": list(move.frames), "film": frames}
    if first.size_px is not None:
        extras["size_px"] = list(first.size_px)
    offsets = np.cumsum([0, *(array.size * 4 for array in arrays)]).tolist()
    views = [{"buffer": 0, "byteOffset": o, "byteLength": a.size * 4} for o, a in zip(offsets, arrays)]
    kinds = ("SCALAR", "VEC3", "VEC4")
    accessors: list[dict[str, Any]] = [
        {"bufferView": i, "componentType": FLOAT, "count": len(a), "type": kind}
        for i, (a, kind) in enumerate(zip(arrays, kinds, strict=True))
    ]
    times = arrays[0].astype(np.float32)
    accessors[0] |= {"min": [float(times.min())], "max": [float(times.max())]}
    samplers = [{"input": 0, "output": i, "interpolation": "LINEAR"} for i in (1, 2)]
    channels = [
        {"sampler": i, "target": {"node": 0, "path": name}} for i, name in enumerate(("translation", "rotation"))
    ]
    return {
        "asset": {"version": "2.0", "generator": "neural3d"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "camera", "camera": 0, "extras": extras, **_rest(arrays)}],
        "cameras": [{"type": "perspective", "perspective": lens}],
        "animations": [{"name": "camera", "samplers": samplers, "channels": channels}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offsets[-1]}],
    }


def _rest(arrays: list[np.ndarray]) -> dict[str, Any]:
    """Where the node is when nobody plays the animation."""
    return {"translation": arrays[1][0].tolist(), "rotation": arrays[2][0].tolist()}


def _glb(content: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = CHUNK_HEADER.pack(len(text), JSON_CHUNK) + text + CHUNK_HEADER.pack(len(binary), BINARY_CHUNK) + binary
    return HEADER.pack(MAGIC, 2, HEADER.size + len(chunks)) + chunks


def _gltf(content: dict[str, Any], binary: bytes) -> bytes:
    content["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    return json.dumps(content, indent=1).encode() + b"\n"


def _losses(path: Path, move: FilmMove) -> tuple[str, ...]:
    lost = []
    if max(abs(offset) for camera in move.cameras for offset in camera.off_center) > 1e-6:
        lost.append(f"{path.name}: glTF has no principal point; other programs will not see it, take USD")
    if max(abs(_yfov(camera) - _yfov(move.cameras[0])) for camera in move.cameras) > 1e-6:
        lost.append(f"{path.name}: glTF has one angle of view; other programs will see the first frame's, take USD")
    return tuple(lost)


def _yfov(camera: FilmCamera) -> float:
    return 2 * math.atan(camera.sensor_mm[1] / 2 / camera.focal_mm)


def _one_camera(file: GltfFile) -> tuple[list[int], dict[str, Any]]:
    """Numbers of the nodes from the scene down to the one with the camera, and that node."""
    scene = file.item("scenes", file.content.get("scene", 0))
    waiting = [[index] for index in list_of(scene.get("nodes"))]
    found = []
    while waiting:
        chain = waiting.pop()
        node = file.item("nodes", chain[-1])
        if len(chain) > _MAX_DEPTH:
            raise InputError(f"{file.path}: its nodes are nested without end; the file is damaged")
        if "camera" in node:
            found.append((chain, node))
        waiting += [[*chain, child] for child in list_of(node.get("children"))]
    if len(found) != 1:
        raise InputError(f"{file.path}: {len(found)} cameras in its scene; export one camera alone")
    return found[0]


def _curves(file: GltfFile) -> dict[tuple[int, str], _Curve]:
    """By node and property, of all animations."""
    curves = {}
    for number in range(len(list_of(file.content.get("animations")))):
        animation = file.item("animations", number)
        samplers = GltfFile(file.path, animation, file.binary)
        for channel in list_of(animation.get("channels")):
            target = channel.get("target") if isinstance(channel, dict) else None
            name, node = (target.get("path"), target.get("node")) if isinstance(target, dict) else (None, None)
            if name in _PROPERTIES and isinstance(node, int):
                sampler = samplers.item("samplers", channel.get("sampler"))
                curves[node, name] = _curve(file, sampler, name == "rotation")
    return curves


def _curve(file: GltfFile, sampler: dict[str, Any], is_turn: bool) -> _Curve:
    times, values = (accessor_column(file, sampler.get(name)).values(0, 1 << 24) for name in ("input", "output"))
    kind = sampler.get("interpolation", "LINEAR")
    expected = len(times) * (3 if kind == "CUBICSPLINE" else 1)
    is_good = len(times) > 0 and len(values) == expected and bool((np.diff(times[:, 0]) > 0).all())
    if not is_good or not np.isfinite(values).all() or not np.isfinite(times).all():
        raise InputError(f"{file.path}: an animation's times and values do not fit; write the file again")
    return _Curve(times[:, 0].astype(np.float64), values.astype(np.float64), kind, is_turn)


def _at(
    file: GltfFile,
    chain: list[int],
    curves: dict[tuple[int, str], _Curve],
    perspective: dict[str, Any],
    extras: dict[str, Any],
    film: object,
    time: float,
) -> FilmCamera:
    """One frame, at a time in seconds, with the film that is kept of it."""
    world = np.eye(4)
    for number in chain:
        node = file.item("nodes", number)
        moved = {name: curves[number, name].at(time).tolist() for name in _PROPERTIES if (number, name) in curves}
        # An animated node has no matrix; what is not animated of it stays.
        still = {name: node[name] for name in _PROPERTIES if name in node} if moved else node
        world = world @ node_matrix(file, {**still, **moved})
    size = extras.get("size_px")
    size_px = (size[0], size[1]) if _are_numbers(size, 2) and all(isinstance(n, int) for n in size) else None
    if _are_numbers(film, 5):
        focal_mm, width, height, right, down = film
        return FilmCamera(world, focal_mm, (width, height), (right, down), size_px)
    yfov = _number(file.path, perspective, "yfov", None)
    if not 0 < yfov < math.pi:
        raise InputError(f"{file.path}: the camera's yfov is {yfov:g}, expected radians between 0 and pi")
    return FilmCamera(world, 0.0, (SENSOR_WIDTH_MM, 0.0), size_px=size_px, vertical_angle_rad=yfov)


def _are_numbers(values: object, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(v, int | float) for v in values)


def _number(path: Path, record: dict[str, Any], name: str, default: float | None) -> float:
    value = record.get(name, default)
    # Compared, and not asked whether it is finite: whole numbers of a file may be too large to be made floats.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise InputError(f"{path}: {name} is {value!r}, expected a number; write the file again")
    if abs(value) > _LARGEST:
        raise InputError(f"{path}: {name} is larger than {_LARGEST:g}; write the file again")
    return float(value)


def _continuous_quats(rotations: Float64[np.ndarray, "F 3 3"]) -> Float64[np.ndarray, "F 4"]:
    """xyzw, each on the side of the one before it, so that programs turn the short way between frames."""
    quats = np.stack([_quat(rotation) for rotation in rotations])
    for i in range(1, len(quats)):
        if quats[i] @ quats[i - 1] < 0:
            quats[i] *= -1
    return quats


def _quat(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    w, x, y, z = quat_wxyz(torch.from_numpy(rotation)).tolist()
    return np.array([x, y, z, w])
