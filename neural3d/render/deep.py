"""Deep pictures of splats: what a pixel shows, sample by sample with its depth, so that things can be put in between.

Needs the extra [vfx].
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.records import TILE_PX, Projected, TileBins
from neural3d.reference.rasterize import blending_weights, pixel_alphas
from neural3d.render.color_spaces import ColorSpace, to_scene
from neural3d.render.exr import ExrFrame, ExrSettings, exr_header, widened
from neural3d.render.exr_files import require_openexr, write_deep_part
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import blended_colors, projected_in, view_of

ALPHA_MIN, TRANSMITTANCE_MIN = 1 / 255, 1e-4
"""As the flat pictures have them."""
MAX_SAMPLES = 256
"""That one may ask for, of a pixel."""


@dataclass(frozen=True)
class DeepSamples:
    """S samples of P pixels, pixel after pixel, of each from front to back."""

    counts: Int64[Tensor, "P"]
    rgba: Float[Tensor, "S 4"]
    """Premultiplied by the sample's own alpha."""
    fronts: Float[Tensor, "S"]
    """z along the camera's axis, where a sample begins."""
    backs: Float[Tensor, "S"]
    """Where it ends; the next begins there or behind."""


def write_deep_exr(
    path: str | Path,
    gaussians: Gaussians,
    frame: ExrFrame,
    *,
    capture_from_scene: Similarity,
    max_samples: int,
    settings: ExrSettings = ExrSettings(),
    fingerprint: str = "",
) -> None:
    """Render one frame and write it as one deep part of scanlines: R, G, B, A, Z and ZBack, sorted and tidy.

    Depths are z along the camera's axis in the capture's units. Of `settings`, the colour space, the precision and the
    overscan count. Flattened, the samples give the colours and alphas of the flat picture.

    Raises: InputError where OpenEXR is not installed; StorageError.
    Limits: a Gaussian is a sample at its own depth, not a body. The whole frame is in memory: about 700 bytes a pixel,
    and 24 a sample.
    """
    path = Path(path)
    require_openexr(path)
    samples, shape = deep_samples(gaussians, widened(frame.camera, settings.overscan_px), settings.space, max_samples)
    kind = np.float32 if settings.precision == "float" else np.float16
    planes = {name: samples.rgba[:, i].numpy().astype(kind) for i, name in enumerate("RGBA")}
    depths = {"Z": samples.fronts, "ZBack": samples.backs}
    planes |= {name: (values.double() * capture_from_scene.scale).float().numpy() for name, values in depths.items()}
    header = exr_header(frame, capture_from_scene, settings, fingerprint)
    write_deep_part(path, planes, samples.counts.view(shape).numpy(), header)


@torch.no_grad()
def deep_samples(
    gaussians: Gaussians, camera: Cameras, space: ColorSpace, max_samples: int
) -> tuple[DeepSamples, tuple[int, int]]:
    """The samples of the one view, row by row, and its height and width.

    Raises: ValueError for a `max_samples` beyond 1 to `MAX_SAMPLES`.
    """
    if not 1 <= max_samples <= MAX_SAMPLES:
        raise ValueError(f"max_samples: expected 1 to {MAX_SAMPLES}, got {max_samples}")
    view = view_of(camera, 0)
    gaussians = gaussians.map(lambda tensor: tensor.detach().cpu())
    projected = projected_in(gaussians, view)
    colors = blended_colors(gaussians, view, gaussians.sh_degree, projected)
    bins = bin_gaussians(projected, width=view.width, height=view.height)
    convert = partial(to_scene, space=space, is_light=gaussians.linear)
    found = [
        (pixels, _samples(pixels, listed, projected, colors, convert, max_samples)) for pixels, listed in _tiles(bins)
    ]
    return _by_row(found, view.width, view.height), (view.height, view.width)


