"""View-dependent colour from spherical harmonics: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_degree, check_floats, check_no_gradient


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
    check_degree(degree, sh.shape[1])
    return native().sh_colors(means_world, sh, camera_center_world, degree, extents_px)


def sh_pulls(
    means_world: Float[Tensor, "N 3"],
    sh: Float[Tensor, "N K 3"],
    camera_center_world: Float[Tensor, "3"],
    degree: int,
    extents_px: Float[Tensor, "N 2"] | None,
    colors: Float[Tensor, "N 3"],
    grad_colors: Float[Tensor, "N 3"],
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """The gradient of `sh_colors` by the means, and the pulls of which its gradient by `sh` is made.

    That is the outer product of the basis, Y_k of the direction, with the pulls: a sixteenth of the numbers, which
    `adam_step_sh` takes. `neural3d.reference.sh_pulls` is the specification.

    Raises:
        ValueError: An argument does not fit.
    """
    n = len(means_world)
    rows = {"means_world": means_world, "colors": colors, "grad_colors": grad_colors}
    check_floats(
        **{name: (tensor, (n, 3)) for name, tensor in rows.items()},
        sh=(sh, (n, None, 3)),
        camera_center_world=(camera_center_world, (3,)),
        **({} if extents_px is None else {"extents_px": (extents_px, (n, 2))}),
    )
    check_degree(degree, sh.shape[1])
    return native().sh_pulls(means_world, sh, camera_center_world, degree, extents_px, colors, grad_colors)


native()


@torch.library.register_fake("neural3d::sh_pulls")
def _(means_world, *_rest):
    return torch.empty_like(means_world), torch.empty_like(means_world)


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
