"""How good a photo is, from its pixels: sharpness, brightness, and a fingerprint that finds its twins."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

MEASURED_SIDE_PX = 1280
"""Photos are measured at this size: about that of training, so that blur which nobody will see does not count."""
ROUNDING_ENERGY = 3.0
"""Laplacian energy of an 8-bit picture that shows nothing: rounding alone gives 20/12, compression the rest."""
_FINGERPRINT_SIDE = 16


@dataclass(frozen=True)
class PhotoQuality:
    """What is measured of one photo; compare it with the others of the same capture."""

    sharpness: float
    """Fine detail relative to coarse detail, > 0; halves with a blur of about a pixel (at `MEASURED_SIDE_PX`)."""
    brightness: float
    """Mean grey value in display sRGB, 0 to 1."""
    clipped: float
    """Share of pixels that are black or white."""
    contrast: float
    """Standard deviation of the grey values, 0 to 0.5."""
    fingerprint: str
    """256 bits as hexadecimal digits; equal photos have equal ones, small changes flip few bits."""


def measure_photo(pixels: UInt8[np.ndarray, "H W C"]) -> PhotoQuality:
    """Measure a photo of any size."""
    grey = grey_image(pixels, MEASURED_SIDE_PX)
    values = np.asarray(grey, dtype=np.float32)
    return PhotoQuality(
        sharpness=sharpness(values),
        brightness=float(values.mean() / 255),
        clipped=float(((values < 4) | (values > 251)).mean()),
        contrast=float(values.std() / 255),
        fingerprint=_fingerprint(grey),
    )


def grey_image(pixels: UInt8[np.ndarray, "H W C"], side_px: int) -> Image.Image:
    """The photo in grey, its longer side at most `side_px`."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    factor = max(1, -(-max(image.size) // side_px))
    return image.reduce(factor).convert("L")


def sharpness(grey: Float32[np.ndarray, "H W"]) -> float:
    """Energy of the Laplacian at the pixel's scale relative to that at four times the scale.

    The ratio forgives photos that show little: a plain wall has little of either. Source: the measure of focus is
    the Laplacian's energy (Nayar and Nakagawa 1994, Shape from Focus), its normalisation is ours.
    """
    fine = max(_laplacian_energy(grey) - ROUNDING_ENERGY, 0.01)
    return float(np.sqrt(fine / (_laplacian_energy(_quarter(grey)) + 1.0)))


def _quarter(grey: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "h w"]:
    height, width = (side - side % 4 for side in grey.shape)
    if min(height, width) < 16:
        return grey
    return grey[:height, :width].reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))


def _laplacian_energy(grey: Float32[np.ndarray, "H W"]) -> float:
    if min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(np.square(laplacian, dtype=np.float64).mean())


def _fingerprint(grey: Image.Image) -> str:
    """Bits of which pixel of a tiny copy is brighter than its right neighbour. Source: "dHash", Krawetz 2013."""
    tiny = np.asarray(grey.resize((_FINGERPRINT_SIDE + 1, _FINGERPRINT_SIDE), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(tiny[:, 1:] > tiny[:, :-1]).tobytes().hex()


def fingerprint_distance(first: str, second: str) -> int:
    """How many of the 256 bits differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
