"""Rays to samples in occupied space: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import MarchRange, RaySamples
from neural3d.ops.validation import check_bytes, check_floats, check_integers, check_no_gradient


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    offsets: Float[Tensor, "R"],
    box: Float[Tensor, "4"],
    occupied: Bool[Tensor, "G G G"],
    span: MarchRange,
) -> RaySamples:
    """Samples of rays in the occupied cells of a grid; `neural3d.reference.march` is the specification.

    Raises:
        ValueError: An argument does not fit, or a constant asks for a gradient.
    """
    rays, cells = len(origins), occupied.shape[0]
    check_floats(
        origins=(origins, (rays, 3)), directions=(directions, (rays, 3)), offsets=(offsets, (rays,)), box=(box, (4,))
    )
    check_no_gradient(offsets=offsets, box=box)
    check_bytes("occupied", occupied, (cells, cells, cells), origins, boolean=True)
    if not 1 <= cells <= 1024:
        raise ValueError(f"occupied: expected 1 to 1024 cells along an axis, got {cells}")
    return RaySamples(*native().march(origins, directions, offsets, box, occupied, *span.numbers))


def ray_pulls(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    box: Float[Tensor, "4"],
    distances: Float[Tensor, "S"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    pulls: Float[Tensor, "S 3"],
    *,
    contracted: bool,
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
    """What pulls on samples' places in the grid pulls on the origins and directions of their rays.

    Samples stay at their distances along their rays.

    Raises:
        ValueError: An argument does not fit.
    """
    rays, samples = len(origins), len(distances)
    check_floats(
        origins=(origins, (rays, 3)),
        directions=(directions, (rays, 3)),
        box=(box, (4,)),
        distances=(distances, (samples,)),
        pulls=(pulls, (samples, 3)),
    )
    check_integers("ray_offsets", ray_offsets, (rays + 1,), origins)
    return native().march_vjp(origins, directions, box, contracted, distances, ray_offsets, pulls)


native()


@torch.library.register_fake("neural3d::march")
def _(origins, directions, offsets, *_rest):
    samples = torch.library.get_ctx().new_dynamic_size()
    ray_offsets = origins.new_empty((offsets.shape[0] + 1,), dtype=torch.int32)
    return origins.new_empty((samples, 3)), origins.new_empty((samples,)), origins.new_empty((samples,)), ray_offsets


@torch.library.register_fake("neural3d::march_vjp")
def _(origins, directions, *_rest):
    return torch.empty_like(origins), torch.empty_like(directions)


def _setup(ctx, inputs, output):
    origins, directions, _, box, _, contracted, *_ = inputs
    _, ts, _, ray_offsets = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(origins, directions, box, ts, ray_offsets)
    ctx.contracted = contracted


def _backward(ctx, grad_positions, *_rest):
    if grad_positions is None:
        return (None,) * 11
    origins, directions, box, ts, ray_offsets = ctx.saved_tensors
    constants = (box, ctx.contracted, ts, ray_offsets)
    return *native().march_vjp(origins, directions, *constants, grad_positions.contiguous()), *(None,) * 9


torch.library.register_autograd("neural3d::march", _backward, setup_context=_setup)
