"""Photos and masks from strangers, as uint8: every pixel format right or refused, nothing mangled in silence.

A frame's photo is taken as it is stored when that fits its camera, else as its EXIF orientation turns it: structure
from motion works on stored pixels and ignores EXIF, other tools turn the photo first, and the camera's size tells.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from PIL import ExifTags, Image

from neural3d.capture.light_files import SUFFIX, light_size, read_light
from neural3d.capture.listing import BadFrame
from neural3d.srgb import encode_srgb

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
MAX_PIXELS = 178_000_000
"""More than any phone takes, less than fills a laptop's memory; a file of 100 bytes can claim as much."""

_ROWS = 256

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_MODES_16_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns stored pixels upright, by EXIF orientation."""
_TURN_BACK = {**_TURN, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Header:
    """What a photo's file says before its pixels are decoded."""

    width: int
    """As stored, before any EXIF orientation."""
    height: int
    orientation: int
    """EXIF, 1 to 8; 1 is upright."""
    has_alpha: bool

    @property
    def turned_size(self) -> tuple[int, int]:
        """Width and height once the EXIF orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@contextmanager
def safe_open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image of one of the known formats, of a size that is bounded; the only place that does.

    Raises: BadFrame for whatever cannot be opened or, within the block, decoded.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadFrame(f"{path.name} claims {width} x {height} pixels, at most {MAX_PIXELS} are read")
            yield image
    except (BadFrame, MemoryError):
        raise
    except FileNotFoundError as error:
        raise BadFrame(f"{path.name} is missing") from error
    except PermissionError as error:
        raise BadFrame(f"{path.name} cannot be read ({error.strerror}); change its permissions") from error
    except Exception as error:
        # Decoders meet hostile and damaged bytes with errors of nearly every kind.
        raise BadFrame(f"{path.name} cannot be decoded ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return f"no {', '.join(FORMATS)}"
    return " ".join(str(error).split())[:120] or type(error).__name__


def read_header(path: Path) -> Header:
    """Read size, orientation and whether there is transparency, without decoding.

    Raises: BadFrame when the file is missing, no image, of an unknown pixel format, or too large.
    """
    if path.suffix.lower() == SUFFIX:
        width, height, has_alpha = light_size(path, MAX_PIXELS)
        return Header(width, height, 1, has_alpha)
    with safe_open_image(path) as image:
        _require_known(image, path)
        orientation = _orientation(image)
        width, height = image.size
        if image.format == "TIFF" and orientation >= 5:
            # Pillow announces TIFF files turned.
            width, height = height, width
        return Header(width, height, orientation, image.has_transparency_data)


def _require_known(image: Image.Image, path: Path) -> None:
    if image.mode not in _MODES + _MODES_16_BIT:
        raise BadFrame(f"{path.name} has pixels of type {image.mode}, which are not supported; convert it to 8 bit")


def _orientation(image: Image.Image) -> int:
    # Not image.getexif(): of a PNG without EXIF it decodes all pixels to look behind them.
    orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in _TURN else 1


def read_pixels(path: Path, *, turned: bool) -> UInt8[np.ndarray, "H W C"]:
    """Decode a photo to RGB, or to RGBA with straight alpha where it has transparency.

    `turned` applies the EXIF orientation; else pixels come as they are stored. Of light it is what a display shows.

    Raises: BadFrame when it cannot be decoded to its end.
    """
    if path.suffix.lower() == SUFFIX:
        return _display_pixels(read_light(path, MAX_PIXELS))
    with safe_open_image(path) as image:
        _require_known(image, path)
        orientation = _orientation(image)
        image.load()
        is_turned = image.format == "TIFF"
        if turned != is_turned and orientation != 1:
            image = image.transpose((_TURN if turned else _TURN_BACK)[orientation])
        return _to_uint8(image, path)


def _display_pixels(light: Float32[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W C"]:
    shown = encode_srgb(torch.from_numpy(light[..., :3])).clamp(0, 1).numpy()
    return (np.concatenate([shown, light[..., 3:]], axis=-1) * 255 + 0.5).astype(np.uint8)


def _to_uint8(image: Image.Image, path: Path) -> UInt8[np.ndarray, "H W C"]:
    if image.mode in _MODES_16_BIT:
        return _grey_from_16_bit(image, path)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.empty((image.height, image.width, len(mode)), dtype=np.uint8)
    # In parts: as a whole, conversion and array would each hold a second copy of a photo of tens of megabytes.
    for top in range(0, image.height, _ROWS):
        bottom = min(top + _ROWS, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)).convert(mode))
    return pixels


def _grey_from_16_bit(image: Image.Image, path: Path) -> UInt8[np.ndarray, "H W C"]:
    """Scale 0..65535 to 0..255; Pillow's own conversion cuts everything above 255 off."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise BadFrame(f"{path.name} has values from {values.min()} to {values.max()}, expected 16 bit")
    grey = ((values + 128) // 257).astype(np.uint8)
    channels = [grey, grey, grey]
    if (transparent := image.info.get("transparency")) is not None:
        channels.append(np.where(values == transparent, 0, 255).astype(np.uint8))
    return np.stack(channels, axis=-1)


def read_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """Decode a mask: black is ignored, white is used, and a mask of 0 and 1 means the same.

    A mask that is one colour everywhere but transparent in places is taken from its alpha.

    Raises: BadFrame when it cannot be decoded.
    """
    with safe_open_image(path) as image:
        _require_known(image, path)
        image.load()
        if image.mode in _MODES_16_BIT:
            values, full = np.asarray(image).astype(np.int64), 65535
        else:
            values, full = _mask_values(image), 255
    threshold = 1 if values.max() <= 1 else (full + 1) // 2
    return values >= threshold


def _mask_values(image: Image.Image) -> UInt8[np.ndarray, "H W"]:
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    colors = np.asarray(image.convert("RGBA"))
    is_one_color = (colors[..., :3] == colors[0, 0, :3]).all()
    return colors[..., 3] if is_one_color else np.asarray(image.convert("RGB").convert("L"))
