"""VisualSFM's NVM files: one model, cameras with their photos, points with colours.

Source: VisualSFM's documentation of NVM_V3.
"""

import math
from functools import partial
from pathlib import Path

import numpy as np

from neural3d.capture.formats.posed_photos import PosedPhoto, list_posed, read_lines
from neural3d.capture.images import Header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, PointCloud, Skipped
from neural3d.capture.poses import pose_from_colmap
from neural3d.errors import InputError, said

_FIXED = (
    "its calibration is fixed (FixedK fx cx fy cy), of which nothing is read: the focal lengths of its cameras are "
    "used, and the middle of each photo for cx, cy"
)


def find(root: Path) -> Path | None:
    """The one NVM file of a folder."""
    found = sorted(root.glob("*.nvm"))
    return found[0] if found else None


def list_nvm(root: Path, path: Path) -> Listing:
    """List the first model of an NVM file, which is the largest.

    Raises: InputError for what is no NVM file, or claims more than it holds.
    """
    lines = [line for line in read_lines(path) if line.strip()]
    if not lines or not lines[0].startswith("NVM_V3"):
        raise InputError(f"{path}: does not begin with NVM_V3; save it from VisualSFM again")
    cameras, rest = _counted(path, lines[1:], "cameras")
    points, _ = _counted(path, rest, "points")
    notes = (_FIXED,) if "FixedK" in lines[0] else ()
    photos = [_photo(path, number, line) for number, line in enumerate(cameras)]
    return list_posed(root, path, "NVM (VisualSFM)", photos, points=_points(path, points), notes=notes)


def _counted(path: Path, lines: list[str], what: str) -> tuple[list[str], list[str]]:
    """The lines that a count announces, and those behind them."""
    words = lines[0].split() if lines else ["0"]
    if len(words) != 1 or not words[0].isdigit():
        raise InputError(f"{path}: expected the number of {what}, got {lines[0][:40]!r}; save it again")
    count = int(words[0])
    if count > len(lines) - 1:
        raise InputError(f"{path}: announces {count} {what}, holds {max(0, len(lines) - 1)} lines more; it is cut off")
    return lines[1 : count + 1], lines[count + 1 :]


def _photo(path: Path, number: int, line: str) -> PosedPhoto | Skipped:
    # The name is parted from the numbers by a tab or a space, and may hold spaces itself.
    words = line.rsplit(maxsplit=10)
    if len(words) != 11:
        raise InputError(
            f"{path}: camera {number} has {len(words)} fields, expected a name and 10 numbers; save it again"
        )
    name = words[0]
    try:
        focal, qw, qx, qy, qz, x, y, z, radial, _ = (float(word) for word in words[1:])
        length = math.hypot(qw, qx, qy, qz)
        # Six digits are written: the quaternion is not of length one to more than that.
        pose = pose_from_colmap([q / length if length else 0.0 for q in (qw, qx, qy, qz)], (0.0, 0.0, 0.0))
        if not all(map(math.isfinite, (x, y, z))):
            raise BadFrame("its pose is not finite")
        pose[:3, 3] = -pose[:3, :3] @ np.array([x, y, z])
    except (ValueError, BadFrame) as error:
        return Skipped(name, str(error))
    return PosedPhoto(name, partial(_lens, focal, radial), pose)


def _lens(focal: float, radial: float, header: Header) -> Lens:
    """The photo's own middle; the radial term leads from the distorted point to the straight one."""
    width, height = header.width, header.height
    middle = (width / 2, height / 2)
    return Lens("NVM", width, height, (focal, focal), middle, curve="inverse", shape=(radial,))


def _points(path: Path, lines: list[str]) -> PointCloud:
    try:
        table = np.array([line.split(maxsplit=6)[:6] for line in lines], dtype=np.float64).reshape(-1, 6)
    except ValueError as error:
        raise InputError(f"{path}: a point is no X Y Z R G B ({said(error)}); save it again") from error
    return PointCloud(table[:, :3], np.nan_to_num(table[:, 3:]).clip(0, 255).astype(np.uint8))
