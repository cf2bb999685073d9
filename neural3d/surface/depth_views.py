"""Views of a model with the depths of what they show."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.layers import layer_tiles
from neural3d.render.model import Model

_LEAST_ALPHA = 0.5
_EMPTY_ALPHA = 0.05
BEHIND = 3.0
"""Beyond so many times the middle depth lies the background."""
_EDGE = 0.04
"""A neighbour that is farther or nearer by this share of the depth: blended from two surfaces, the pixel is of none."""


@dataclass(frozen=True)
class DepthView:
    """What one camera sees."""

    camera: Cameras
    colors: Float[Tensor, "H W 3"]
    """Display sRGB, not premultiplied."""
    depths: Float[Tensor, "H W 1"]
    """Along the camera's axis; 0 where no surface is sure."""
    empty: Bool[Tensor, "H W 1"] | None = None
    """Where there is nothing at all along the ray, as far as that is known."""
    trust: Float[Tensor, "H W 1"] | None = None
    """How much the colours count against those of other views, at least 0; all the same if None."""
    normals: Float[Tensor, "H W 3"] | None = None
    """Unit vectors in the scene's frame that face the camera, 0 where none is known."""


def at_most(cameras: Cameras, longest_px: int) -> Cameras:
    """The same views with at most so many pixels along their longer side; all of one size."""
    width, height = cameras.size_px.max(dim=0).values.tolist()
    scale = min(1.0, longest_px / max(width, height))
    return cameras.scaled(max(1, round(width * scale)), max(1, round(height * scale)))


def seen_by(model: Model, camera: Cameras) -> DepthView:
    """Render the one view of `camera`."""
    width, height = camera.size_px[0].tolist()
    colors, alphas, depths, normals = (torch.zeros(height, width, channels) for channels in (3, 1, 1, 3))
    for tile in layer_tiles(model, camera):
        rows, columns = tile.depths.shape[:2]
        window = slice(tile.top, tile.top + rows), slice(tile.left, tile.left + columns)
        colors[window], alphas[window], depths[window] = tile.display_colors, tile.alphas, tile.depths
        normals[window] = tile.normals
    sure = (alphas >= _LEAST_ALPHA) & ~_beside_edges(depths)
    straight = (colors / alphas.clamp(min=_LEAST_ALPHA)).clamp(0, 1)
    return DepthView(camera, straight, torch.where(sure, depths, 0), alphas < _EMPTY_ALPHA, normals=normals)


def _beside_edges(depths: Float[Tensor, "H W 1"]) -> Bool[Tensor, "H W 1"]:
    """Pixels with a neighbour at quite another depth."""
    around = torch.nn.functional.pad(depths[None, ..., 0], (1, 1, 1, 1), mode="replicate")[0]
    beside = torch.stack([around[1:-1, :-2], around[1:-1, 2:], around[:-2, 1:-1], around[2:, 1:-1]], dim=-1)
    far = (beside - depths).abs().amax(dim=-1, keepdim=True)
    return far > _EDGE * depths
