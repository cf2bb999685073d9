"""Renders and plates: pictures bent as the lens of a photo bends them, and the maps that compositors do it with.

The straight picture is the pinhole of the same size, focal length and principal point, to which training undistorts.
"""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.capture.lens_inverse import undistort
from neural3d.capture.lenses import Lens, distort, largest_radius, seen_by
from neural3d.render.exr_files import write_parts

MAX_OVERSCAN = 1.0
"""Of the longer side of the picture: what lies farther out stays empty."""
_BY_NEAREST = ("depth", "normal", "position")
"""Between two surfaces there is no third one."""


@lru_cache(maxsize=2)
def plate_pixels(lens: Lens) -> Float[Tensor, "H W 2"]:
    """Where each pixel of the plate lies in the straight picture, float64; NaN where the lens shows nothing.

    Kept for the next frame of the same camera.
    """
    points = undistort(lens, _centers(lens))
    return points * torch.tensor(lens.focal_px).double() + torch.tensor(lens.principal_px).double()


def straight_pixels(lens: Lens) -> tuple[Float[Tensor, "H W 2"], Bool[Tensor, "H W"]]:
    """Where each pixel of the straight picture lies on the plate, and whether it is there at all."""
    points = (_centers(lens) - torch.tensor(lens.principal_px).double()) / torch.tensor(lens.focal_px).double()
    radius = points.norm(dim=-1)
    pixels = distort(lens, points)
    return pixels, seen_by(lens, pixels) & (radius <= largest_radius(lens, 1.05 * float(radius.max())))


def overscan_px(lens: Lens) -> int:
    """How far the straight picture must reach beyond its borders to fill the plate."""
    limit = int(MAX_OVERSCAN * max(lens.width, lens.height))
    if lens.is_pinhole:
        return 0
    pixels = plate_pixels(lens)
    x, y = pixels[pixels.isfinite().all(-1)].unbind(-1)
    beyond = [-float(x.min()), -float(y.min()), float(x.max()) - lens.width, float(y.max()) - lens.height]
    # One more for the neighbours that are blended.
    return min(limit, max(0, math.ceil(max(beyond)) + 1))


def bent(
    part: str, channels: dict[str, np.ndarray], pixels: Float[Tensor, "H W 2"], over: int
) -> dict[str, np.ndarray]:
    """A part of a straight picture with `over` pixels around it, as the plate has it; 0 where nothing leads.

    Colours, which are premultiplied light, are blended between four pixels; depths, normals and positions are taken
    from the nearest.
    """
    first = next(iter(channels.values()))
    height, width = first.shape
    mode = "nearest" if part in _BY_NEAREST else "bilinear"
    grid = (pixels + over) / torch.tensor([width, height]).double() * 2 - 1
    grid = grid.nan_to_num(9.0)[None].float()
    found = {}
    for name, values in channels.items():
        source = torch.from_numpy(values.astype(np.float32))[None, None]
        options = {"mode": mode, "padding_mode": "zeros", "align_corners": False}
        found[name] = torch.nn.functional.grid_sample(source, grid, **options)[0, 0].numpy().astype(values.dtype)
    return found


def write_st_map(path: Path, pixels: Float[Tensor, "H W 2"], size: tuple[int, int], valid: Bool[Tensor, "H W"]) -> None:
    """Write where each pixel comes from, as Nuke's STMap takes it: red from the left, green from the bottom, 0 to 1.

    Alpha is 1 where there is anything. What lies beyond the source's borders, as with overscan, is below 0 or above 1.

    Raises: InputError where OpenEXR is not installed; StorageError.
    """
    place = pixels / torch.tensor(size).double()
    red, green = (torch.where(valid, value, 0).float().numpy() for value in (place[..., 0], 1 - place[..., 1]))
    alpha = valid.float().numpy()
    write_parts(path, {"rgba": {"R": red, "G": green, "B": np.zeros_like(red), "A": alpha}}, {})


def write_st_maps(folder: Path, lens: Lens, label: str = "") -> int:
    """Write `undistort` and `redistort` of one lens; how much overscan the second needs to fill the plate, in pixels.

    Raises: as `write_st_map`.
    """
    size = (lens.width, lens.height)
    pixels, seen = straight_pixels(lens)
    write_st_map(folder / f"undistort{label}.exr", pixels, size, seen)
    back = plate_pixels(lens)
    write_st_map(folder / f"redistort{label}.exr", back, size, back.isfinite().all(-1))
    return overscan_px(lens)


def _centers(lens: Lens) -> Float[Tensor, "H W 2"]:
    x, y = torch.arange(lens.width, dtype=torch.float64) + 0.5, torch.arange(lens.height, dtype=torch.float64) + 0.5
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
