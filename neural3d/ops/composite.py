"""Samples to what their rays see: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import RayViews
from neural3d.ops.validation import check_floats, check_integers, check_no_gradient


def composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S 3"],
    ts: Float[Tensor, "S"],
    deltas: Float[Tensor, "S"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    *,
    transmittance_min: float = 1e-4,
) -> RayViews:
    """Volume rendering of packed samples, front to back; `neural3d.reference.composite` is the specification.

    Raises:
        ValueError: An argument does not fit, or distances or lengths ask for a gradient.
    """
    count = len(densities)
    check_floats(
        densities=(densities, (count,)), colors=(colors, (count, 3)), ts=(ts, (count,)), deltas=(deltas, (count,))
    )
    check_integers("ray_offsets", ray_offsets, (None,), densities)
    check_no_gradient(ts=ts, deltas=deltas)
    return RayViews(*native().composite(densities, colors, ts, deltas, ray_offsets, transmittance_min))


native()


@torch.library.register_fake("neural3d::composite")
def _(densities, colors, ts, deltas, ray_offsets, *_rest):
    rays = ray_offsets.shape[0] - 1
    return densities.new_empty((rays, 3)), *(densities.new_empty((rays,)) for _ in range(3))


@torch.library.register_fake("neural3d::composite_vjp")
def _(densities, colors, *_rest):
    return torch.empty_like(densities), torch.empty_like(colors)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:5])
    ctx.transmittance_min = inputs[5]


def _backward(ctx, *grads):
    grads = tuple(grad.contiguous() for grad in grads)
    return *native().composite_vjp(*ctx.saved_tensors, ctx.transmittance_min, *grads), *(None,) * 4


torch.library.register_autograd("neural3d::composite", _backward, setup_context=_setup)
