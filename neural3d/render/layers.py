"""What compositors want of a view beside its colours: alpha, depth, normals, positions; a tile of the image at a time.

The memory that rendering takes depends on the tile, not on the image; whoever collects tiles decides what is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.fields.field import RadianceField
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.rasterize import rasterize
from neural3d.ops.records import Projected
from neural3d.reference.project import rotation_matrices
from neural3d.render.color_spaces import to_scene
from neural3d.render.fields import render_field
from neural3d.render.model import Model
from neural3d.render.objects import Objects
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View, blended_colors, projected_in, view_of
from neural3d.srgb import encode_srgb

TILE_PX = 1024
"""Side of a tile; a multiple of the rasterizer's own 16."""
_LEAST_NORMAL = 1e-6
Window = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""


@dataclass(frozen=True)
class LayerTile:
    """One rectangle of a view, on the CPU."""

    left: int
    top: int
    colors: Float[Tensor, "H W 3"]
    """Over black, premultiplied by alpha: display sRGB, or light where `is_light`."""
    alphas: Float[Tensor, "H W 1"]
    depths: Float[Tensor, "H W 1"]
    """Expected z along the camera's forward axis in scene units, 0 where nothing is."""
    normals: Float[Tensor, "H W 3"]
    """Unit vectors in the scene's frame that face the camera, 0 where nothing is."""
    coverages: Float[Tensor, "H W D"] | None = None
    """How much of each pixel each object covers; together at most alpha. None where no objects were named."""
    is_light: bool = False
    """Of a model that was trained on linear light."""

    @property
    def display_colors(self) -> Float[Tensor, "H W 3"]:
        """Display sRGB, premultiplied by alpha."""
        return to_scene(self.colors, self.alphas, "srgb", is_light=self.is_light)


@torch.no_grad()
def layer_tiles(
    model: Model, camera: Cameras, *, tile_px: int = TILE_PX, rows: int | None = None, objects: Objects | None = None
) -> Iterator[LayerTile]:
    """Render the one view of `camera` tile by tile, row by row; or in bands of so many `rows`.

    A splat's normal is its shortest axis, blended like colours; a field's is that of the surface through its depths.

    Raises: ValueError for the `objects` of a field.
    Limits: both are guesses: neither model knows surfaces.
    """
    width, height = camera.size_px[0].tolist()
    windows = _rectangles(width, height, tile_px) if rows is None else _bands(width, height, rows)
    if isinstance(model, Gaussians):
        yield from _splat_tiles(model, view_of(camera, 0).to(model.device), windows, objects)
    elif objects is not None:
        raise ValueError("objects: a field has no Gaussians that could belong to one")
    else:
        for window in windows:
            yield _field_tile(model, camera, window)


@torch.no_grad()
def color_bands(gaussians: Gaussians, camera: Cameras, rows: int) -> Iterator[Float[Tensor, "H W 4"]]:
    """Display sRGB over black and alpha of the one view of `camera`, so many rows at a time from the top, on the CPU.

    A band is drawn when it is asked for.
    """
    view = view_of(camera, 0).to(gaussians.device)
    projected = projected_in(gaussians, view)
    colors = blended_colors(gaussians, view, gaussians.sh_degree, projected)
    for left, top, width, height in _bands(view.width, view.height, rows):
        image, alphas = _blended(projected, colors, (left, top, width, height))
        image = encode_srgb(image) if gaussians.linear else image
        yield torch.cat([image.permute(1, 2, 0), alphas[..., None]], dim=-1).cpu()


def cropped(cameras: Cameras, left: int, top: int, width: int, height: int) -> Cameras:
    """The same views through a window of their image, which may reach beyond it."""
    corner = torch.tensor([left, top], dtype=cameras.principal_px.dtype, device=cameras.principal_px.device)
    size_px = torch.tensor([width, height], dtype=cameras.size_px.dtype, device=cameras.size_px.device)
    return replace(
        cameras, principal_px=cameras.principal_px - corner, size_px=size_px.expand_as(cameras.size_px).clone()
    )


def _bands(width: int, height: int, rows: int) -> Iterator[Window]:
    for top in range(0, height, rows):
        yield 0, top, width, min(rows, height - top)


def _rectangles(width: int, height: int, side: int) -> Iterator[Window]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield left, top, min(side, width - left), min(side, height - top)


