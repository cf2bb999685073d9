"""OpenEXR files as such: parts of named channels, and a header. Needs the extra [vfx]."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from neural3d.errors import InputError
from neural3d.storage import atomic_write, system_error_of_words


def write_parts(path: Path, parts: dict[str, dict[str, np.ndarray]], header: dict[str, Any]) -> None:
    """Write arrays of one size, half or float, by part and channel; the header goes to every part.

    Raises: InputError where OpenEXR is not installed; StorageError.
    """
    exr = require_openexr(path)
    common = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage, **header}

    def write(temporary: Path) -> None:
        # Copies: the library writes into the dictionaries that it is given.
        found = [exr.Part(dict(common), dict(channels), name) for name, channels in parts.items()]
        try:
            exr.File(found).write(os.fspath(temporary))
        except RuntimeError as error:
            raise system_error_of_words(error) from error

    atomic_write(path, write, estimate_bytes=sum(a.nbytes for part in parts.values() for a in part.values()))


def write_deep_part(path: Path, planes: dict[str, np.ndarray], counts: np.ndarray, header: dict[str, Any]) -> None:
    """Write one part of deep scanlines: the samples of all pixels in order, by channel, and how many each pixel has.

    Raises: InputError where OpenEXR is not installed; StorageError.
    """
    exr = require_openexr(path)
    ends = counts.ravel().cumsum()
    channels = {name: _by_pixel(values, ends, counts.shape) for name, values in planes.items()}
    common = {"compression": exr.ZIPS_COMPRESSION, "type": exr.deepscanline, **header}

    def write(temporary: Path) -> None:
        try:
            exr.File([exr.Part(common, channels, "deep")]).write(os.fspath(temporary))
        except RuntimeError as error:
            raise system_error_of_words(error) from error

    atomic_write(path, write, estimate_bytes=sum(values.nbytes for values in planes.values()))


def _by_pixel(values: np.ndarray, ends: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As the library takes it: an array for each pixel."""
    pixels = np.empty(len(ends), dtype=object)
    begin = 0
    for i, end in enumerate(ends.tolist()):
        pixels[i] = values[begin:end]
        begin = end
    return pixels.reshape(shape)


def read_attribute(path: Path, name: str) -> Any:
    """Of the first part's header; None where there is none, or the file is no EXR, or damaged."""
    exr = require_openexr(path)
    try:
        with exr.File(os.fspath(path), header_only=True) as file:
            return file.header(0).get(name)
    except (RuntimeError, ValueError):  # the latter of text that is no UTF-8
        return None


def require_openexr(needed_for: Path | str) -> ModuleType:
    """The library.

    Raises: InputError with the remedy where it is missing.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(f"{needed_for}: EXR files need OpenEXR: pip install OpenEXR") from error
    return OpenEXR
