"""SOG files read, version 2, zipped or as a meta.json beside its pictures, without trust in what they claim."""

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from neural3d.errors import InputError, said
from neural3d.export.quaternions import SQRT2, with_largest
from neural3d.export.rows import assembled, logits
from neural3d.export.sog import META, PALETTE_COLUMNS, QUAT_MARK
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import safe_join

_MAX_META_BYTES = 1 << 24
_MAX_SIDE = 16383
"""Of a WebP picture."""
_MAX_FILE_BYTES = 1 << 31


@dataclass(frozen=True)
class _Pixels:
    """The pictures of a file, a row a Gaussian, and what their bytes mean."""

    low: UInt8[np.ndarray, "N 4"]
    high: UInt8[np.ndarray, "N 4"]
    scales: UInt8[np.ndarray, "N 4"]
    quats: UInt8[np.ndarray, "N 4"]
    colors: UInt8[np.ndarray, "N 4"]
    labels: UInt8[np.ndarray, "N 4"] | None


class _Meta:
    """meta.json, whose every field is looked at before it is used."""

    def __init__(self, path: Path, content: object):
        self.path, self.content = path, content

    def get(self, *names: str) -> object:
        """The value below these names."""
        value = self.content
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise InputError(f"{self.path}: {META} has no {'.'.join(names)}; write the file again")
            value = value[name]
        return value

    def numbers(self, count: int, *names: str) -> np.ndarray:
        """Exactly `count` finite numbers."""
        value = self.get(*names)
        good = isinstance(value, list) and len(value) == count
        if not good or not all(isinstance(v, int | float) and abs(v) < 1e30 for v in value):
            raise InputError(f"{self.path}: {'.'.join(names)} of {META} is no list of {count} numbers")
        return np.array(value, np.float64)

    def whole(self, low: int, high: int, *names: str) -> int:
        """A whole number in a range."""
        value = self.get(*names)
        if not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{self.path}: {'.'.join(names)} of {META} is no whole number from {low} to {high}")
        return value

    def files(self, count: int, name: str) -> list[str]:
        """Names of pictures."""
        value = self.get(name, "files")
        if not isinstance(value, list) or len(value) != count or not all(isinstance(v, str) for v in value):
            raise InputError(f"{self.path}: {name}.files of {META} does not name {count} pictures")
        return value


def read_sog(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file: a .sog, or the meta.json of one that is unpacked.

    Raises: InputError when the file is no SOG, is damaged, or claims more than it holds.
    Limits: not version 1, whose meta.json has no version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() == ".json":
        return _read(path, lambda name: _file_bytes(safe_join(path.parent, name)), path.read_bytes())
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, lambda name: _entry(path, archive, name), _entry(path, archive, META))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise InputError(f"{path}: no SOG file ({error}); it must be a zip file with {META} in it") from error


def _read(path: Path, load: Callable[[str], bytes], meta_bytes: bytes) -> Gaussians:
    meta = _parse(path, meta_bytes)
    count = meta.whole(1, _MAX_SIDE**2, "count")
    has_rest = isinstance(meta.content, dict) and meta.content.get("shN") is not None
    degree = meta.whole(1, 3, "shN", "bands") if has_rest else 0
    low, high = (_picture(path, name, load(name), count) for name in meta.files(2, "means"))
    scales, quats, colors = (
        _picture(path, n, load(n), count) for k in ("scales", "quats", "sh0") for n in meta.files(1, k)
    )
    palette_name, labels_name = meta.files(2, "shN") if has_rest else ("", "")
    labels = _picture(path, labels_name, load(labels_name), count) if has_rest else None
    entries = _palette(path, meta, load(palette_name), palette_name, degree) if has_rest else None
    decoder = _Decoder(path, meta, _Pixels(low, high, scales, quats, colors, labels), entries)
    antialiased = isinstance(meta.content, dict) and meta.content.get("model") == "antialiased"
    return assembled(path, count, degree, antialiased, decoder.block)


def _parse(path: Path, data: bytes) -> _Meta:
    if len(data) > _MAX_META_BYTES:
        raise InputError(f"{path}: {META} has {len(data)} bytes; that is none of a SOG file")
    try:
        meta = _Meta(path, json.loads(data))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {META} is no JSON ({error}); write the file again") from error
    if not isinstance(meta.content, dict) or meta.content.get("version") != 2:
        raise InputError(f"{path}: no SOG of version 2; convert older ones (for example with splat-transform)")
    return meta


