"""Features of near points, blended at places: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.nearest_points import MOST_NEIGHBORS
from neural3d.ops.validation import check_floats, check_integers, check_no_gradient

WIDTHS = (16, 32, 64)


def blend_points(
    positions: Float[Tensor, "S 3"],
    points: Float[Tensor, "P 3"],
    embeddings: Float[Tensor, "P C"],
    confidences: Float[Tensor, "P"],
    mix: Float[Tensor, "3 C"],
    neighbors: Int32[Tensor, "S K"],
    radius: float,
) -> tuple[Float[Tensor, "S C"], Float[Tensor, "S"]]:
    """Features and confidences at places; `neural3d.reference.blend_points` is the specification.

    Limits: on a GPU a neighbour that is no point is not refused, as the host would have to wait for the numbers; its
    place's feature and confidence are NaN.

    Raises:
        ValueError: An argument does not fit, or a constant asks for a gradient.
    """
    places, count, width = len(positions), *embeddings.shape
    if width not in WIDTHS:
        raise ValueError(f"embeddings: expected 16, 32 or 64 numbers a point, got {width}")
    check_floats(
        positions=(positions, (places, 3)),
        points=(points, (count, 3)),
        embeddings=(embeddings, (count, width)),
        confidences=(confidences, (count,)),
        mix=(mix, (3, width)),
    )
    check_integers("neighbors", neighbors, (places, None), positions)
    check_no_gradient(positions=positions, points=points)
    if not 1 <= neighbors.shape[1] <= MOST_NEIGHBORS:
        raise ValueError(f"neighbors: expected 1 to {MOST_NEIGHBORS} for a place, got {neighbors.shape[1]}")
    if neighbors.is_cpu and neighbors.numel() and int(neighbors.max()) >= count:
        raise ValueError(f"neighbors: expected rows before {count}, got {int(neighbors.max())}")
    if not radius > 0:
        raise ValueError(f"radius: expected more than 0, got {radius}")
    features, confidence, _ = native().blend_points(positions, points, embeddings, confidences, mix, neighbors, radius)
    return features, confidence


native()


@torch.library.register_fake("neural3d::blend_points")
def _(positions, points, embeddings, confidences, mix, neighbors, radius):
    places = positions.shape[0]
    features = positions.new_empty((places, embeddings.shape[1]))
    return features, positions.new_empty((places,)), positions.new_empty(neighbors.shape)


@torch.library.register_fake("neural3d::blend_points_vjp")
def _(positions, points, embeddings, confidences, mix, *_rest):
    return torch.empty_like(embeddings), torch.empty_like(confidences), torch.empty_like(mix)


def _setup(ctx, inputs, output):
    *tensors, ctx.radius = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx, grad_features, grad_confidence, _grad_shares):
    *tensors, shares = ctx.saved_tensors
    pulls = (grad_features.contiguous(), grad_confidence.contiguous())
    found = native().blend_points_vjp(*tensors, ctx.radius, shares, *pulls)
    return None, None, *found, None, None


torch.library.register_autograd("neural3d::blend_points", _backward, setup_context=_setup)
