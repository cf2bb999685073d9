"""Compressed PLY of PlayCanvas: 256 neighbours at a time share the ranges that their packed numbers lie in.

A Gaussian takes 16 bytes and a byte a harmonic: means and log scales 11, 10 and 11 bits, colours and opacity 8 bits,
three of the quaternion's components 10 bits, harmonics 8 bits over -4 to 4. It is sorted along a Morton curve, which
keeps the ranges small.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.ply import antialiased_comment, is_antialiased
from neural3d.export.quaternions import SQRT2, largest_last, with_largest
from neural3d.export.rows import (
    Rows,
    Written,
    assembled,
    channel_major,
    coefficients,
    finite_rows,
    logits,
    morton_order,
)
from neural3d.ply_vertices import PlyElement, PlyHeader, read_header, read_rows, require_rows
from neural3d.scene import Similarity
from neural3d.splats.gaussians import SH_C0, Gaussians
from neural3d.storage import atomic_write

CHUNK = 256
"""Gaussians that share ranges."""
_BOUNDS = [
    *(f"{side}_{axis}" for side in ("min", "max") for axis in "xyz"),
    *(f"{side}_scale_{axis}" for side in ("min", "max") for axis in "xyz"),
    *(f"{side}_{channel}" for side in ("min", "max") for channel in "rgb"),
]
_PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
_XYZ_BITS, _COLOR_BITS = (11, 10, 11), (8, 8, 8, 8)
_MAX_LOG_SCALE = 20.0
_SH_RANGE = 8.0
"""Of a harmonic's byte: -4 to 4."""
_REST_COUNTS = {0: 0, 9: 1, 24: 2, 45: 3}


