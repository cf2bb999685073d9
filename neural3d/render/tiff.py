"""Renders as TIFF of 16 bits a channel. Needs the extra [vfx]."""

import struct
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.storage import atomic_write

_NOTE = "neural3d:fingerprint="


def write_tiff(path: str | Path, image: Float[Tensor, "H W C"], *, fingerprint: str = "") -> None:
    """Write display sRGB with 3 or 4 channels (straight alpha); values are clamped to [0, 1] and rounded.

    Raises: ValueError for other numbers of channels; InputError where tifffile is not installed; StorageError.
    """
    if image.shape[-1] not in (3, 4):
        raise ValueError(f"image: {image.shape[-1]} channels; expected 3 or 4")
    path = Path(path)
    tifffile = require_tifffile(path)
    values = (image.detach().cpu().clamp(0, 1).double() * 65535 + 0.5).floor().numpy().astype(np.uint16)
    extra = {"extrasamples": ["unassalpha"]} if image.shape[-1] == 4 else {}

    def write(temporary: Path) -> None:
        tifffile.imwrite(
            temporary,
            values,
            photometric="rgb",
            compression="zlib",
            predictor=True,
            metadata=None,
            description=_NOTE + fingerprint,
            software="neural3d",
            **extra,
        )

    atomic_write(path, write, estimate_bytes=values.nbytes)


def tiff_fingerprint(path: Path) -> str | None:
    """What `write_tiff` was given to know the file by; None where it is none of ours, or damaged."""
    tifffile = require_tifffile(path)
    try:
        with tifffile.TiffFile(path) as file:
            text = file.pages[0].description
    except (tifffile.TiffFileError, struct.error, IndexError, ValueError):
        return None
    return text.removeprefix(_NOTE) if text.startswith(_NOTE) else None


def require_tifffile(path: Path) -> ModuleType:
    """The library.

    Raises: InputError with the remedy where it is missing.
    """
    try:
        import tifffile
    except ImportError as error:
        raise InputError(f"{path}: TIFF files need tifffile: pip install tifffile") from error
    return tifffile
