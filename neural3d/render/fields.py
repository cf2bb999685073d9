"""Radiance fields to images: the `RenderFn` of a field."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.fields.field import RadianceField
from neural3d.fields.rays import image_rays
from neural3d.render.rendering import RenderFn, Rendering


@torch.no_grad()
def render_field(field: RadianceField, cameras: Cameras, *, background: Float[Tensor, "3"] | None = None) -> Rendering:
    """Render V views of one size over a background (black unless given), with depth; no gradients.

    Raises:
        ValueError: The views differ in size; render them one at a time.
    """
    sizes = {tuple(size) for size in cameras.size_px.tolist()}
    if len(sizes) > 1:
        raise ValueError(f"cameras: expected views of one size, got {sorted(sizes)}; render them one at a time")
    (width, height) = sizes.pop() if sizes else (0, 0)
    views = [_render_view(field, cameras, i, background) for i in range(len(cameras))]
    images = [torch.stack(planes).view(len(cameras), height, width, -1) for planes in zip(*views, strict=True)]
    return Rendering(*images)


def field_render_function(field: RadianceField, *, background: Float[Tensor, "3"] | None = None) -> RenderFn:
    """The seam that viewers and evaluation see: cameras in, pictures out."""

    def render(cameras: Cameras) -> Rendering:
        return render_field(field, cameras, background=background)

    return render


def _render_view(
    field: RadianceField, cameras: Cameras, view: int, background: Float[Tensor, "3"] | None
) -> tuple[Tensor, Tensor, Tensor]:
    rays = image_rays(cameras, view)
    seen = field.shade(rays)
    colors = seen.colors if background is None else seen.colors + (1 - seen.alphas)[:, None] * background
    x, y, z = (rays.directions * cameras.forward_world[view]).unbind(1)
    return colors, seen.alphas, seen.distances * (x + y + z)
