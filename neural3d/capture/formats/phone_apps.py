"""Scanning apps of phones: Polycam's raw data and Record3D's metadata; both write ARKit's poses.

ARKit's world has y up, its cameras have OpenGL axes. Source: nerfstudio's documentation of custom data, "Polycam" and
"Record3D".
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import LensOf, PosedPhoto, from_opengl_camera, list_posed
from neural3d.capture.images import Header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, Skipped
from neural3d.capture.poses import pose_from_colmap
from neural3d.capture.strict_json import load_json, number, vector
from neural3d.errors import InputError

WORLD_UP = (0.0, 1.0, 0.0)
_EACH = "perFrameIntrinsicCoeffs"
_OFF_CENTRE = 0.2
"""Of the photo's side; lenses of phones are off their middle by a twentieth at most."""
_POLYCAM = ("keyframes/corrected_cameras", "keyframes/cameras", "corrected_cameras", "cameras")
"""Poses that Polycam has refined, then those of the phone."""


def find_polycam(root: Path) -> Path | None:
    """The folder of camera files."""
    return next((root / place for place in _POLYCAM if any((root / place).glob("*.json"))), None)


def list_polycam(root: Path, folder: Path) -> Listing:
    """List one photo for each camera file.

    Raises: InputError when a file is broken.
    """
    images = "corrected_images" if folder.name.startswith("corrected") else "images"
    below = folder.parent.relative_to(root).as_posix()
    prefix = images if below == "." else f"{below}/{images}"
    files = sorted(folder.glob("*.json"))
    photos = [_polycam_photo(f"{prefix}/{file.stem}.jpg", load_json(file)) for file in files]
    return list_posed(root, folder, "Polycam", photos, world_up=WORLD_UP)


def _polycam_photo(name: str, record: dict[str, Any]) -> PosedPhoto | Skipped:
    try:
        matrix = np.array([[number(record, f"t_{row}{column}") for column in range(4)] for row in range(3)])
        focal, middle = (number(record, "fx"), number(record, "fy")), (number(record, "cx"), number(record, "cy"))
        lens: Lens | LensOf = partial(_lens_of_photo, focal, middle)
        if "width" in record or "height" in record:
            lens = Lens("PINHOLE", int(number(record, "width")), int(number(record, "height")), focal, middle)
        return PosedPhoto(name, lens, from_opengl_camera(matrix[:, :3], matrix[:, 3]))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _lens_of_photo(focal: tuple[float, float], middle: tuple[float, float], header: Header) -> Lens:
    """Newer files of refined poses have no size, and are of the photo beside them.

    Raises: BadFrame where they are seen to be of a photo of another size.
    """
    size = header.width, header.height
    if any(abs(point - side / 2) > _OFF_CENTRE * side for point, side in zip(middle, size, strict=True)):
        raise BadFrame(
            f"cx, cy are {middle[0]:.6g}, {middle[1]:.6g} and far from the middle of its photo, {size[0]} x {size[1]}, "
            "and width and height are missing; export the raw data from Polycam again"
        )
    return Lens("PINHOLE", *size, focal, middle)


def find_record3d(root: Path) -> Path | None:
    """metadata.json (or the file called metadata) with poses."""
    for name in ("metadata.json", "metadata"):
        path = root / name
        if path.is_file() and b'"poses"' in path.read_bytes()[: 64 * 2**20]:
            return path
    return None


def list_record3d(root: Path, path: Path) -> Listing:
    """List rgb/0.jpg, rgb/1.jpg, … with their poses.

    Raises: InputError when the file lacks its poses or its intrinsics.
    """
    content = load_json(path)
    poses = content.get("poses")
    if not isinstance(poses, list) or not poses:
        raise InputError(f"{path}: has no poses; export again with Record3D as EXR + RGB")
    try:
        # Column after column.
        matrix = vector(content, "K", 9).reshape(3, 3).T
        size = int(number(content, "w")), int(number(content, "h"))
    except BadFrame as bad:
        raise InputError(f"{path}: {bad}; export again with Record3D") from bad
    each, notes = _record3d_intrinsics(content, matrix, len(poses))
    photos = [_record3d_photo(index, pose, each[index], size) for index, pose in enumerate(poses)]
    return list_posed(root, path, "Record3D", photos, world_up=WORLD_UP, notes=notes)


def _record3d_intrinsics(
    content: dict[str, Any], matrix: Float64[np.ndarray, "3 3"], count: int
) -> tuple[list[Any], tuple[str, ...]]:
    """fx, fy, cx, cy of each frame, which the focus changes; those of K where the file has no list of that length."""
    of_all = [float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])]
    each = content.get(_EACH) or []
    if isinstance(each, list) and len(each) == count:
        return each, ()
    many = f"{len(each)} entries" if isinstance(each, list) else "no list"
    note = f"{_EACH} has {many} for {count} poses and is left out: all frames have the intrinsics of K"
    return [of_all] * count, (note,) if each else ()


def _record3d_photo(index: int, pose: Any, intrinsics: Any, size: tuple[int, int]) -> PosedPhoto | Skipped:
    name = f"rgb/{index}.jpg"
    try:
        x, y, z, w, *center = vector({"pose": pose}, "pose", 7)
        rotation = pose_from_colmap((w, x, y, z), (0.0, 0.0, 0.0))[:3, :3]
        fx, fy, cx, cy = (float(value) for value in vector({_EACH: intrinsics}, _EACH, 4))
        lens = partial(_lens_as_held, (fx, fy), (cx, cy), size)
        return PosedPhoto(name, lens, from_opengl_camera(rotation, np.array(center)))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _lens_as_held(
    focal: tuple[float, float], middle: tuple[float, float], size: tuple[int, int], header: Header
) -> Lens:
    """The intrinsics are those of the size that is named, in whichever way the phone was held."""
    width, height = size
    if (width > height) != (header.width > header.height):
        width, height = height, width
    return Lens("PINHOLE", width, height, focal, middle)
