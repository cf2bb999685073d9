"""From stored pixels to the photo that training sees: undistorted, area-averaged, with a validity mask.

Both happen in one pass over bands of rows: the band is undistorted at the photo's own resolution by bilinear
interpolation and then averaged down over exact pixel areas, so nothing aliases and no second full-size image exists.
Filters work on premultiplied colours, because the colour of a transparent pixel means nothing; what is stored is
straight.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Int, UInt8
from torch import Tensor

from neural3d.capture.lenses import Lens, distort, largest_radius, seen_by
from neural3d.capture.light_files import BRIGHTEST
from neural3d.srgb import encode_srgb

BAND_PIXELS = 500_000
"""Source pixels worked on at once; about 30 bytes each are needed."""
_WHOLE = 1.0 - 1e-3
"""A pixel is valid when all of its area is, up to float32 rounding."""


@dataclass(frozen=True)
class Developed:
    """One photo, ready for training."""

    pixels: UInt8[Tensor, "H W 3"]
    alpha: UInt8[Tensor, "H W"] | None
    valid: Bool[Tensor, "H W"] | None
    """None where every pixel is valid."""
    light: Float16[Tensor, "H W 3"] | None = None
    """Where the photo held light, of which `pixels` are what a display shows."""


@dataclass(frozen=True)
class _Source:
    """A decoded photo with its lens."""

    pixels: UInt8[np.ndarray, "H W C"] | Float32[np.ndarray, "H W C"]
    usable: Bool[np.ndarray, "H W"] | None
    lens: Lens

    @property
    def has_alpha(self) -> bool:
        return self.pixels.shape[2] == 4

    @property
    def is_light(self) -> bool:
        return self.pixels.dtype != np.uint8

    def layers(self, top: int, bottom: int) -> Float[Tensor, "C B W"]:
        """Rows as float layers: colours 0..255, premultiplied; alpha 0..1 where there is one; 0/1 of what is usable.

        Light is 0..255 up to a display's white, too.
        """
        rows = torch.from_numpy(self.pixels[top:bottom].astype(np.float32)).permute(2, 0, 1)
        if self.is_light:
            rows = rows * 255.0
        layers = [rows[:3]]
        if self.has_alpha:
            alpha = rows[3:] / 255.0
            layers = [rows[:3] * alpha, alpha]
        if self.usable is not None:
            layers.append(torch.from_numpy(self.usable[top:bottom].astype(np.float32))[None])
        elif not self.lens.is_pinhole:
            layers.append(torch.ones(1, *rows.shape[1:]))
        return torch.cat(layers)


def develop(
    pixels: UInt8[np.ndarray, "H W C"] | Float32[np.ndarray, "H W C"],
    usable: Bool[np.ndarray, "H W"] | None,
    lens: Lens,
    width: int,
    height: int,
) -> Developed:
    """Undistort a photo to the pinhole of the same focal length and principal point, and average it down.

    `lens` describes `pixels` as they are; the result is width x height, of which the intrinsics are
    `lens.scaled(width, height)` without distortion. A pixel is valid when all of its area was seen by the lens and is
    `usable`. Pixels of floats are linear light, which is averaged as light.
    """
    source = _Source(pixels, usable, lens)
    rows = max(1, int(BAND_PIXELS * height / (lens.width * lens.height)))
    bands = [_band(source, top, min(top + rows, height), width, height) for top in range(0, height, rows)]
    masked = usable is not None or not lens.is_pinhole
    return (_quantise_light if source.is_light else _quantise)(bands, source.has_alpha, masked)


def _band(source: _Source, top: int, bottom: int, width: int, height: int) -> Tensor:
    """Rows top..bottom of the result as bytes, or floats of light; what is usable becomes 255 where it is wholly so."""
    full_width, full_height = source.lens.width, source.lens.height
    first = top * full_height // height
    last = min(full_height, -(-bottom * full_height // height))
    undistorted = source.layers(first, last) if source.lens.is_pinhole else _undistort(source, first, last)
    if full_width % width == 0 and full_height % height == 0:
        # Whole factors: the same average, several times faster.
        layers = torch.nn.functional.avg_pool2d(undistorted, (full_height // height, full_width // width))
    else:
        layers = _average(undistorted, 1, _area_taps(full_height, height, top, bottom), first)
        layers = _average(layers, 2, _area_taps(full_width, width, 0, width), 0)
    colors = layers[:3]
    if source.has_alpha:
        # Where alpha is 0 the colour is 0, too.
        colors = colors / layers[3:4].clamp(min=1e-6)
        layers[3] *= 255.0
    layers = torch.cat([colors, layers[3:]])
    if source.usable is not None or not source.lens.is_pinhole:
        layers[-1] = (layers[-1] >= _WHOLE) * 255.0
    return layers if source.is_light else (layers + 0.5).floor_().clamp_(0, 255).to(torch.uint8)


def _quantise_light(bands: list[Float[Tensor, "C _ W"]], has_alpha: bool, masked: bool) -> Developed:
    """Light in half, and what a display shows of it in bytes."""
    layers = torch.cat(bands, dim=1)
    light = (layers[:3] / 255).clamp(0, BRIGHTEST).half()
    shown = torch.cat([255 * encode_srgb(light.float()), layers[3:]])
    developed = _quantise([(shown + 0.5).floor().clamp(0, 255).to(torch.uint8)], has_alpha, masked)
    return replace(developed, light=light.permute(1, 2, 0).contiguous())


def _quantise(bands: list[UInt8[Tensor, "C _ W"]], has_alpha: bool, masked: bool) -> Developed:
    layers = torch.cat(bands, dim=1)
    valid = layers[-1] > 0 if masked else None
    return Developed(
        pixels=layers[:3].permute(1, 2, 0).contiguous(),
        alpha=layers[3].clone() if has_alpha else None,
        valid=None if valid is None or bool(valid.all()) else valid,
    )


def _undistort(source: _Source, first: int, last: int) -> Float[Tensor, "C B W"]:
    """Rows first..last of the pinhole image, at the photo's own resolution."""
    look_up = _look_up(source.lens, first, last)
    layers = source.layers(look_up.top, look_up.bottom)
    sampled = torch.nn.functional.grid_sample(
        layers[None], look_up.grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0].mul_(look_up.seen)


