"""Exposure of one photo, an affine map of its colours: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_floats


def color_affine(image: Float[Tensor, "3 H W"], matrix: Float[Tensor, "3 4"]) -> Float[Tensor, "3 H W"]:
    """matrix[:, :3] @ color + matrix[:, 3] at every pixel; `neural3d.reference.color_affine` is the specification.

    Raises:
        ValueError: An argument does not fit.
    """
    check_floats(image=(image, (3, None, None)), matrix=(matrix, (3, 4)))
    return native().color_affine(image, matrix)


native()


@torch.library.register_fake("neural3d::color_affine")
def _(image, matrix):
    return torch.empty_like(image)


@torch.library.register_fake("neural3d::color_affine_vjp")
def _(image, matrix, grad):
    return torch.empty_like(image), torch.empty_like(matrix)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return native().color_affine_vjp(*ctx.saved_tensors, grad.contiguous())


torch.library.register_autograd("neural3d::color_affine", _backward, setup_context=_setup)
