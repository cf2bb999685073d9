"""Renders as image files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from neural3d.storage import atomic_write


def to_uint8(image: Float[Tensor, "H W C"]) -> UInt8[np.ndarray, "H W C"]:
    """Display values in [0, 1] to bytes, clamped and rounded to the nearest."""
    return (image.detach().cpu().clamp(0, 1) * 255 + 0.5).floor().byte().numpy()


def write_png(path: str | Path, image: Float[Tensor, "H W C"], *, bits: int = 8, fingerprint: str = "") -> None:
    """Write display sRGB with 1 (grey), 3 or 4 channels (straight alpha) as PNG of 8 or 16 bits a channel.

    A `fingerprint` is kept with the picture, for `png_fingerprint`.

    Raises: ValueError for other numbers of channels or bits; StorageError.
    """
    channels = image.shape[-1]
    if channels not in _COLOR_TYPES or bits not in (8, 16):
        raise ValueError(f"image: {channels} channels at {bits} bits; expected 1, 3 or 4 channels and 8 or 16 bits")

    def write(temporary: Path) -> None:
        if bits == 16:
            temporary.write_bytes(_png16(image, fingerprint))
        else:
            pixels, text = to_uint8(image), PngInfo()
            if fingerprint:
                text.add_text(_FINGERPRINT, fingerprint)
            picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            picture.save(temporary, format="PNG", compress_level=4, pnginfo=text)

    atomic_write(Path(path), write, estimate_bytes=image.numel() * bits // 8)


def png_fingerprint(path: Path) -> str | None:
    """What `write_png` was given to know the file by; None where it is none of ours, or damaged."""
    with Path(path).open("rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            return None
        # The texts stand before the pixels, which need not be decoded, however large the picture is.
        while len(head := file.read(8)) == 8 and (kind := head[4:]) not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4], "big")
            if kind != b"tEXt":
                file.seek(length + 4, os.SEEK_CUR)
                continue
            name, _, text = file.read(min(length, _MAX_TEXT)).partition(b"\0")
            if name == _FINGERPRINT.encode():
                return text.decode("latin-1")
            file.seek(max(0, length - _MAX_TEXT) + 4, os.SEEK_CUR)
    return None


_FINGERPRINT = "neural3d:fingerprint"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 4096
"""Bytes of a text that is looked at."""
_COLOR_TYPES = {1: 0, 3: 2, 4: 6}
"""Of the PNG header, by the number of channels."""


def _png16(image: Float[Tensor, "H W C"], fingerprint: str) -> bytes:
    """16 bits a channel, which Pillow cannot write in colour.

    Source: PNG specification, third edition, sections 5 and 11.
    """
    values = (image.detach().cpu().clamp(0, 1).double() * 65535 + 0.5).floor().numpy().astype(">u2")
    height, width, channels = values.shape
    rows = np.zeros((height, 1 + 2 * width * channels), np.uint8)
    rows[:, 1:] = values.reshape(height, -1).view(np.uint8)
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0)
    text = [(b"tEXt", f"{_FINGERPRINT}\0{fingerprint}".encode("latin-1"))] if fingerprint else []
    chunks = [(b"IHDR", head), *text, (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