def _splat_tiles(
    gaussians: Gaussians, view: View, windows: Iterator[Window], objects: Objects | None
) -> Iterator[LayerTile]:
    """Gaussians are projected once for the whole image: near its border the projection depends on the image's size."""
    projected = projected_in(gaussians, view)
    colors = blended_colors(gaussians, view, gaussians.sh_degree, projected)
    channels = torch.cat([colors, projected.depths[:, None], _splat_normals(gaussians, view)], dim=1)
    if objects is not None:
        channels = torch.cat([channels, objects.memberships().to(channels)], dim=1)
    for window in windows:
        image, alphas = _blended(projected, channels, window)
        tile = _tile(*window[:2], image[:7].permute(1, 2, 0), alphas[..., None])
        coverages = None if objects is None else image[7:].permute(1, 2, 0).cpu()
        yield replace(tile, coverages=coverages, is_light=gaussians.linear)


def _blended(
    projected: Projected, channels: Float[Tensor, "N D"], window: Window
) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "H W"]]:
    """What a window of the image shows over black, and alpha."""
    left, top, width, height = window
    part, rows = _within(projected, left, top, width, height)
    bins = bin_gaussians(part, width=width, height=height)
    background = channels.new_zeros(channels.shape[1])
    return rasterize(part.means_px, part.conics, part.opacities, channels[rows], bins, background)


def _within(projected: Projected, left: int, top: int, width: int, height: int) -> tuple[Projected, Tensor]:
    """The Gaussians that a rectangle shows, in its pixels, and their rows."""
    means_px = projected.means_px - projected.means_px.new_tensor([left, top])
    size = means_px.new_tensor([width, height])
    reach = projected.extents_px
    shown = (reach > 0).all(1) & ((means_px + reach > 0) & (means_px - reach < size)).all(1)
    rows = shown.nonzero()[:, 0]
    part = Projected(
        means_px[rows], projected.conics[rows], projected.opacities[rows], projected.depths[rows], reach[rows]
    )
    return part, rows


def _splat_normals(gaussians: Gaussians, view: View) -> Float[Tensor, "N 3"]:
    """The shortest axis of each, turned towards the camera."""
    axes = rotation_matrices(gaussians.quats_wxyz)
    shortest = gaussians.log_scales.argmin(1)
    normals = axes[torch.arange(len(axes), device=axes.device), :, shortest]
    away = ((gaussians.means_world - view.center_world) * normals).sum(1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def _tile(left: int, top: int, image: Float[Tensor, "H W 7"], alphas: Float[Tensor, "H W 1"]) -> LayerTile:
    """What was blended, divided by how much of it there is, but for the colours."""
    there = alphas > 0
    depths = torch.where(there, image[..., 3:4] / alphas.clamp(min=1e-8), 0)
    length = image[..., 4:].norm(dim=-1, keepdim=True)
    normals = torch.where(length > _LEAST_NORMAL, image[..., 4:] / length.clamp(min=_LEAST_NORMAL), 0)
    return LayerTile(left, top, *(t.cpu() for t in (image[..., :3], alphas, depths, normals)))


def _field_tile(field: RadianceField, camera: Cameras, window: Window) -> LayerTile:
    """Rendered with a border of one pixel, from which the normals at the tile's edge come."""
    left, top, width, height = window
    around = cropped(camera, left - 1, top - 1, width + 2, height + 2)
    seen = render_field(field, around)
    colors, alphas, depths = (image[0, 1:-1, 1:-1].cpu() for image in (seen.colors, seen.alphas, seen.depths))
    return LayerTile(left, top, colors, alphas, depths, depth_normals(around, seen.depths[0].cpu()))


def points_at(cameras: Cameras, depths: Float[Tensor, "H W 1"]) -> Float[Tensor, "H W 3"]:
    """World points of the one view's pixel centres at their z-depths."""
    height, width = depths.shape[:2]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    in_camera = (pixels - cameras.principal_px[0].cpu()) / cameras.focal_px[0].cpu()
    rays = torch.cat([in_camera, torch.ones(height, width, 1)], dim=-1) @ cameras.camera_from_world[0, :3, :3].cpu()
    return cameras.centers_world[0].cpu() + depths * rays


def depth_normals(cameras: Cameras, depths: Float[Tensor, "H W 1"]) -> Float[Tensor, "H2 W2 3"]:
    """Unit normals of the surface through a view's depths, but for its outermost pixels; 0 beside what has no depth."""
    points = points_at(cameras, depths)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    # x right and y down make forward: the cross product down x across looks back at the camera.
    normals = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    there = depths[..., 0] > 0
    whole = there[1:-1, 1:-1] & there[1:-1, 2:] & there[1:-1, :-2] & there[2:, 1:-1] & there[:-2, 1:-1]
    return torch.where(whole[..., None], normals, 0)
