"""How far an image is from an 8-bit photo: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_bytes, check_floats


def photometric_loss(
    image: Float[Tensor, "3 H W"],
    target: UInt8[Tensor, "H W 3"],
    *,
    target_alpha: UInt8[Tensor, "H W"] | None = None,
    valid: Bool[Tensor, "H W"] | None = None,
    background: Float[Tensor, "3"],
    ssim_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM); `neural3d.reference.photometric_loss` is the specification.

    The gradient is computed with the value, because training always wants both.

    Raises:
        ValueError: An argument does not fit, or the background asks for a gradient.
    """
    check_floats(image=(image, (3, None, None)), background=(background, (3,)))
    _, height, width = image.shape
    check_bytes("target", target, (height, width, 3), image)
    if target_alpha is not None:
        check_bytes("target_alpha", target_alpha, (height, width), image)
    if valid is not None:
        check_bytes("valid", valid, (height, width), image, boolean=True)
    if background.requires_grad:
        raise ValueError("background: the native loss gives it no gradient; detach it")
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_weight: expected 0 to 1, got {ssim_weight}")
    return native().photometric(image, target, target_alpha, valid, background, ssim_weight)[0]


native()


@torch.library.register_fake("neural3d::photometric")
def _(image, *_rest):
    return image.new_empty(()), image.new_empty(()), torch.empty_like(image)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(output[2])
    ctx.mark_non_differentiable(output[1], output[2])


def _backward(ctx, grad_loss, _grad_error, _grad_gradient):
    (gradient,) = ctx.saved_tensors
    return gradient * grad_loss, None, None, None, None, None


torch.library.register_autograd("neural3d::photometric", _backward, setup_context=_setup)