def write_compressed_ply(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the capture's own frame and units, sorted by place.

    Raises: StorageError; InputError when none is finite.
    Limits: harmonics beyond -4 to 4 are cut.
    """
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)
    rows = rows.in_order(morton_order(rows))
    header = _header(rows)
    num_rest = channel_major(gaussians.sh[:1]).shape[1]
    num_chunks = -(-len(rows) // CHUNK)
    vertices_at = len(header) + 4 * len(_BOUNDS) * num_chunks
    sh_at = vertices_at + 4 * len(_PACKED) * len(rows)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(header)
            for start, block in rows.blocks():
                bounds, packed = _pack(block)
                _write_at(file, len(header) + 4 * len(_BOUNDS) * (start // CHUNK), bounds.astype("<f4"))
                _write_at(file, vertices_at + 4 * len(_PACKED) * start, packed.astype("<u4"))
                _write_at(file, sh_at + num_rest * start, _pack_sh(channel_major(block.sh).numpy()))

    atomic_write(Path(path), write, estimate_bytes=sh_at + num_rest * len(rows))
    return Written(len(rows), num_dropped)


def is_compressed(header: PlyHeader) -> bool:
    """Whether a PLY is one of these."""
    return "packed_position" in header.names


def read_compressed_ply(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file.

    Raises: InputError when the file is none of these, is damaged, or claims more than it holds.
    """
    path = Path(path)
    header = read_header(path)
    chunks, sh = _require_tables(path, header)
    degree = _REST_COUNTS[len(sh.properties)] if sh else 0
    bounds = _read_bounds(read_rows(path, header, chunks, 0, chunks.count))

    def decode(start: int, stop: int) -> Gaussians:
        packed = _matrix(read_rows(path, header, header.vertex, start, stop), _PACKED)
        rest = np.zeros((stop - start, 0), np.uint8)
        if sh is not None:
            rest = _matrix(read_rows(path, header, sh, start, stop), [f"f_rest_{i}" for i in range(len(sh.properties))])
        return _unpack(bounds[np.arange(start, stop) // CHUNK], packed, rest)

    return assembled(path, header.count, degree, is_antialiased(header), decode)


def _header(rows: Rows) -> bytes:
    rest = [f"property uchar f_rest_{i}" for i in range(channel_major(rows.gaussians.sh[:1]).shape[1])]
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *antialiased_comment(rows.gaussians),
        f"comment SH degree: {rows.gaussians.sh_degree}",
        f"element chunk {-(-len(rows) // CHUNK)}",
        *(f"property float {name}" for name in _BOUNDS),
        f"element vertex {len(rows)}",
        *(f"property uint {name}" for name in _PACKED),
        *([f"element sh {len(rows)}", *rest] if rest else []),
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _write_at(file: BinaryIO, place: int, values: np.ndarray) -> None:
    file.seek(place)
    file.write(values.tobytes())


def _pack(block: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """The ranges of each chunk, and four numbers a Gaussian."""
    columns = [block.means_world, block.log_scales.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE), 0.5 + SH_C0 * block.sh[:, 0]]
    parts, bounds = [], []
    for values in columns:
        low, high = _bounds(values.numpy())
        bounds += [low, high]
        parts.append(_fraction(values.numpy(), low, high))
    colors = np.concatenate([parts[2], torch.sigmoid(block.logit_opacities).numpy()[:, None]], axis=1)
    packed = [_pack_bits(parts[0], _XYZ_BITS), _pack_quats(block), _pack_bits(parts[1], _XYZ_BITS)]
    return np.concatenate(bounds, axis=1), np.stack([*packed, _pack_bits(colors, _COLOR_BITS)], axis=1)


def _bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest of each chunk; the last one is filled with its last row."""
    filled = np.concatenate([values, np.repeat(values[-1:], -len(values) % CHUNK, axis=0)])
    chunks = filled.reshape(-1, CHUNK, values.shape[1])
    return chunks.min(1), chunks.max(1)


def _fraction(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where each value lies between its chunk's bounds, 0 where these are one."""
    chunk = np.arange(len(values)) // CHUNK
    span = (high.astype(np.float64) - low)[chunk]
    return np.where(span > 0, (values - low[chunk].astype(np.float64)) / np.where(span > 0, span, 1), 0)


def _pack_bits(fractions: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Rounded, the first column in the highest bits."""
    packed = np.zeros(len(fractions), np.uint32)
    for column, width in enumerate(bits):
        top = (1 << width) - 1
        packed = (packed << np.uint32(width)) | np.rint(fractions[:, column] * top).clip(0, top).astype(np.uint32)
    return packed


def _pack_quats(block: Gaussians) -> np.ndarray:
    """Two bits for the component that is left out, ten for each of the others."""
    index, others = largest_last(block)
    return (index.astype(np.uint32) << np.uint32(30)) | _pack_bits(others / SQRT2 + 0.5, (10, 10, 10))


def _pack_sh(rest: np.ndarray) -> np.ndarray:
    """Cells of equal width, so that what is read back is their middle."""
    return np.floor((rest / _SH_RANGE + 0.5) * 256).clip(0, 255).astype(np.uint8)


def _unpack(bounds: np.ndarray, packed: np.ndarray, rest: np.ndarray) -> Gaussians:
    """The inverse of all packing; `bounds` holds a row a Gaussian."""
    place, scale = _unpack_bits(packed[:, 0], _XYZ_BITS), _unpack_bits(packed[:, 2], _XYZ_BITS)
    color, turn = _unpack_bits(packed[:, 3], _COLOR_BITS), packed[:, 1]
    others = (_unpack_bits(turn, (10, 10, 10)) - 0.5) * SQRT2
    values = [_between(part, bounds[:, 6 * i : 6 * i + 6]) for i, part in enumerate((place, scale, color[:, :3]))]
    sh = ((rest.astype(np.float32) + 0.5) / 256 - 0.5) * _SH_RANGE
    return Gaussians(
        means_world=_tensor(values[0]),
        log_scales=_tensor(values[1]),
        quats_wxyz=with_largest((turn >> 30).astype(np.int64), others),
        logit_opacities=logits(_tensor(color[:, 3])),
        sh=coefficients(_tensor((values[2] - 0.5) / SH_C0), _tensor(sh)),
    )


def _between(fraction: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return bounds[:, :3] + fraction * (bounds[:, 3:].astype(np.float64) - bounds[:, :3])


def _unpack_bits(packed: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Fractions of each field; what lies above them is ignored."""
    columns, shift = [], 0
    for width in reversed(bits):
        top = (1 << width) - 1
        columns.append(((packed >> np.uint32(shift)) & np.uint32(top)) / top)
        shift += width
    return np.stack(columns[::-1], axis=1)


def _tensor(values: np.ndarray) -> Float[Tensor, "..."]:
    return torch.from_numpy(values.astype(np.float32))


def _matrix(table: np.ndarray, names: list[str]) -> np.ndarray:
    return np.stack([table[name] for name in names], axis=-1)


def _read_bounds(table: np.ndarray) -> np.ndarray:
    """Of each chunk; early files have none for colours, which lie in 0 to 1 there."""
    if "min_r" in table.dtype.names:
        return _matrix(table, _BOUNDS)
    colors = np.tile(np.float32([0, 0, 0, 1, 1, 1]), (len(table), 1))
    return np.concatenate([_matrix(table, _BOUNDS[:12]), colors], axis=1)


def _require_tables(path: Path, header: PlyHeader) -> tuple[PlyElement, PlyElement | None]:
    """The chunks and the harmonics, which together with the vertices lie within the file."""
    chunks, sh = header.element("chunk"), header.element("sh")
    with_colors = chunks is not None and "min_r" in dict(chunks.properties)
    needed = {"chunk": (chunks, _BOUNDS if with_colors else _BOUNDS[:12]), "vertex": (header.vertex, _PACKED)}
    for name, (element, columns) in needed.items():
        missing = [c for c in columns if element is None or c not in dict(element.properties)]
        if missing:
            raise InputError(f"{path}: no compressed splats (property {missing[0]} of {name} is missing)")
    if header.byte_order != "<" or any(kind != "u4" for n, kind in header.vertex.properties if n in _PACKED):
        raise InputError(f"{path}: its packed numbers are not binary little-endian uint; write the file again")
    if chunks.count != -(-header.count // CHUNK):
        raise InputError(f"{path}: {chunks.count} chunks for {header.count} Gaussians; there must be one for {CHUNK}")
    if sh is not None:
        wanted = {f"f_rest_{i}" for i in range(len(sh.properties))}
        if sh.count != header.count or len(wanted) not in _REST_COUNTS or wanted != {n for n, _ in sh.properties}:
            raise InputError(f"{path}: its harmonics do not fit {header.count} Gaussians of degree 1 to 3")
        if any(kind != "u1" for _, kind in sh.properties):
            raise InputError(f"{path}: its harmonics are no bytes (uchar); write the file again")
    for element in filter(None, (chunks, header.vertex, sh)):
        require_rows(path, header, element)
    return chunks, sh
