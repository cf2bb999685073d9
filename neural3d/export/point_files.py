"""Points with normals and colours as PLY, which every program for point clouds reads."""

from pathlib import Path

import torch

from neural3d.errors import InputError
from neural3d.ply_vertices import colored_vertices
from neural3d.storage import atomic_write
from neural3d.surface.points import SurfacePoints

_COLUMNS = ("x", "y", "z", "nx", "ny", "nz")


def require_points_suffix(path: Path) -> None:
    """Raises: InputError where a file is no PLY by its name."""
    if path.suffix.lower() != ".ply" or path.is_dir():
        raise InputError(f"--output {path}: expected a file of points that ends in .ply")


def write_points(path: str | Path, points: SurfacePoints) -> None:
    """Write points as they lie; colours are display sRGB in bytes.

    Raises: StorageError.
    """
    values = torch.cat([points.places, points.normals], dim=1).numpy()
    content = colored_vertices(_COLUMNS, values, (255 * points.colors).round().byte().numpy())
    atomic_write(Path(path), lambda temporary: temporary.write_bytes(content), estimate_bytes=len(content))
