"""Where along rays to look closely, and how wrong the guess was: native operators, their fakes and a gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import RayScale
from neural3d.ops.validation import check_floats, check_no_gradient


def proposal_edges(
    features: Float[Tensor, "R P L"],
    edges: Float[Tensor, "R P_plus_1"],
    offsets: Float[Tensor, "R"],
    scale: RayScale,
    *,
    count: int,
    uniform: float,
) -> Float[Tensor, "R N_plus_1"]:
    """The edges of intervals that lie dense where the guess has weight, without a gradient.

    `neural3d.reference.proposal_edges` is the specification.

    Raises:
        ValueError: An argument does not fit.
    """
    _check_guess(features, edges)
    check_floats(features=(features, tuple(features.shape)), offsets=(offsets, (len(features),)))
    if not 1 <= count <= 1 << 20:
        raise ValueError(f"count: expected 1 to 2^20 intervals, got {count}")
    if not 0 <= uniform <= 1:
        raise ValueError(f"uniform: expected a share from 0 to 1, got {uniform}")
    return native().proposal_edges(features.detach(), edges.detach(), offsets.detach(), *scale.numbers, count, uniform)


def interlevel(
    features: Float[Tensor, "R P L"],
    edges: Float[Tensor, "R P_plus_1"],
    densities: Float[Tensor, "R N"],
    fine_edges: Float[Tensor, "R N_plus_1"],
    scale: RayScale,
) -> Float[Tensor, "R"]:
    """How much weight the guess leaves unexplained; `neural3d.reference.interlevel` is the specification.

    Raises:
        ValueError: An argument does not fit, or another than the features asks for a gradient.
    """
    _check_guess(features, edges)
    rays, count = len(features), densities.shape[-1]
    check_floats(
        features=(features, tuple(features.shape)),
        densities=(densities, (rays, count)),
        fine_edges=(fine_edges, (rays, count + 1)),
    )
    check_no_gradient(edges=edges, densities=densities, fine_edges=fine_edges)
    return native().interlevel(features, edges, densities, fine_edges, *scale.numbers)


def _check_guess(features: Tensor, edges: Tensor) -> None:
    """Raises: ValueError."""
    check_floats(features=(features, (None, None, None)))
    rays, intervals, _ = features.shape
    if intervals == 0:
        raise ValueError("features: expected at least one interval a ray, got none")
    check_floats(features=(features, (None, None, None)), edges=(edges, (rays, intervals + 1)))


native()


@torch.library.register_fake("neural3d::proposal_edges")
def _(features, edges, offsets, near, knee, far, count, uniform):
    return features.new_empty((features.shape[0], count + 1))


@torch.library.register_fake("neural3d::interlevel")
def _(features, *_rest):
    return features.new_empty((features.shape[0],))


@torch.library.register_fake("neural3d::interlevel_vjp")
def _(features, *_rest):
    return torch.empty_like(features)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])
    ctx.scale = inputs[4:]


def _backward(ctx, grad):
    return native().interlevel_vjp(*ctx.saved_tensors, *ctx.scale, grad.contiguous()), *(None,) * 6


torch.library.register_autograd("neural3d::interlevel", _backward, setup_context=_setup)
