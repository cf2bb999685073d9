"""The files of a COLMAP model, binary or text: cameras, images, points3D.

`rigs` and `frames`, which newer versions write beside them, repeat what images says: each image has its own pose there.

Source: COLMAP, scene/reconstruction_io_binary.cc and reconstruction_io_text.cc.
"""

import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural3d.capture.camera_models import COLMAP_MODELS, SUPPORTED_MODELS
from neural3d.capture.lenses import Lens, lens_from_colmap, unsupported
from neural3d.capture.listing import PointCloud
from neural3d.capture.panoramas import EQUIRECTANGULAR, panorama_lens
from neural3d.errors import InputError, said

_MIN_CAMERA_BYTES = 24
_MIN_IMAGE_BYTES = 73
_MIN_POINT_BYTES = 51


@dataclass(frozen=True)
class ColmapImage:
    """One registered image, as the file has it."""

    name: str
    camera_id: int
    quat_wxyz: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class ColmapModel:
    """One reconstruction."""

    folder: Path
    suffix: str
    cameras: dict[int, Lens | str]
    """The lens, or why there is none."""
    images: tuple[ColmapImage, ...]


def model_suffix(folder: Path) -> str | None:
    """`.bin` or `.txt` when the folder holds a model, binary first."""
    for suffix in (".bin", ".txt"):
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


def read_model(folder: Path, suffix: str) -> ColmapModel:
    """Read cameras and images.

    Raises: InputError for files that end early, claim more than they hold, or hold what is no model.
    """
    read_cameras, read_images = (_cameras_binary, _images_binary) if suffix == ".bin" else (_cameras_text, _images_text)
    return ColmapModel(
        folder, suffix, read_cameras(folder / f"cameras{suffix}"), tuple(read_images(folder / f"images{suffix}"))
    )


def count_images(folder: Path, suffix: str) -> int:
    """How many images a model registers; cheap for binary models.

    Raises: InputError when the file cannot hold that many.
    """
    path = folder / f"images{suffix}"
    if suffix == ".txt":
        return sum(1 for _ in _images_text(path))
    with _open_binary(path) as content:
        return content.count(_MIN_IMAGE_BYTES, "images")


def read_points(folder: Path, suffix: str) -> PointCloud | None:
    """Points with colours, None when the model has no such file.

    Raises: InputError, before memory is taken, when the header claims more points than the file can hold.
    """
    path = folder / f"points3D{suffix}"
    if not path.is_file():
        return None
    return _points_binary(path) if suffix == ".bin" else _points_text(path)


class _Binary:
    """A little-endian file, read front to back, that says where it ends early."""

    def __init__(self, path: Path, content: mmap.mmap | bytes) -> None:
        self.path = path
        self.content = content
        self.at = 0

    def read(self, layout: struct.Struct) -> tuple:
        if self.at + layout.size > len(self.content):
            self.ends_early()
        values = layout.unpack_from(self.content, self.at)
        self.at += layout.size
        return values

    def skip(self, num_bytes: int) -> None:
        if num_bytes > len(self.content) - self.at:
            self.ends_early()
        self.at += num_bytes

    def read_name(self) -> str:
        end = self.content.find(b"\0", self.at)
        if end < 0:
            self.ends_early()
        name = bytes(self.content[self.at : end]).decode("utf-8", errors="surrogateescape")
        self.at = end + 1
        return name

    def count(self, min_record_bytes: int, what: str) -> int:
        (claimed,) = self.read(struct.Struct("<Q"))
        possible = (len(self.content) - self.at) // min_record_bytes
        if claimed > possible:
            raise InputError(
                f"{self.path}: its header claims {claimed} {what}, the file holds at most {possible}; "
                "it is cut off or damaged, write the model again"
            )
        return claimed

    def ends_early(self) -> None:
        raise InputError(f"{self.path}: ends early at byte {len(self.content)}; copy or write the model again")