@dataclass(frozen=True)
class _LookUp:
    """Where a band of the pinhole image lies on the photo."""

    top: int
    bottom: int
    """The rows of the photo that are needed."""
    grid: Float[Tensor, "B W 2"]
    """-1 to 1 across those rows and all columns."""
    seen: Bool[Tensor, "B W"]


@functools.lru_cache(maxsize=4)
def _look_up(lens: Lens, first: int, last: int) -> _LookUp:
    """Cached for photos that share a lens and are of moderate size; a band takes 5 MB."""
    points = _normalised_grid(lens, first, last)
    pixels = distort(lens, points)
    seen = seen_by(lens, pixels) & (points.square().sum(-1) <= _radius_bound(lens) ** 2)
    rows = pixels[..., 1][seen]
    top, bottom = 0, 1
    if len(rows):
        top = max(0, math.floor(float(rows.min()) - 1))
        bottom = min(lens.height, math.ceil(float(rows.max()) + 1))
    at = pixels - torch.tensor([0.0, float(top)])
    grid = 2 * at / torch.tensor([float(lens.width), float(bottom - top)]) - 1
    return _LookUp(top, bottom, grid.nan_to_num_(), seen)


def _normalised_grid(lens: Lens, first: int, last: int) -> Float[Tensor, "B W 2"]:
    """Pixel centres of the pinhole image on its plane at distance 1."""
    x = (torch.arange(lens.width) + 0.5 - lens.principal_px[0]) / lens.focal_px[0]
    y = (torch.arange(first, last) + 0.5 - lens.principal_px[1]) / lens.focal_px[1]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _radius_bound(lens: Lens) -> float:
    (fx, fy), (cx, cy) = lens.focal_px, lens.principal_px
    corner = math.hypot(max(abs(cx), abs(lens.width - cx)) / fx, max(abs(cy), abs(lens.height - cy)) / fy)
    return largest_radius(lens, 1.05 * corner)


@dataclass(frozen=True)
class _Taps:
    """Weights that make each output sample the average over its exact area of the input."""

    index: Int[Tensor, "M T"]
    weight: Float[Tensor, "M T"]


def _area_taps(size: int, target: int, start: int, stop: int) -> _Taps:
    """For outputs start..stop of `target` samples that share `size` input samples."""
    edges = np.arange(start, stop + 1, dtype=np.float64) * size / target
    low, high = edges[:-1], edges[1:]
    first = np.floor(low).astype(np.int64)
    index = first[:, None] + np.arange(int((np.ceil(high) - first).max()))
    overlap = np.minimum(index + 1, high[:, None]) - np.maximum(index, low[:, None])
    weight = overlap.clip(0) * target / size
    return _Taps(torch.from_numpy(index.clip(0, size - 1)), torch.from_numpy(weight.astype(np.float32)))


def _average(layers: Float[Tensor, "C B W"], dim: int, taps: _Taps, offset: int) -> Tensor:
    """Weighted sum along rows (1) or columns (2); `layers` start at input sample `offset`."""
    shape = (-1, 1) if dim == 1 else (-1,)
    index = (taps.index - offset).clamp(0, layers.shape[dim] - 1)
    total = None
    for tap in range(index.shape[1]):
        part = layers.index_select(dim, index[:, tap]) * taps.weight[:, tap].reshape(shape)
        total = part if total is None else total.add_(part)
    return total
