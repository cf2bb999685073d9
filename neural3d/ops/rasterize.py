"""Ellipses to an image, blended front to back: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import TILE_PX, TileBins
from neural3d.ops.validation import check_floats, check_integers, check_positive


def rasterize(
    means_px: Float[Tensor, "N 2"],
    conics: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Float[Tensor, "N D"],
    bins: TileBins,
    background: Float[Tensor, "D"],
    *,
    alpha_min: float = 1 / 255,
    transmittance_min: float = 1e-4,
) -> tuple[Float[Tensor, "D H W"], Float[Tensor, "H W"]]:
    """Planar image and 1 - transmittance; `neural3d.reference.rasterize` is the specification.

    Raises:
        ValueError: An argument does not fit, or the background asks for a gradient.
    """
    n = len(means_px)
    check_floats(
        means_px=(means_px, (n, 2)),
        conics=(conics, (n, 3)),
        opacities=(opacities, (n,)),
        colors=(colors, (n, None)),
        background=(background, tuple(colors.shape[1:])),
    )
    if background.requires_grad:
        raise ValueError("background: the native rasterizer gives it no gradient; detach it")
    _check_bins(bins, means_px)
    if colors.shape[1] == 0:
        raise ValueError("colors: expected at least one channel, got none")
    inputs = (means_px, conics, opacities, colors)
    with_state = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    image, alphas, _ = native().rasterize(
        means_px,
        conics,
        opacities,
        colors,
        background,
        bins.tile_offsets,
        bins.gaussian_from_intersection,
        bins.slot_from_intersection,
        bins.slot_offsets,
        bins.width,
        bins.height,
        alpha_min,
        transmittance_min,
        with_state,
    )
    return image, alphas


def _check_bins(bins: TileBins, means_px: Float[Tensor, "N 2"]) -> None:
    """What the lists hold is not looked at: on a GPU the host would have to wait for it."""
    check_positive(**{"bins.width": bins.width, "bins.height": bins.height})
    tiles, pairs = -(-bins.width // TILE_PX) * -(-bins.height // TILE_PX), len(bins.gaussian_from_intersection)
    sizes = {"tile_offsets": tiles + 1, "gaussian_from_intersection": pairs, "slot_from_intersection": pairs}
    for name, size in (sizes | {"slot_offsets": len(means_px) + 1}).items():
        check_integers(f"bins.{name}", getattr(bins, name), (size,), means_px)


native()


@torch.library.register_fake("neural3d::rasterize")
def _(means_px, conics, opacities, colors, background, offsets, gaussians, slots, slot_offsets, width, height, *_rest):
    # How much a driver keeps for its backward pass is its own affair.
    state = means_px.new_empty((torch.library.get_ctx().new_dynamic_size(),), dtype=torch.uint8)
    return means_px.new_empty((colors.shape[1], height, width)), means_px.new_empty((height, width)), state


@torch.library.register_fake("neural3d::rasterize_vjp")
def _(means_px, conics, opacities, colors, *_rest):
    return tuple(torch.empty_like(t) for t in (means_px, conics, opacities, colors))


def _setup(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:9], *output)
    ctx.options = inputs[9:-1]


def _backward(ctx, grad_image, grad_alphas, _grad_state):
    *inputs, image, alphas, state = ctx.saved_tensors
    grad_image = torch.zeros_like(image) if grad_image is None else grad_image.contiguous()
    grad_alphas = None if grad_alphas is None else grad_alphas.contiguous()
    grads = native().rasterize_vjp(*inputs, *ctx.options, image, alphas, state, grad_image, grad_alphas)
    return *grads, *(None,) * 10


torch.library.register_autograd("neural3d::rasterize", _backward, setup_context=_setup)