@contextmanager
def _open_binary(path: Path) -> Iterator[_Binary]:
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise InputError(f"{path}: is empty; write the model again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield _Binary(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _cameras_binary(path: Path) -> dict[int, Lens | str]:
    head = struct.Struct("<IiQQ")
    cameras = {}
    with _open_binary(path) as content:
        for _ in range(content.count(_MIN_CAMERA_BYTES, "cameras")):
            camera_id, model_id, width, height = content.read(head)
            if model_id not in COLMAP_MODELS:
                raise InputError(f"{path}: camera {camera_id}: {unsupported(f'number {model_id}')}")
            model, num_params = COLMAP_MODELS[model_id]
            params = content.read(struct.Struct(f"<{num_params}d"))
            cameras[camera_id] = _lens(model, width, height, params)
    return cameras


def _lens(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens | str:
    if model == EQUIRECTANGULAR:
        return panorama_lens(width, height)
    if model not in SUPPORTED_MODELS:
        return unsupported(model)
    lens = lens_from_colmap(model, width, height, params)
    return lens.fault() or lens


def _images_binary(path: Path) -> Iterator[ColmapImage]:
    head, tail = struct.Struct("<I4d3dI"), struct.Struct("<Q")
    with _open_binary(path) as content:
        for _ in range(content.count(_MIN_IMAGE_BYTES, "images")):
            _, *pose, camera_id = content.read(head)
            name = content.read_name()
            (num_points,) = content.read(tail)
            content.skip(24 * num_points)
            yield ColmapImage(name, camera_id, tuple(pose[:4]), tuple(pose[4:]))


def _points_binary(path: Path) -> PointCloud:
    record = struct.Struct("<8x3d3B8xQ")
    with _open_binary(path) as content:
        count = content.count(_MIN_POINT_BYTES, "points")
        xyz, rgb = np.empty((count, 3)), np.empty((count, 3), dtype=np.uint8)
        for index in range(count):
            *point, red, green, blue, track_length = content.read(record)
            xyz[index], rgb[index] = point, (red, green, blue)
            content.skip(8 * track_length)
    return PointCloud(xyz, rgb)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments; empty ones stay, because an image without points has an empty second line."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for at, line in enumerate(file, start=1):
                if not line.startswith("#"):
                    yield at, line.strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _number(word: str) -> float:
    """A float; what C++ prints for a value that is none, like `-nan(ind)`, is NaN."""
    return math.nan if "nan" in word.lower() else float(word)


def _cameras_text(path: Path) -> dict[int, Lens | str]:
    cameras = {}
    for at, line in _lines(path):
        if not line:
            continue
        try:
            camera_id, model, width, height, *params = line.split()
            known = dict(COLMAP_MODELS.values())
            if model in known and len(params) != known[model]:
                raise ValueError(f"{model} takes {known[model]} parameters, got {len(params)}")
            cameras[int(camera_id)] = _lens(model, int(width), int(height), tuple(_number(word) for word in params))
        except ValueError as error:
            raise InputError(f"{path}: line {at} is no camera ({said(error)}); write the model again") from error
    return cameras


def _images_text(path: Path) -> Iterator[ColmapImage]:
    lines = _lines(path)
    for at, line in lines:
        if not line:
            continue
        try:
            words = line.split(maxsplit=9)
            pose = tuple(_number(word) for word in words[1:8])
            image = ColmapImage(words[9], int(words[8]), pose[:4], pose[4:])
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: line {at} is no image ({said(error)}); write the model again") from error
        next(lines, None)
        yield image


def _points_text(path: Path) -> PointCloud:
    xyz, rgb = [], []
    for at, line in _lines(path):
        if not line:
            continue
        try:
            words = line.split(maxsplit=7)
            xyz.append([_number(word) for word in words[1:4]])
            rgb.append(bytes(int(word) for word in words[4:7]))
            if len(words) < 7:
                raise ValueError(f"{len(words)} words")
        except ValueError as error:
            raise InputError(f"{path}: line {at} is no point ({said(error)}); write the model again") from error
    colors = np.frombuffer(b"".join(rgb), dtype=np.uint8).reshape(-1, 3)
    return PointCloud(np.array(xyz, dtype=np.float64).reshape(-1, 3), colors)
