"""Bundler's bundle.out with its list of photos: cameras that look along -z, pixels counted from the middle.

Source: Bundler v0.4 user's manual, "Output format".
"""

from functools import partial
from pathlib import Path

import numpy as np

from neural3d.capture.formats.posed_photos import OPENCV_FROM_OPENGL, PosedPhoto, list_posed, read_lines, rigid
from neural3d.capture.images import Header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, PointCloud, Skipped
from neural3d.errors import InputError, said

_PLACES = ("bundle.out", "bundle/bundle.out", "bundle.rd.out")
_LISTS = ("list.txt", "bundle.out.list.txt", "bundle/list.txt", "list_imsize.txt")


def find(root: Path) -> Path | None:
    """bundle.out, in the folder or in bundle/."""
    return next((root / place for place in _PLACES if (root / place).is_file()), None)


def list_bundler(root: Path, path: Path) -> Listing:
    """List the cameras of bundle.out; those that were not registered have a focal length of 0.

    Raises: InputError when the list of photos is missing, or a file is damaged.
    """
    names_file = next((root / place for place in _LISTS if (root / place).is_file()), None)
    if names_file is None:
        raise InputError(f"{path}: the list of its photos is missing; put list.txt beside it")
    names = [_name(line) for line in read_lines(names_file) if line.strip()]
    rows = [line.split() for line in read_lines(path) if line.strip() and not line.startswith("#")]
    try:
        num_cameras, num_points = int(rows[0][0]), int(rows[0][1])
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: does not begin with the numbers of cameras and points; write it again") from error
    if num_cameras < 0 or num_points < 0 or len(rows) < 1 + 5 * num_cameras + 3 * num_points:
        raise InputError(
            f"{path}: announces {num_cameras} cameras and {num_points} points and is too short; write it again"
        )
    if num_cameras != len(names):
        raise InputError(
            f"{path}: has {num_cameras} cameras, {names_file} {len(names)} photos; take the list that belongs to it"
        )
    photos = [_photo(path, names[i], rows[1 + 5 * i : 6 + 5 * i]) for i in range(num_cameras)]
    return list_posed(root, path, "Bundler", photos, points=_points(path, rows[1 + 5 * num_cameras :], num_points))


def _name(line: str) -> str:
    """What stands before the line's numbers (0 and a focal length, or a size); names may hold spaces."""
    rest = line.strip()
    while len(parts := rest.rsplit(maxsplit=1)) == 2 and _is_number(parts[1]):
        rest = parts[0]
    return rest


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _photo(path: Path, name: str, rows: list[list[str]]) -> PosedPhoto | Skipped:
    try:
        focal, k1, k2 = (float(word) for word in rows[0])
        numbers = np.array(rows[1:], dtype=np.float64)
        if numbers.shape != (4, 3):
            raise ValueError("expected four rows of three numbers")
    except ValueError as error:
        raise InputError(f"{path}: the camera of {name} is damaged ({said(error)}); write it again") from error
    if focal == 0:
        return Skipped(name, "was not registered (its focal length is 0)")
    try:
        # Signs, not a product: infinity times zero is not a number, and is told of by a warning.
        flips = np.diag(OPENCV_FROM_OPENGL)
        pose = rigid(flips[:, None] * numbers[:3], flips * numbers[3])
    except BadFrame as bad:
        return Skipped(name, str(bad))
    return PosedPhoto(name, partial(_lens, focal, k1, k2), pose)


def _lens(focal: float, k1: float, k2: float, header: Header) -> Lens:
    width, height = header.width, header.height
    return Lens("BUNDLER", width, height, (focal, focal), (width / 2, height / 2), radial=(k1, k2))


def _points(path: Path, rows: list[list[str]], count: int) -> PointCloud:
    try:
        xyz = np.array(rows[0 : 3 * count : 3], dtype=np.float64).reshape(-1, 3)
        rgb = np.array(rows[1 : 3 * count : 3], dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise InputError(f"{path}: a point is damaged ({said(error)}); write it again") from error
    return PointCloud(xyz, np.nan_to_num(rgb).clip(0, 255).astype(np.uint8))