def _tiles(bins: TileBins) -> Iterator[tuple[Int64[Tensor, "P 2"], Int64[Tensor, "I"]]]:
    """Of each tile its pixels (x, y), row by row within the image, and its Gaussians from front to back."""
    offsets, across = bins.tile_offsets.tolist(), -(-bins.width // TILE_PX)
    for tile in range(len(offsets) - 1):
        top, left = (index * TILE_PX for index in divmod(tile, across))
        x = torch.arange(left, min(left + TILE_PX, bins.width))
        y = torch.arange(top, min(top + TILE_PX, bins.height))
        pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
        yield pixels, bins.gaussian_from_intersection[offsets[tile] : offsets[tile + 1]].long()


def _samples(
    pixels: Int64[Tensor, "P 2"],
    listed: Int64[Tensor, "I"],
    projected: Projected,
    colors: Float[Tensor, "N 3"],
    convert: Callable[[Tensor, Tensor], Tensor],
    max_samples: int,
) -> DeepSamples:
    """Of the pixels of one tile."""
    ellipses = projected.means_px[listed], projected.conics[listed], projected.opacities[listed]
    alphas = pixel_alphas(pixels + 0.5, *ellipses, ALPHA_MIN)
    weights, _ = blending_weights(alphas, TRANSMITTANCE_MIN)
    pixel, place = weights.nonzero(as_tuple=True)
    of_group, group = torch.unique_consecutive(
        pixel * max_samples + _groups(weights, max_samples)[pixel, place], return_inverse=True
    )
    of_pixel = of_group // max_samples
    weight = weights[pixel, place].double()
    share = _summed(weight, group, len(of_group))
    display = _summed(weight[:, None] * colors[listed][place].double(), group, len(of_group))
    first = torch.searchsorted(group, torch.arange(len(of_group)))
    last = torch.searchsorted(group, torch.arange(len(of_group)), right=True) - 1
    depths = projected.depths[listed][place]
    light = _light(display, share, of_pixel, len(pixels), convert)
    # What a sample lets through is what is left behind it, of what has come to it.
    before = share.cumsum(0) - share
    begin = torch.searchsorted(of_pixel, of_pixel)
    in_front = 1 - (before - before[begin])
    rgba = torch.cat([light, share[:, None]], dim=1) / in_front[:, None]
    counts = torch.bincount(of_pixel, minlength=len(pixels))
    return DeepSamples(counts, rgba.float(), depths[first], depths[last])


def _groups(weights: Float[Tensor, "P I"], max_samples: int) -> Int64[Tensor, "P I"]:
    """Which sample a Gaussian goes into: one of its own, or where there are too many, neighbours of equal weight."""
    there = weights > 0
    rank = there.cumsum(1) - 1
    middle = (weights.double().cumsum(1) - weights / 2) / weights.double().sum(1, keepdim=True).clamp(min=1e-12)
    shared = (middle * max_samples).long().clamp(0, max_samples - 1)
    return torch.where(there.sum(1, keepdim=True) <= max_samples, rank, shared)


def _light(
    display: Float[Tensor, "S 3"],
    share: Float[Tensor, "S"],
    of_pixel: Int64[Tensor, "S"],
    count: int,
    convert: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "S 3"]:
    """Each sample's part of the light that a pixel sends, from its part of the display value.

    Most models blend as display values, and a curve of a sum is no sum of curves: each sample's own colour goes through
    the curve, and then all of a pixel are scaled so that together they are what the flat picture has.
    """
    each = convert(display, share[:, None])
    flat = convert(_summed(display, of_pixel, count), _summed(share, of_pixel, count)[:, None])
    together = _summed(each, of_pixel, count)
    factor = torch.where(together.abs() > 1e-12, flat / together, 1)
    return each * factor[of_pixel]


def _summed(values: Float[Tensor, "M *D"], index: Int64[Tensor, "M"], count: int) -> Float[Tensor, "K *D"]:
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, index, values)


def _by_row(found: list[tuple[Tensor, DeepSamples]], width: int, height: int) -> DeepSamples:
    """The tiles' samples in the order of the picture's pixels."""
    counts = torch.zeros(height * width, dtype=torch.int64)
    places = [pixels[:, 1] * width + pixels[:, 0] for pixels, _ in found]
    for place, (_, samples) in zip(places, found, strict=True):
        counts[place] = samples.counts
    # A stable sort by pixel keeps each pixel's samples from front to back.
    pixel = torch.cat(
        [place.repeat_interleave(samples.counts) for place, (_, samples) in zip(places, found, strict=True)]
    )
    order = pixel.argsort(stable=True)
    parts = (torch.cat([getattr(s, name) for _, s in found])[order] for name in ("rgba", "fronts", "backs"))
    return DeepSamples(counts, *parts)
