"""Adam over the Gaussians that were seen: the native operator and its fake."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_bytes, check_floats


def adam_step(
    param: Float[Tensor, "N C"],
    grad: Float[Tensor, "N C"],
    first_moment: Float[Tensor, "N C"],
    second_moment: Float[Tensor, "N C"],
    learning_rates: Float[Tensor, "C"],
    *,
    step: int,
    visible: Bool[Tensor, "N"] | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> Int64[Tensor, ""]:
    """One step in place; returns how many rows were left alone for a non-finite gradient.

    `neural3d.reference.adam_step` is the specification.

    Raises:
        ValueError: An argument does not fit, or `step` is not at least 1.
    """
    size = tuple(param.shape)
    check_floats(
        param=(param, size),
        grad=(grad, size),
        first_moment=(first_moment, size),
        second_moment=(second_moment, size),
        learning_rates=(learning_rates, size[1:]),
    )
    if visible is not None:
        check_bytes("visible", visible, size[:1], param, boolean=True)
    if step < 1:
        raise ValueError(f"step: expected 1 or more, got {step}")
    return native().adam(
        param.detach(), grad, first_moment, second_moment, learning_rates, visible, step, beta1, beta2, eps
    )


native()


@torch.library.register_fake("neural3d::adam")
def _(param, *_rest):
    return param.new_empty((), dtype=torch.int64)
