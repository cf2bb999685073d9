"""Exposure of one photo, a grid of colour maps: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_floats


def bilateral_slice(image: Float[Tensor, "3 H W"], grid: Float[Tensor, "12 Z Y X"]) -> Float[Tensor, "3 H W"]:
    """Each pixel's own matrix of the grid applied to its colour.

    `neural3d.reference.bilateral_slice` is the specification.

    Raises:
        ValueError: An argument does not fit, or the grid has no nodes.
    """
    check_floats(image=(image, (3, None, None)), grid=(grid, (12, None, None, None)))
    if grid.numel() == 0:
        raise ValueError(f"grid: expected at least one node along each axis, got {list(grid.shape)}")
    return native().bilateral_slice(image, grid)


native()


@torch.library.register_fake("neural3d::bilateral_slice")
def _(image, grid):
    return torch.empty_like(image)


@torch.library.register_fake("neural3d::bilateral_slice_vjp")
def _(image, grid, grad):
    return torch.empty_like(image), torch.empty_like(grid)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad):
    return native().bilateral_slice_vjp(*ctx.saved_tensors, grad.contiguous())


torch.library.register_autograd("neural3d::bilateral_slice", _backward, setup_context=_setup)
