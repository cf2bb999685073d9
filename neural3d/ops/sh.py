"""View-dependent colour from spherical harmonics: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_floats, check_no_gradient


def sh_colors(
    means_world: Float[Tensor, "N 3"],
    sh: Float[Tensor, "N K 3"],
    camera_center_world: Float[Tensor, "3"],
    degree: int,
    extents_px: Float[Tensor, "N 2"] | None = None,
) -> Float[Tensor, "N 3"]:
    """Colours of the Gaussians that are seen; `neural3d.reference.sh_colors` is the specification.

    Raises:
        ValueError: An argument does not fit, `degree` needs more coefficients than there are, or the camera asks for a
            gradient.
    Limits: no gradient flows to the camera centre.
    """
    n = len(means_world)
    tensors = {
        "means_world": (means_world, (n, 3)),
        "sh": (sh, (n, None, 3)),
        "camera_center_world": (camera_center_world, (3,)),
    }
    check_floats(**tensors, **({} if extents_px is None else {"extents_px": (extents_px, (n, 2))}))
    check_no_gradient(camera_center_world=camera_center_world)
    if not 0 <= degree <= 3 or (degree + 1) ** 2 > sh.shape[1]:
        raise ValueError(f"degree: expected 0 to 3 and at most what {sh.shape[1]} coefficients hold, got {degree}")
    return native().sh_colors(means_world, sh, camera_center_world, degree, extents_px)


native()


@torch.library.register_fake("neural3d::sh_colors")
def _(means_world, sh, center_world, degree, extents_px):
    return torch.empty_like(means_world)


@torch.library.register_fake("neural3d::sh_colors_vjp")
def _(means_world, sh, *_rest):
    return torch.empty_like(means_world), torch.empty_like(sh)


def _setup(ctx, inputs, output):
    means_world, sh, center_world, degree, extents_px = inputs
    ctx.save_for_backward(means_world, sh, center_world, extents_px, output)
    ctx.degree = degree


def _backward(ctx, grad_colors):
    means_world, sh, center_world, extents_px, colors = ctx.saved_tensors
    grads = native().sh_colors_vjp(
        means_world, sh, center_world, ctx.degree, extents_px, colors, grad_colors.contiguous()
    )
    return *grads, None, None, None


torch.library.register_autograd("neural3d::sh_colors", _backward, setup_context=_setup)
