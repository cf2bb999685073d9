"""SPZ of Niantic, versions 2 to 4: attributes one after the other, quantised, then compressed.

Version 3 is one gzip stream; version 4 a plain header, a table and a Zstandard stream an attribute. Means are 24-bit
fixed point, log scales bytes in sixteenths, quaternions three components of ten bits, the rest bytes. Gaussians are
sorted along a Morton curve, which the compressors like.

Source: github.com/nianticlabs/spz.
"""

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from neural3d.export.quaternions import SQRT2, largest_last
from neural3d.export.rows import Rows, Written, finite_rows, morton_order
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import atomic_write

MAGIC = 0x5053474E
HEADER = struct.Struct("<IIIBBBB")
HEADER_4 = struct.Struct("<IIIBBBBI12x")
"""Version 4 adds the number of streams and where their table lies."""
TABLE_ROW = struct.Struct("<QQ")
ANTIALIASED, HAS_EXTENSIONS = 1, 2
COLOR_SCALE = 0.15
LOG_SCALE_OFFSET, LOG_SCALE_STEPS = 10.0, 16.0
FRACTION_BITS = 12
"""Of means; what other writers use always, this one unless the scene asks for another."""
QUAT_STEPS = 511
_STEPS_OF_SMALL = 8.0
"""Steps of a mean that a smaller Gaussian (the tenth percentile of the middle axes) shall be wide."""
_STEPS_THAT_SHOW = 4.0
"""With fewer its place is off by more than an eighth of its width."""
_MAX_FRACTION_BITS = 23
_SHARE_WORTH_A_LINE = 0.01
_MEAN_LIMIT = (1 << 23) - 1
_LEVEL_GZIP, _LEVEL_ZSTD = 9, 19


