"""A photo and the render of its view in one picture: side by side, with a border to wipe, or their difference."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.evaluation import photo_colors
from neural3d.metrics import flip_map
from neural3d.render.colormaps import colored
from neural3d.scene import Photo

Mode = Literal["Wipe", "Side by side", "Difference", "FLIP error"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_DIFFERENCE = 0.5
"""The difference that has the brightest colour; 1 would be black against white."""
SAME_PLACE = 0.01
"""How far from where a photo was taken it still lies over the render, in extents of the scene."""
_LINE_PX = 2


@dataclass(frozen=True, eq=False)
class Comparison:
    """With which photo, and how."""

    photo: Photo
    camera: Cameras
    """The one view that it was taken from."""
    mode: Mode
    border: float = 0.5
    """Of a wipe: the part of the picture, from the left, that shows the photo."""


def comparison_cameras(cameras: Cameras, comparison: Comparison) -> Cameras:
    """The view that is rendered: of a picture side by side one half, which shows all that the whole would."""
    if comparison.mode != "Side by side":
        return cameras
    width, height = cameras.size_px[0].tolist()
    half = max(1, width // 2)
    size = torch.tensor([[half, height]])
    return replace(cameras, focal_px=cameras.focal_px * (half / width), principal_px=size / 2.0, size_px=size)


def compared(
    render: Float[Tensor, "H W 3"], cameras: Cameras, comparison: Comparison, background: tuple[float, float, float]
) -> Float[Tensor, "H W2 3"]:
    """The picture; `cameras` are those of the render. Where there is no photo, the render is alone, and dimmed."""
    color = torch.tensor(background)
    photo, seen = photo_in_view(photo_colors(comparison.photo, color), comparison, cameras)
    match comparison.mode:
        case "Side by side":
            return torch.cat([torch.where(seen[..., None], photo, color), render], dim=1)
        case "Wipe":
            return _wiped(render, torch.where(seen[..., None], photo, color), comparison.border)
        case "Difference":
            errors = (render.clamp(0, 1) - photo).abs().mean(dim=-1) / MAX_DIFFERENCE
        case "FLIP error":
            errors = flip_map(torch.where(seen[..., None], render, photo), photo)
    return torch.where(seen[..., None], colored(errors, "magma"), 0.3 * render)


def photo_in_view(
    colors: Float[Tensor, "h w 3"], comparison: Comparison, cameras: Cameras
) -> tuple[Float[Tensor, "H W 3"], Bool[Tensor, "H W"]]:
    """The photo as the view sees it, and where it does: exact for cameras in one place, whatever their rotations."""
    width, height = cameras.size_px[0].tolist()
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    rays = torch.cat([(pixels - cameras.principal_px[0]) / cameras.focal_px[0], torch.ones(height, width, 1)], dim=-1)
    of = comparison.camera
    rays = rays @ (cameras.camera_from_world[0, :3, :3] @ of.camera_from_world[0, :3, :3].T.cpu())
    depths = rays[..., 2:].clamp(min=1e-6)
    grid = 2 * (rays[..., :2] / depths * of.focal_px[0].cpu() + of.principal_px[0].cpu()) / of.size_px[0].cpu() - 1
    inside = (rays[..., 2] > 1e-6) & (grid.abs() <= 1).all(dim=-1)
    planes = [colors.movedim(-1, 0)]
    if comparison.photo.valid is not None:
        planes.append(comparison.photo.valid.float()[None])
    sampled = torch.nn.functional.grid_sample(
        torch.cat(planes)[None], grid[None], align_corners=False, padding_mode="border"
    )
    sampled = sampled[0].movedim(0, -1)
    return sampled[..., :3], inside if sampled.shape[-1] == 3 else inside & (sampled[..., 3] > 0.5)


def _wiped(render: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], border: float) -> Float[Tensor, "H W 3"]:
    columns = torch.arange(render.shape[1])[None, :, None]
    place = border * render.shape[1]
    shown = torch.where(columns < place, photo, render)
    is_line = ((columns - place).abs() < _LINE_PX / 2) & (0 < border < 1)
    return torch.where(is_line, torch.ones(3), shown)
