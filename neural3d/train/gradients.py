"""One photo's gradient, operator by operator: what autograd would do, without its copies and zeros.

The operators and their vector-Jacobian products are the ones that `torch.autograd` uses for `render_splats`; a test
holds the two to the same bytes. Another loss can be written with `render_splats` and `loss.backward()`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.project import visible_rows
from neural3d.ops.records import Projected
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View
from neural3d.srgb import decode_slope, decode_srgb, encode_srgb
from neural3d.train.exposure import ColorMap
from neural3d.train.few_photos import bending
from neural3d.train.light import light_loss
from neural3d.train.photos import TrainingPhoto
from neural3d.train.readings import Letter

NEAR, BLUR_PX2, ALPHA_MIN, TRANSMITTANCE_MIN = 0.01, 0.3, 1 / 255, 1e-4


@dataclass(frozen=True)
class HarmonicsGradient:
    """The gradient by harmonics as the outer product that it is: Y_k of the direction, times a pull for each colour.

    A sixteenth of the memory to be written and read again; Adam makes the product on the way.
    """

    pulls: Float[Tensor, "N 3"]
    means_world: Float[Tensor, "N 3"]
    """The model's own, as they were when the photo was rendered: they must not have moved yet."""
    camera_center_world: Float[Tensor, "3"]
    degree: int
    num_coefficients: int

    def dense(self) -> Float[Tensor, "N K 3"]:
        """All of its numbers, for whom wants to look at them."""
        like = self.pulls.new_zeros(len(self.pulls), self.num_coefficients, 3)
        bright = torch.ones_like(self.pulls)
        looks = (self.means_world, like, self.camera_center_world, self.degree, None)
        return native().sh_colors_vjp(*looks, bright, self.pulls)[1]


@dataclass(frozen=True)
class GaussiansGradient:
    """Gradients, named like the parameters they belong to."""

    means_world: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quats_wxyz: Float[Tensor, "N 4"]
    logit_opacities: Float[Tensor, "N"]
    sh: HarmonicsGradient | Float[Tensor, "N K 3"]

    def tensors(self) -> dict[str, Tensor]:
        """By name, in the order of `Gaussians.tensors()`, with all numbers of the harmonics."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return found | ({"sh": self.sh.dense()} if isinstance(self.sh, HarmonicsGradient) else {})


@dataclass(frozen=True)
class PhotoGradient:
    """The loss of one photo and what it pulls on; densifiers may change the tensors of the gradient in place."""

    view: View
    """The photo's camera, at the resolution of this step."""
    loss: Float[Tensor, ""]
    squared_error: Float[Tensor, ""]
    """Mean over the valid pixels, the render (with the photo's exposure) clamped to [0, 1]."""
    gaussians: GaussiansGradient
    means_px: Float[Tensor, "N 2"]
    """Gradients of the projected means, what adaptive density control looks at."""
    exposure: Float[Tensor, "..."] | None
    """Of the photo's own colour map."""
    visible: Bool[Tensor, "N"]
    """Gaussians that the photo sees."""
    means_by_color: Float[Tensor, "N 3"] | None = None
    """The part of the means' gradients that is the colours', which vary with the direction of view."""
    means_seen_px: Float[Tensor, "N 2"] | None = None
    """Where the means lie on the photo."""
    pairs: Letter | int | None = None
    """How many (tile, Gaussian) pairs the photo has; where a capacity was given, the number is on its way."""


@runtime_checkable
class GradientFn(Protocol):
    """The seam between training and whatever renders: a photo in, what it pulls on out."""

    def __call__(
        self,
        gaussians: Gaussians,
        photo: TrainingPhoto,
        background: Float[Tensor, "3"],
        *,
        sh_degree: int,
        exposure: ColorMap | None,
        ssim_weight: float,
    ) -> PhotoGradient:
        """Render a photo's view, compare, and pull the difference back to every parameter."""