def write_spz(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
    version: Literal[3, 4] = 3,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the capture's own frame and units.

    Version 3 is what all viewers read; version 4 is smaller and faster to open.

    Raises: StorageError; InputError when none is finite.
    Limits: means share 24 bits, of which one that is far away leaves the others fewer, with a warning where that shows;
        log scales beyond -10 to 5.94 and harmonics beyond -1 to 0.99 are cut, with a warning where that concerns
        many; axes are the capture's, as other exporters do it, not turned to the specification's y-up.
    """
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)
    rows = rows.in_order(morton_order(rows))
    means = rows.column(lambda block: block.means_world)
    small = _small_width(rows)
    bits = _fraction_bits(means, small)
    streams = _streams(rows.gaussians.sh_degree, bits)
    write = _write_3 if version == 3 else _write_4
    estimate = 70 * len(rows)
    atomic_write(Path(path), lambda temporary: write(temporary, rows, bits, streams), estimate_bytes=estimate)
    return Written(len(rows), num_dropped, (*_rounded(means, small, bits), *_cut(rows)))


Encoder = Callable[[Gaussians], np.ndarray]


def _streams(sh_degree: int, bits: int) -> list[Encoder]:
    """The attributes in the file's order."""
    streams = [lambda block: _pack_means(block, bits), _pack_alphas, _pack_colors, _pack_scales, _pack_quats]
    return [*streams, _pack_sh] if sh_degree else streams


def _write_3(path: Path, rows: Rows, bits: int, streams: list[Encoder]) -> None:
    # No name and no time in the stream's header: the same model gives the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL_GZIP, raw, mtime=0) as file:
        flags = ANTIALIASED if rows.gaussians.antialiased else 0
        file.write(HEADER.pack(MAGIC, 3, len(rows), rows.gaussians.sh_degree, bits, flags, 0))
        for encode in streams:
            for _, block in rows.blocks():
                file.write(encode(block).tobytes())


def _write_4(path: Path, rows: Rows, bits: int, streams: list[Encoder]) -> None:
    flags = ANTIALIASED if rows.gaussians.antialiased else 0
    fields = (MAGIC, 4, len(rows), rows.gaussians.sh_degree, bits, flags, len(streams), HEADER_4.size)
    with path.open("wb") as file:
        file.seek(HEADER_4.size + TABLE_ROW.size * len(streams))
        sizes = [_write_stream(file, rows, encode) for encode in streams]
        file.seek(0)
        file.write(HEADER_4.pack(*fields) + b"".join(TABLE_ROW.pack(*pair) for pair in sizes))


def _write_stream(file: BinaryIO, rows: Rows, encode: Encoder) -> tuple[int, int]:
    """One Zstandard stream that says how long it is unpacked; its two sizes."""
    import zstandard  # version 4 alone needs it

    start = file.tell()
    row_bytes = encode(rows.block(0, 1)).nbytes
    compressor = zstandard.ZstdCompressor(level=_LEVEL_ZSTD)
    with compressor.stream_writer(file, size=row_bytes * len(rows), closefd=False) as stream:
        for _, block in rows.blocks():
            stream.write(encode(block).tobytes())
    return file.tell() - start, row_bytes * len(rows)


def _small_width(rows: Rows) -> float:
    """Of the smaller Gaussians: the tenth percentile of the middle axes."""
    middle_axes = rows.column(lambda block: block.log_scales.median(1).values).numpy()
    return float(np.exp(np.quantile(middle_axes, 0.1)))


def _fraction_bits(means: Tensor, small: float) -> int:
    """Of means: 12, more where that is coarse beside the smaller Gaussians, less where the scene is too large."""
    wanted = int(np.ceil(np.log2(_STEPS_OF_SMALL / small)))
    largest = max(float(means.abs().max()), 1e-30)
    return max(0, min(max(FRACTION_BITS, wanted), _MAX_FRACTION_BITS, int(np.floor(np.log2(_MEAN_LIMIT / largest)))))


def _pack_means(block: Gaussians, bits: int) -> np.ndarray:
    fixed = np.rint(block.means_world.numpy().astype(np.float64) * (1 << bits)).clip(-_MEAN_LIMIT, _MEAN_LIMIT)
    return fixed.astype("<i4").view(np.uint8).reshape(len(block), 3, 4)[:, :, :3]


def _pack_alphas(block: Gaussians) -> np.ndarray:
    return _bytes(torch.sigmoid(block.logit_opacities) * 255)


def _pack_colors(block: Gaussians) -> np.ndarray:
    return _bytes(block.sh[:, 0] * (COLOR_SCALE * 255) + 127.5)


def _pack_scales(block: Gaussians) -> np.ndarray:
    return _bytes((block.log_scales + LOG_SCALE_OFFSET) * LOG_SCALE_STEPS)


def _pack_quats(block: Gaussians) -> np.ndarray:
    """Two bits for the component that is left out of x, y, z, w; sign and nine bits for each of the others."""
    xyzw = replace(block, quats_wxyz=block.quats_wxyz[:, [1, 2, 3, 0]])
    index, others = largest_last(xyzw)
    packed = index.astype(np.uint32)
    for column in others.T:
        magnitude = np.rint(np.abs(column) * SQRT2 * QUAT_STEPS).clip(0, QUAT_STEPS).astype(np.uint32)
        packed = (packed << np.uint32(10)) | ((column < 0).astype(np.uint32) << np.uint32(9)) | magnitude
    return packed.astype("<u4")


def _pack_sh(block: Gaussians) -> np.ndarray:
    """Coefficient by coefficient, red, green and blue of each together."""
    return _bytes(block.sh[:, 1:].flatten(1) * 128 + 128)


def _bytes(values: Tensor) -> np.ndarray:
    return values.round().clamp(0, 255).to(torch.uint8).numpy()


def _rounded(means: Tensor, small: float, bits: int) -> tuple[str, ...]:
    """What far means cost: they leave fewer bits below the point, for all; those beyond 24 bits are lost themselves."""
    farthest, step, lines = float(means.abs().max()), 2.0**-bits, []
    if bits < _MAX_FRACTION_BITS and step * _STEPS_THAT_SHOW > small:
        lines.append(
            f"means are rounded to {step:.3g} units, as some lie {farthest:.3g} units out; leave far splats out by "
            "--crop"
        )
    if farthest > _MEAN_LIMIT:
        beyond = int((means.abs() > _MEAN_LIMIT).any(1).sum())
        lines.append(f"{beyond} Gaussians lie farther out than SPZ can say ({_MEAN_LIMIT:,} units) and were moved in")
    return tuple(lines)


def _cut(rows: Rows) -> tuple[str, ...]:
    """What the format cannot hold of these rows."""
    large = rows.column(lambda block: (block.log_scales > 255 / LOG_SCALE_STEPS - LOG_SCALE_OFFSET).any(1)).sum()
    strong = rows.column(lambda block: (block.sh[:, 1:].abs() > 1).flatten(1).any(1)).sum()
    lines = []
    if large:
        lines.append(f"{int(large)} Gaussians are larger than SPZ can say (380 units) and were made smaller")
    if strong > _SHARE_WORTH_A_LINE * len(rows):
        lines.append(f"{int(strong)} Gaussians have harmonics beyond 1, where SPZ ends; they were cut")
    return tuple(lines)
