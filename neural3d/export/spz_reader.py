"""SPZ files read, versions 1 to 4, without trust in what they claim."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.quaternions import SQRT2, with_largest
from neural3d.export.rows import assembled, logits
from neural3d.export.spz import (
    ANTIALIASED,
    COLOR_SCALE,
    HEADER,
    HEADER_4,
    LOG_SCALE_OFFSET,
    LOG_SCALE_STEPS,
    MAGIC,
    QUAT_STEPS,
    TABLE_ROW,
)
from neural3d.splats.gaussians import Gaussians

_NUM_REST = {0: 0, 1: 9, 2: 24, 3: 45, 4: 72}
_MAX_DEGREE = 3
"""Of what is kept; a fourth degree is left out."""
_MAX_RATIO = {"gzip": 1032, "zstd": 40_000}
"""How many bytes one byte can unpack to; a file that claims more is refused before memory is taken."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Header:
    version: int
    count: int
    sh_degree: int
    fraction_bits: int
    flags: int

    def stream_bytes(self) -> list[int]:
        """Of means, alphas, colours, scales, quaternions, harmonics."""
        mean = 6 if self.version == 1 else 9
        quat = 3 if self.version < 3 else 4
        return [self.count * size for size in (mean, 1, 3, 3, quat, _NUM_REST[self.sh_degree])]