def _file_bytes(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
        raise InputError(f"{path}: a picture of the SOG is missing or too large; copy it again")
    return path.read_bytes()


def _entry(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of the archive; no more is unpacked than the archive is long, as pictures are packed already."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise InputError(f"{path}: the file holds no {name}; write it again") from None
    if info.file_size > max(_MAX_META_BYTES, path.stat().st_size):
        raise InputError(f"{path}: {name} claims {info.file_size} bytes, more than the file has; it is damaged")
    try:
        return archive.read(info)
    except (OSError, RuntimeError, ValueError, struct.error, zlib.error) as error:
        # The archive's index leads elsewhere, the entry says it is encrypted, or its stream is damaged.
        raise InputError(f"{path}: {name} cannot be unpacked ({said(error)}); the file is damaged") from error


def _open(path: Path, name: str, data: bytes, least_pixels: int) -> Image.Image:
    """A picture whose size has been looked at, not yet unpacked."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
            image = Image.open(io.BytesIO(data), formats=["WEBP", "PNG"])
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: {name} is no WebP picture ({error}); write the file again") from error
    if not least_pixels <= image.width * image.height <= 4 * least_pixels + _MAX_SIDE:
        size = f"{image.width}x{image.height}"
        raise InputError(f"{path}: {name} has {size} pixels for {least_pixels} values; write the file again")
    return image


def _picture(path: Path, name: str, data: bytes, count: int) -> UInt8[np.ndarray, "N 4"]:
    """A row a Gaussian."""
    return _pixels(path, name, _open(path, name, data, count)).reshape(-1, 4)[:count]


def _pixels(path: Path, name: str, image: Image.Image) -> UInt8[np.ndarray, "H W 4"]:
    try:
        return np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: {name} is damaged ({error}); copy the file again") from error


def _palette(path: Path, meta: _Meta, data: bytes, name: str, degree: int) -> np.ndarray:
    """Harmonics of each entry, a row each."""
    count, num = meta.whole(1, 65536, "shN", "count"), (degree + 1) ** 2 - 1
    book = meta.numbers(256, "shN", "codebook")
    pixels = _pixels(path, name, _open(path, name, data, count * num))
    if pixels.shape[1] != PALETTE_COLUMNS * num or pixels.shape[0] * PALETTE_COLUMNS < count:
        raise InputError(f"{path}: {name} has {pixels.shape[1]}x{pixels.shape[0]} pixels; too few for {count} entries")
    return book[pixels[:, :, :3].reshape(-1, num * 3)[:count]].astype(np.float32)


class _Decoder:
    """Pixels to Gaussians, some at a time."""

    def __init__(self, path: Path, meta: _Meta, pixels: _Pixels, entries: np.ndarray | None):
        self.path, self.pixels, self.entries = path, pixels, entries
        self.low, self.high = meta.numbers(3, "means", "mins"), meta.numbers(3, "means", "maxs")
        self.scale_book, self.color_book = meta.numbers(256, "scales", "codebook"), meta.numbers(256, "sh0", "codebook")

    def block(self, start: int, stop: int) -> Gaussians:
        """Gaussians from one number to another."""
        pixels, part = self.pixels, slice(start, stop)
        fixed = pixels.low[part, :3].astype(np.float64) + 256.0 * pixels.high[part, :3]
        means = self.low + fixed / 65535 * (self.high - self.low)
        colors = pixels.colors[part]
        return Gaussians(
            means_world=_tensor(np.sign(means) * np.expm1(np.abs(means))),
            log_scales=_tensor(self.scale_book[pixels.scales[part, :3]]),
            quats_wxyz=self._quats(pixels.quats[part]),
            logit_opacities=logits(_tensor(colors[:, 3] / 255)),
            sh=torch.cat([_tensor(self.color_book[colors[:, :3]])[:, None], self._harmonics(part)], dim=1),
        )

    def _quats(self, rows: UInt8[np.ndarray, "N 4"]) -> torch.Tensor:
        if len(rows) and rows[:, 3].min() < QUAT_MARK:
            raise InputError(f"{self.path}: its quaternions name no component; the pictures were packed with loss")
        return with_largest(rows[:, 3].astype(np.int64) - QUAT_MARK, (rows[:, :3] / 255 - 0.5) * SQRT2)

    def _harmonics(self, part: slice) -> torch.Tensor:
        if self.entries is None or self.pixels.labels is None:
            return torch.zeros(part.stop - part.start, 0, 3)
        labels = self.pixels.labels[part]
        index = labels[:, 0].astype(np.int64) | (labels[:, 1].astype(np.int64) << 8)
        if index.max(initial=0) >= len(self.entries):
            raise InputError(f"{self.path}: a Gaussian points behind the {len(self.entries)} entries of the palette")
        return torch.from_numpy(self.entries[index]).reshape(len(labels), -1, 3)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
