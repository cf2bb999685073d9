"""Gaussian splats as PLY in the layout of the INRIA code, which every splat tool reads.

Opacities are logits, scales logarithms, quaternions wxyz, harmonics channel-major (all of red, then green, then blue).
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.errors import InputError, StorageError
from neural3d.export.frames import gaussians_in_frame
from neural3d.ply_vertices import PlyHeader, read_header, read_vertices
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import atomic_write

_ROWS_AT_ONCE = 65536
_REST_COUNTS = {0: 0, 9: 1, 24: 2, 45: 3}
"""f_rest properties by degree."""


@dataclass(frozen=True)
class WrittenPly:
    """What came out."""

    num_gaussians: int
    num_dropped: int
    """Gaussians with a NaN or an infinity, which no viewer survives."""


def write_ply(path: str | Path, gaussians: Gaussians, *, capture_from_scene: Similarity) -> WrittenPly:
    """Write Gaussians in the capture's own frame and units.

    Rows that are not finite are left out and counted.

    Raises: StorageError.
    """
    path = Path(path)
    moved = gaussians_in_frame(gaussians.detach().map(Tensor.cpu), capture_from_scene)
    kept = moved[_is_finite(moved)]
    header = _header(kept)
    num_bytes = len(header) + 4 * len(_names(kept)) * len(kept)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(header)
            for start in range(0, len(kept), _ROWS_AT_ONCE):
                file.write(_rows(kept[start : start + _ROWS_AT_ONCE]).tobytes())
        if temporary.stat().st_size != num_bytes or read_header(temporary).count != len(kept):
            raise StorageError(f"cannot write {path}: the file does not read back; check the disk")

    atomic_write(path, write, estimate_bytes=num_bytes)
    return WrittenPly(len(kept), len(gaussians) - len(kept))


def read_ply(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file, columns by their names in any order.

    Rows that are not finite are left out with a warning.

    Raises: InputError when the file is no splat PLY, is damaged, or claims more than it holds.
    Limits: neither compressed PLY nor 2D Gaussians.
    """
    path = Path(path)
    header = read_header(path)
    degree = _require_splats(path, header)
    columns = read_vertices(path, header)

    def stack(names: Iterable[str]) -> Float[Tensor, "N C"]:
        return torch.from_numpy(np.stack([columns[name].astype(np.float32) for name in names], axis=-1))

    num_rest = (degree + 1) ** 2 - 1
    rest = stack(_rest_names(degree)) if degree else torch.zeros(header.count, 0)
    dc = stack(f"f_dc_{i}" for i in range(3))
    found = Gaussians(
        means_world=stack("xyz"),
        log_scales=stack(f"scale_{i}" for i in range(3)),
        quats_wxyz=stack(f"rot_{i}" for i in range(4)),
        logit_opacities=stack(["opacity"])[:, 0],
        sh=torch.cat([dc[:, None], rest.reshape(header.count, 3, num_rest).transpose(1, 2)], dim=1),
        antialiased=_is_antialiased(header),
    )
    finite = _is_finite(found)
    if finite.all():
        return found
    warnings.warn(
        f"{path}: left out {int((~finite).sum())} of {len(found)} Gaussians that are not finite", stacklevel=2
    )
    return found[finite]


def _is_finite(gaussians: Gaussians) -> Bool[Tensor, "N"]:
    finite = [tensor.isfinite().flatten(1).all(1) for tensor in (t[:, None] for t in gaussians.tensors().values())]
    return torch.stack(finite).all(0)


def _rest_names(degree: int) -> list[str]:
    return [f"f_rest_{i}" for i in range(3 * ((degree + 1) ** 2 - 1))]


def _names(gaussians: Gaussians) -> list[str]:
    colors = [f"f_dc_{i}" for i in range(3)] + _rest_names(gaussians.sh_degree)
    return [
        *"xyz",
        "nx",
        "ny",
        "nz",
        *colors,
        "opacity",
        *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]


def _header(gaussians: Gaussians) -> bytes:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *(["comment SplatRenderMode: mip"] if gaussians.antialiased else []),
        f"comment SH degree: {gaussians.sh_degree}",
        f"element vertex {len(gaussians)}",
        *(f"property float {name}" for name in _names(gaussians)),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _rows(gaussians: Gaussians) -> np.ndarray:
    columns = [
        gaussians.means_world,
        torch.zeros_like(gaussians.means_world),
        gaussians.sh[:, 0],
        gaussians.sh[:, 1:].transpose(1, 2).flatten(1),
        gaussians.logit_opacities[:, None],
        gaussians.log_scales,
        gaussians.quats_wxyz,
    ]
    return torch.cat(columns, dim=1).numpy().astype("<f4")


def _require_splats(path: Path, header: PlyHeader) -> int:
    """The degree of the harmonics of a file that holds 3D Gaussians."""
    names = header.names
    if "packed_position" in names:
        raise InputError(
            f"{path}: a compressed splat PLY; convert it to a plain one first (for example with splat-transform)"
        )
    if {"scale_0", "scale_1"} <= names and "scale_2" not in names:
        raise InputError(f"{path}: 2D Gaussians (no scale_2); neural3d reads 3D Gaussians only")
    needed = ["x", "y", "z", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    missing = [name for name in [*needed, *(f"f_dc_{i}" for i in range(3))] if name not in names]
    if missing:
        raise InputError(f"{path}: no Gaussian splats (property {missing[0]} is missing); give a splat PLY")
    num_rest = sum(name.startswith("f_rest_") for name in names)
    if num_rest not in _REST_COUNTS or not set(_rest_names(_REST_COUNTS[num_rest])) <= names:
        raise InputError(f"{path}: {num_rest} f_rest properties; degrees 0 to 3 have 0, 9, 24 or 45")
    return _REST_COUNTS[num_rest]


def _is_antialiased(header: PlyHeader) -> bool:
    comments = [comment.lower() for comment in header.comments]
    return any(c.startswith("splatrendermode:") and c.endswith("mip") for c in comments) or "antialiased 1" in comments
