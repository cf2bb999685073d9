"""Gaussian splats to images: the `RenderFn` of a splat model."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.ops.library import native
from neural3d.render.rendering import RenderFn, Rendering
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import splat_view, view_of
from neural3d.srgb import encode_srgb


def render_splats(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    background: Float[Tensor, "3"] | None = None,
    sh_degree: int | None = None,
    with_depth: bool = False,
) -> Rendering:
    """Render V views of one size over a background (black unless given); differentiable in the Gaussians.

    It is done where the Gaussians lie, and the images stay there; the cameras' few numbers are brought.

    Raises:
        ValueError: The views differ in size; render them one at a time.
    """
    sizes = {tuple(size) for size in cameras.size_px.tolist()}
    if len(sizes) > 1:
        raise ValueError(f"cameras: expected views of one size, got {sorted(sizes)}; render them one at a time")
    if background is None:
        background = gaussians.means_world.new_zeros(3)
    views = [
        splat_view(
            gaussians,
            view_of(cameras, i).to(gaussians.device),
            background,
            sh_degree=sh_degree,
            with_depth=with_depth,
        )
        for i in range(len(cameras))
    ]
    images = _batched([v.image for v in views]).permute(0, 2, 3, 1)
    if gaussians.linear:
        images = torch.cat([encode_srgb(images[..., :3]), images[..., 3:]], dim=-1)
    alphas = _batched([v.alphas for v in views])[..., None]
    if not with_depth:
        return Rendering(images, alphas)
    depths = torch.where(alphas > 0, images[..., 3:] / alphas.clamp(min=1e-8), 0)
    return Rendering(images[..., :3], alphas, depths)


def _batched(images: list[Float[Tensor, "*B"]]) -> Float[Tensor, "V *B"]:
    """One image of a viewer's frame is large enough that a copy of it shows in the frame's time."""
    return images[0][None] if len(images) == 1 else torch.stack(images)


def render_function(gaussians: Gaussians, *, background: Float[Tensor, "3"] | None = None) -> RenderFn:
    """The seam that viewers and evaluation see: cameras in, pictures (where the Gaussians lie) out, no gradients."""
    native().keep_memory()
    background = None if background is None else background.to(gaussians.device)

    @torch.no_grad()
    def render(cameras: Cameras) -> Rendering:
        return render_splats(gaussians, cameras, background=background)

    return render
