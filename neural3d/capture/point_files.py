"""Point clouds in PLY files, ASCII or binary: positions and colours."""

from pathlib import Path

import numpy as np

from neural3d.capture.listing import PointCloud
from neural3d.errors import InputError
from neural3d.ply_vertices import read_header, read_vertices

_COLORS = ("red", "green", "blue")
_GREY = 128


def read_points_ply(path: Path) -> PointCloud:
    """Read `x y z` and, where they are, `red green blue` (bytes, or floats in 0..1); points without colour are grey.

    Raises: InputError for what is no PLY, is damaged, or has no such columns; before memory is taken, for a header that
    claims more vertices than the file can hold.
    """
    header = read_header(path)
    if missing := set("xyz") - header.names:
        raise InputError(f"{path}: its vertices have no {', '.join(sorted(missing))}; write the points again")
    table = read_vertices(path, header)
    xyz = np.stack([table[name].astype(np.float64) for name in "xyz"], axis=1)
    if not set(_COLORS) <= header.names:
        return PointCloud(xyz, np.full(xyz.shape, _GREY, dtype=np.uint8))
    rgb = np.nan_to_num(np.stack([table[name].astype(np.float64) for name in _COLORS], axis=1))
    if header.kinds["red"].startswith("f"):
        rgb = rgb * 255 + 0.5
    return PointCloud(xyz, rgb.clip(0, 255).astype(np.uint8))
