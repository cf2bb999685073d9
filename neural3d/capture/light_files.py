"""Photos of linear light: OpenEXR, with the primaries of Rec.709. Needs the extra [vfx]."""

import io
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from neural3d.capture.listing import BadFrame
from neural3d.errors import said
from neural3d.storage import atomic_write, system_error_of_words

SUFFIX = ".exr"
FOLDER = "linear"
"""Beside `images/`: the same photos in linear light, for captures whose poses were found on what a display shows."""
BRIGHTEST = 65504.0
"""That half holds; what is brighter, or infinite, is this."""
_REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_TOLERANCE = 0.005
_MOST_CHANNELS = 64
"""Of all parts of a file together, in pictures of the largest size: decoding takes memory for all of them."""
_COLORS = ("R", "G", "B")
_MISSING = "EXR files need OpenEXR: pip install OpenEXR"
_ONE_AT_A_TIME = threading.Lock()
"""There is one standard output."""


def light_path(root: Path, name: str, image_path: Path) -> Path | None:
    """The file that holds a photo's light: itself, or the one of its name in `linear/`; None where there is none."""
    if image_path.suffix.lower() == SUFFIX:
        return image_path
    folder = root / FOLDER
    for candidate in (PurePosixPath(name.removeprefix("images/")), PurePosixPath(image_path.name)):
        path = folder / candidate.with_suffix(SUFFIX)
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    return None


def light_size(path: Path, max_pixels: int) -> tuple[int, int, bool]:
    """Width, height and whether there is alpha, without decoding.

    Raises: BadFrame when it is no EXR, its pixels are not linear light of Rec.709, or it is too large.
    """
    with _opened(path, header_only=True) as file:
        headers = [part.header for part in file.parts]
        values = sum(math.prod(_size(header)) * len(header["channels"]) for header in headers)
        if not 0 < values <= _MOST_CHANNELS * max_pixels:
            raise BadFrame(f"{path.name} claims {values} values, at most {_MOST_CHANNELS * max_pixels} are read")
        header = headers[_colored(path, headers)]
        width, height = _checked_size(path, header, max_pixels)
        return width, height, "A" in _names(header)


def read_light(path: Path, max_pixels: int) -> Float32[np.ndarray, "H W C"]:
    """Red, green, blue and where there is one straight alpha; 1 is a display's white. Negative light is 0.

    Raises: BadFrame as `light_size`, and when it cannot be decoded to its end or holds what is no number.
    """
    light_size(path, max_pixels)
    with _opened(path, header_only=False) as file:
        part = file.parts[_colored(path, [part.header for part in file.parts])]
        channels = {name: channel.pixels for name, channel in part.channels.items()}
    names = (*_COLORS, "A") if "A" in channels else _COLORS
    pixels = np.stack([np.asarray(channels[name], np.float32) for name in names], axis=-1)
    if np.isnan(pixels).any():
        raise BadFrame(f"{path.name} holds values that are no numbers; write it again")
    pixels = pixels.clip(0, BRIGHTEST)
    if len(names) == 4:
        pixels[..., 3] = pixels[..., 3].clip(0, 1)
        pixels[..., :3] /= pixels[..., 3:].clip(min=1e-6)
        pixels[..., :3] = np.where(pixels[..., 3:] > 0, pixels[..., :3], 0).clip(0, BRIGHTEST)
    return pixels


def write_light(path: Path, pixels: Float32[np.ndarray, "H W C"]) -> None:
    """What `read_light` reads: half floats, premultiplied where there is alpha.

    Raises: BadFrame where OpenEXR is not installed; StorageError.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise BadFrame(f"{path.name}: {_MISSING}") from error
    if pixels.shape[2] == 4:
        pixels = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)
    channels = {"RGBA"[: pixels.shape[2]]: np.ascontiguousarray(pixels.clip(0, BRIGHTEST), np.float16)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}

    def write(temporary: Path) -> None:
        try:
            OpenEXR.File(header, channels).write(str(temporary))
        except RuntimeError as error:
            raise system_error_of_words(error) from error

    atomic_write(path, write, estimate_bytes=pixels.size)


@contextmanager
def _opened(path: Path, *, header_only: bool) -> Iterator[Any]:
    try:
        import OpenEXR
    except ImportError as error:
        raise BadFrame(f"{path.name}: {_MISSING}") from error
    if not path.is_file():
        raise BadFrame(f"{path.name} is missing")
    said_aside = io.StringIO()
    try:
        # Pixels that cannot be decoded are no error to the library: it prints a warning, and leaves the part out.
        with _ONE_AT_A_TIME, redirect_stdout(said_aside):
            file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
        if said_aside.getvalue():
            raise BadFrame(f"{path.name} cannot be decoded ({said_aside.getvalue().strip()[:120]})")
        with file:
            yield file
    except (BadFrame, MemoryError):
        raise
    except Exception as error:
        # The library meets damaged bytes with errors of several kinds.
        raise BadFrame(f"{path.name} cannot be decoded ({said(error)})") from error


def _colored(path: Path, headers: list[dict[str, Any]]) -> int:
    """The first part that holds a flat picture in colour."""
    for number, header in enumerate(headers):
        if set(_COLORS) <= _names(header) and "deep" not in str(header["type"]):
            return number
    raise BadFrame(f"{path.name} has no flat part with channels R, G and B")


def _names(header: dict[str, Any]) -> set[str]:
    return {channel.name for channel in header["channels"]}


def _size(header: dict[str, Any]) -> tuple[int, int]:
    low, high = (np.asarray(corner).tolist() for corner in header["dataWindow"])
    return high[0] - low[0] + 1, high[1] - low[1] + 1


def _checked_size(path: Path, header: dict[str, Any], max_pixels: int) -> tuple[int, int]:
    width, height = _size(header)
    data, shown = ([np.asarray(c).tolist() for c in header[name]] for name in ("dataWindow", "displayWindow"))
    if not 0 < width * height <= max_pixels:
        raise BadFrame(f"{path.name} claims {width} x {height} pixels, at most {max_pixels} are read")
    if data != shown:
        raise BadFrame(f"{path.name}: its data window is not its display window; write the whole picture, and no more")
    primaries = header.get("chromaticities", _REC709)
    if any(not math.isclose(a, b, abs_tol=_TOLERANCE) for a, b in zip(primaries, _REC709, strict=True)):
        raise BadFrame(f"{path.name}: its primaries are not those of Rec.709; convert it to linear Rec.709")
    named = header.get("colorInteropID", "lin_rec709_scene")
    if not str(named).startswith("lin_rec709"):
        raise BadFrame(f"{path.name} says that it is {named}; convert it to linear Rec.709")
    return width, height