def read_spz(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file, in its axes.

    Raises: InputError when the file is no SPZ, is damaged, or claims more than it can hold.
    Limits: harmonics of degree 4 are left out; extensions are passed over.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(HEADER_4.size)
    if start[:2] == b"\x1f\x8b":
        header, streams = _read_gzip(path)
    elif len(start) == HEADER_4.size and struct.unpack_from("<I", start)[0] == MAGIC:
        header, streams = _read_zstd(path, start)
    else:
        raise InputError(f"{path}: no SPZ file; it must begin with gzip's mark or NGSP")
    decoded = _Decoder(header, [np.frombuffer(stream, np.uint8) for stream in streams])
    degree = min(header.sh_degree, _MAX_DEGREE)
    return assembled(path, header.count, degree, bool(header.flags & ANTIALIASED), decoded.block)


def _check(path: Path, fields: tuple[int, ...], versions: tuple[int, ...]) -> _Header:
    magic, version, count, sh_degree, fraction_bits, flags = fields[:6]
    if magic != MAGIC:
        raise InputError(f"{path}: no SPZ file; what is packed in it does not begin with NGSP")
    if version not in versions:
        raise InputError(f"{path}: SPZ version {version}; this program reads {versions[0]} to {versions[-1]} here")
    if sh_degree not in _NUM_REST:
        raise InputError(f"{path}: harmonics of degree {sh_degree}; SPZ has 0 to 4")
    if fraction_bits > 31:
        raise InputError(f"{path}: {fraction_bits} bits of a mean's fraction; there are 24 bits in all")
    return _Header(version, count, sh_degree, fraction_bits, flags)


def _require_room(path: Path, unpacked: int, packed: int, kind: str) -> None:
    if unpacked > packed * _MAX_RATIO[kind]:
        raise InputError(
            f"{path}: its header claims {unpacked} bytes of Gaussians, {packed} bytes of {kind} cannot hold them; "
            "it is cut off or damaged, write the file again"
        )


def _read_gzip(path: Path) -> tuple[_Header, list[bytes]]:
    unpack = zlib.decompressobj(wbits=31)
    try:
        with path.open("rb") as file:
            pieces = _Pieces(path, file, unpack)
            header = _check(path, HEADER.unpack(pieces.take(HEADER.size)), (1, 2, 3))
            sizes = header.stream_bytes()
            _require_room(path, sum(sizes), path.stat().st_size, "gzip")
            return header, [pieces.take(size) for size in sizes]
    except zlib.error as error:
        raise InputError(f"{path}: its gzip stream is damaged ({error}); copy it again") from error


class _Pieces:
    """A gzip stream from which exactly as much is unpacked as was asked for."""

    def __init__(self, path, file, unpack):
        self.path, self.file, self.unpack = path, file, unpack
        self.waiting = b""

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises: InputError when the stream ends before them.
        """
        out = bytearray()
        while len(out) < size:
            packed = self.waiting or self.file.read(_PIECE)
            if not packed or self.unpack.eof:
                raise InputError(f"{self.path}: the file ends before its Gaussians do; it is cut off, copy it again")
            out += self.unpack.decompress(packed, size - len(out))
            self.waiting = self.unpack.unconsumed_tail
        return bytes(out)


def _read_zstd(path: Path, start: bytes) -> tuple[_Header, list[bytes]]:
    fields = HEADER_4.unpack(start)
    header = _check(path, fields, (4,))
    sizes = [size for size in header.stream_bytes() if size or not header.count]
    num_streams, table_at = fields[6], fields[7]
    data = path.read_bytes()
    if num_streams < len(sizes) or table_at < HEADER_4.size or table_at + num_streams * TABLE_ROW.size > len(data):
        raise InputError(f"{path}: {num_streams} streams with a table at byte {table_at}; the file is damaged")
    place, streams = table_at + num_streams * TABLE_ROW.size, []
    for number, size in enumerate(sizes):
        packed, unpacked = TABLE_ROW.unpack_from(data, table_at + number * TABLE_ROW.size)
        if unpacked != size or place + packed > len(data):
            raise InputError(
                f"{path}: stream {number} claims {packed} bytes for {unpacked}; expected {size} of the file"
            )
        streams.append(_unpack_zstd(path, data[place : place + packed], size))
        place += packed
    return header, streams + [b""] * (6 - len(streams))


def _unpack_zstd(path: Path, packed: bytes, size: int) -> bytes:
    import zstandard  # version 4 alone needs it

    _require_room(path, size, len(packed), "zstd")
    try:
        with zstandard.ZstdDecompressor().stream_reader(packed) as stream:
            unpacked = stream.read(size)
    except zstandard.ZstdError as error:
        raise InputError(f"{path}: a Zstandard stream is damaged ({error}); copy it again") from error
    if len(unpacked) != size:
        raise InputError(f"{path}: a Zstandard stream holds {len(unpacked)} bytes of {size}; copy it again")
    return unpacked


class _Decoder:
    """The attributes' bytes, unpacked for some Gaussians at a time."""

    def __init__(self, header: _Header, streams: list[np.ndarray]):
        self.header = header
        self.rows = [stream.reshape(header.count, -1) if header.count else stream for stream in streams]

    def block(self, start: int, stop: int) -> Gaussians:
        """Gaussians from one number to another."""
        means, alphas, colors, scales, quats, rest = (rows[start:stop] for rows in self.rows)
        sh = torch.cat([(_floats(colors) / 255 - 0.5) / COLOR_SCALE, (_floats(rest) - 128) / 128], dim=1)
        num_kept = (min(self.header.sh_degree, _MAX_DEGREE) + 1) ** 2
        return Gaussians(
            means_world=self._means(means),
            log_scales=_floats(scales) / LOG_SCALE_STEPS - LOG_SCALE_OFFSET,
            quats_wxyz=_first_three(quats) if self.header.version < 3 else _smallest_three(quats),
            logit_opacities=logits(_floats(alphas)[:, 0] / 255),
            sh=sh.reshape(stop - start, -1, 3)[:, :num_kept],
        )

    def _means(self, rows: np.ndarray) -> Float[Tensor, "N 3"]:
        if self.header.version == 1:
            return torch.from_numpy(np.ascontiguousarray(rows).view("<f2").astype(np.float32))
        wide = np.zeros((len(rows), 3, 4), np.uint8)
        wide[:, :, 1:] = rows.reshape(-1, 3, 3)  # the sign comes to stand in the highest bit
        fixed = (wide.view("<i4")[..., 0] >> 8).astype(np.float64)
        return torch.from_numpy((fixed / (1 << self.header.fraction_bits)).astype(np.float32))


def _floats(rows: np.ndarray) -> Float[Tensor, "N C"]:
    return torch.from_numpy(rows.astype(np.float32))


def _first_three(rows: np.ndarray) -> Float[Tensor, "N 4"]:
    xyz = _floats(rows) / 127.5 - 1
    w = (1 - xyz.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return torch.cat([w, xyz], dim=1)


def _smallest_three(rows: np.ndarray) -> Float[Tensor, "N 4"]:
    packed = np.ascontiguousarray(rows).view("<u4")[:, 0]
    fields = [(packed >> np.uint32(shift)) & np.uint32(1023) for shift in (20, 10, 0)]
    others = [np.where(f & 512, -1.0, 1.0) * (f & 511) / (QUAT_STEPS * SQRT2) for f in fields]
    xyzw = with_largest((packed >> 30).astype(np.int64), np.stack(others, axis=1))
    return xyzw[:, [3, 0, 1, 2]]
