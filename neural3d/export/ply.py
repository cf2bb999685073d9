"""Gaussian splats as PLY in the layout of the INRIA code, which every splat tool reads.

Opacities are logits, scales logarithms, quaternions wxyz, harmonics channel-major (all of red, then green, then blue).
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError, StorageError
from neural3d.export.rows import Rows, Written, assembled, channel_major, coefficients, finite_rows
from neural3d.ply_vertices import PlyHeader, read_header, read_rows, read_vertices, require_rows
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import atomic_write

_REST_COUNTS = {0: 0, 9: 1, 24: 2, 45: 3}
"""f_rest properties by degree."""


def write_ply(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the capture's own frame and units.

    Rows that are not finite are left out and counted.

    Raises: StorageError; InputError when none is left.
    """
    path = Path(path)
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices, may_be_none=not len(gaussians))
    header = _header(rows)
    num_bytes = len(header) + 4 * len(_names(rows.gaussians)) * len(rows)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(header)
            for _, block in rows.blocks():
                file.write(_values(block).tobytes())
        if temporary.stat().st_size != num_bytes or read_header(temporary).count != len(rows):
            raise StorageError(f"cannot write {path}: the file does not read back; check the disk")

    atomic_write(path, write, estimate_bytes=num_bytes)
    return Written(len(rows), num_dropped)


def read_ply(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file, columns by their names in any order.

    Rows that are not finite are left out with a warning.

    Raises: InputError when the file is no splat PLY, is damaged, or claims more than it holds.
    Limits: not 2D Gaussians; compressed ones are `read_compressed_ply`'s.
    """
    path = Path(path)
    header = read_header(path)
    degree = _require_splats(path, header)
    require_rows(path, header, header.vertex)
    table = read_vertices(path, header) if header.byte_order == "" else None

    def decode(start: int, stop: int) -> Gaussians:
        rows = read_rows(path, header, header.vertex, start, stop) if table is None else table[start:stop]
        return _gaussians(rows, degree)

    return assembled(path, header.count, degree, is_antialiased(header), decode)


def _gaussians(rows: np.ndarray, degree: int) -> Gaussians:
    def stack(names: list[str]) -> Float[Tensor, "N C"]:
        if not names:
            return torch.zeros(len(rows), 0)
        return torch.from_numpy(np.stack([rows[name].astype(np.float32) for name in names], axis=-1))

    return Gaussians(
        means_world=stack(list("xyz")),
        log_scales=stack(_numbered("scale", 3)),
        quats_wxyz=stack(_numbered("rot", 4)),
        logit_opacities=stack(["opacity"])[:, 0],
        sh=coefficients(stack(_numbered("f_dc", 3)), stack(_rest_names(degree))),
    )


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{i}" for i in range(count)]


def _rest_names(degree: int) -> list[str]:
    return _numbered("f_rest", 3 * ((degree + 1) ** 2 - 1))


def _names(gaussians: Gaussians) -> list[str]:
    colors = _numbered("f_dc", 3) + _rest_names(gaussians.sh_degree)
    return [*"xyz", "nx", "ny", "nz", *colors, "opacity", *_numbered("scale", 3), *_numbered("rot", 4)]


def _header(rows: Rows) -> bytes:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *antialiased_comment(rows.gaussians),
        f"comment SH degree: {rows.gaussians.sh_degree}",
        f"element vertex {len(rows)}",
        *(f"property float {name}" for name in _names(rows.gaussians)),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def antialiased_comment(gaussians: Gaussians) -> list[str]:
    """The header line that says how the model was trained, as Brush and SuperSplat write it."""
    return ["comment SplatRenderMode: mip"] if gaussians.antialiased else []


def is_antialiased(header: PlyHeader) -> bool:
    """Whether a header says so, as Brush and SuperSplat or as Postshot write it."""
    comments = [comment.lower() for comment in header.comments]
    return any(c.startswith("splatrendermode:") and c.endswith("mip") for c in comments) or "antialiased 1" in comments


def _values(gaussians: Gaussians) -> np.ndarray:
    columns = [
        gaussians.means_world,
        torch.zeros_like(gaussians.means_world),
        gaussians.sh[:, 0],
        channel_major(gaussians.sh),
        gaussians.logit_opacities[:, None],
        gaussians.log_scales,
        gaussians.quats_wxyz,
    ]
    return torch.cat(columns, dim=1).numpy().astype("<f4")


def _require_splats(path: Path, header: PlyHeader) -> int:
    """The degree of the harmonics of a file that holds 3D Gaussians."""
    names = header.names
    if "packed_position" in names:
        raise InputError(f"{path}: a compressed splat PLY; read it with read_splats, which knows both kinds")
    if {"scale_0", "scale_1"} <= names and "scale_2" not in names:
        raise InputError(f"{path}: 2D Gaussians (no scale_2); neural3d reads 3D Gaussians only")
    needed = [*"xyz", "opacity", *_numbered("scale", 3), *_numbered("rot", 4), *_numbered("f_dc", 3)]
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{path}: no Gaussian splats (property {missing[0]} is missing); give a splat PLY")
    num_rest = sum(name.startswith("f_rest_") for name in names)
    if num_rest not in _REST_COUNTS or not set(_rest_names(_REST_COUNTS[num_rest])) <= names:
        raise InputError(f"{path}: {num_rest} f_rest properties; degrees 0 to 3 have 0, 9, 24 or 45")
    return _REST_COUNTS[num_rest]