def photo_gradient(
    gaussians: Gaussians,
    photo: TrainingPhoto,
    background: Float[Tensor, "3"],
    *,
    sh_degree: int,
    exposure: ColorMap | None,
    ssim_weight: float,
    bend_weight: float = 0.0,
    believed: Callable[[Tensor], Tensor | None] | None = None,
    capacity: int | None = None,
) -> PhotoGradient:
    """The engine's own `GradientFn`; with `bend_weight` the depth is rendered, too, and its bends cost (`bending`).

    `believed` is shown the render as the photo would show it, and says which of the photo's pixels count (None: all).
    With a `capacity` the tiles' lists have room for that many (tile, Gaussian) pairs, and the host waits for nothing;
    where `pairs` turn out to be more, all else that is returned is void (`PlannedGradient` sees to it).
    """
    engine, view = native(), photo.view
    projected, colors, bins, pairs = _front(gaussians, view, sh_degree, capacity)
    channels, behind = (decode_srgb(colors), decode_srgb(background)) if gaussians.linear else (colors, background)
    if bend_weight > 0:
        channels = torch.cat([channels, projected.depths[:, None]], dim=1)
        behind = torch.cat([behind, background.new_zeros(1)])
    seen = (projected.means_px, projected.conics, projected.opacities, channels, behind, *bins)
    options = (view.width, view.height, ALPHA_MIN, TRANSMITTANCE_MIN)
    layers, alphas, state = engine.rasterize(*seen, *options, True)
    image = layers[:3]
    shown = image if exposure is None else exposure.apply(image)
    valid = photo.valid if believed is None else believed(encode_srgb(shown) if gaussians.linear else shown)
    if gaussians.linear:
        loss, squared_error, d_image = light_loss(shown, photo, valid, background, ssim_weight)
    else:
        target = (photo.pixels, photo.alpha, valid, background)
        loss, squared_error, d_image = engine.photometric(shown, *target, ssim_weight)
    d_exposure = None
    if exposure is not None:
        d_image, d_exposure = exposure.vjp(image, d_image)
    d_depths = d_alphas = None
    if bend_weight > 0:
        bent, d_depth_plane, d_alphas = bending(layers[3], alphas, photo.pixels)
        loss, d_alphas = loss + bend_weight * bent, bend_weight * d_alphas
        d_image = torch.cat([d_image, bend_weight * d_depth_plane[None]])
    d_means_px, d_conics, d_opacities, d_colors = engine.rasterize_vjp(
        *seen, *options, layers, alphas, state, d_image, d_alphas
    )
    if bend_weight > 0:
        d_colors, d_depths = d_colors[:, :3].contiguous(), d_colors[:, 3].contiguous()
    if gaussians.linear:
        d_colors = d_colors * decode_slope(colors)
    d_means_by_color, color_pulls = engine.sh_pulls(
        gaussians.means_world, gaussians.sh, view.center_world, sh_degree, projected.extents_px, colors, d_colors
    )
    looks = (gaussians.means_world, view.center_world, sh_degree, gaussians.sh.shape[1])
    pulls = (projected.extents_px, d_means_px, d_conics, d_opacities, d_depths, d_means_by_color)
    d_means, d_quats, d_scales, d_logits = engine.project_vjp(*_project_arguments(gaussians, view), *pulls)
    gradient = GaussiansGradient(d_means, d_scales, d_quats, d_logits, HarmonicsGradient(color_pulls, *looks))
    return PhotoGradient(
        view,
        loss,
        squared_error,
        gradient,
        d_means_px,
        d_exposure,
        visible_rows(projected),
        d_means_by_color,
        projected.means_px,
        pairs,
    )


def _front(
    gaussians: Gaussians, view: View, sh_degree: int, capacity: int | None
) -> tuple[Projected, Tensor, tuple[Tensor, ...], Letter | int]:
    """Ellipses, their colours, the tiles' lists, and how many pairs there are."""
    engine = native()
    projected = Projected(*engine.project(*_project_arguments(gaussians, view)))
    colors = engine.sh_colors(gaussians.means_world, gaussians.sh, view.center_world, sh_degree, projected.extents_px)
    ellipses = (projected.means_px, projected.conics, projected.depths, projected.extents_px, view.width, view.height)
    if capacity is None:
        bins = engine.bin_gaussians(*ellipses)
        return projected, colors, bins, len(bins[1])
    *bins, pairs = engine.bin_gaussians_within(*ellipses, capacity)
    return projected, colors, tuple(bins), Letter(pairs)


def _project_arguments(gaussians: Gaussians, view: View) -> tuple:
    return (
        gaussians.means_world,
        gaussians.quats_wxyz,
        gaussians.log_scales,
        gaussians.logit_opacities,
        view.camera_from_world,
        view.focal_px,
        view.principal_px,
        view.width,
        view.height,
        NEAR,
        BLUR_PX2,
        ALPHA_MIN,
        gaussians.antialiased,
    )
