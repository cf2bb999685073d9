"""Membranes over a mesh: values at its vertices that differ as little as possible between neighbours."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

_STEEPEST, _LEAST_BOND = 20.0, 0.01
"""Of edges' weights: slivers have cotangents beyond all bounds, of either sign."""
_TOLERANCE, _MOST_STEPS = 1e-4, 2000


def bonds(
    vertices: Float[Tensor, "K 3"], triangles: Int64[Tensor, "T 3"]
) -> tuple[Int64[Tensor, "E 2"], Float[Tensor, "E 1"]]:
    """Each edge once, and how strongly it binds: such that on a plane, linear values stay linear.

    Source: Pinkall and Polthier 1993, Computing Discrete Minimal Surfaces and Their Conjugates (cotangents).
    """
    corners = vertices[triangles]
    sides, cotangents = [], []
    for corner in range(3):
        first, second = (corner + 1) % 3, (corner + 2) % 3
        to_first, to_second = (corners[:, other] - corners[:, corner] for other in (first, second))
        area = torch.linalg.cross(to_first, to_second).norm(dim=1)
        cotangents.append(0.5 * (to_first * to_second).sum(1) / area.clamp_min(1e-20))
        sides.append(triangles[:, [first, second]])
    edges, number = torch.cat(sides).sort(dim=1).values.unique(dim=0, return_inverse=True)
    weights = torch.zeros(len(edges)).index_add_(0, number, torch.cat(cotangents).clamp(-_STEEPEST, _STEEPEST))
    return edges, weights.clamp(_LEAST_BOND, _STEEPEST)[:, None]


def tension(
    values: Float[Tensor, "K C"], edges: Int64[Tensor, "E 2"], weights: Float[Tensor, "E 1"]
) -> Float[Tensor, "K C"]:
    """How much each value exceeds its neighbours': the graph's Laplacian; 0 everywhere on a membrane at rest."""
    steps = weights * (values[edges[:, 0]] - values[edges[:, 1]])
    return torch.zeros_like(values).index_add_(0, edges[:, 0], steps).index_add_(0, edges[:, 1], -steps)


def relaxed(
    values: Float[Tensor, "K C"],
    is_fixed: Bool[Tensor, "K"],
    edges: Int64[Tensor, "E 2"],
    weights: Float[Tensor, "E 1"],
) -> Float[Tensor, "K C"]:
    """The membrane through the values that are fixed: all others lie between them.

    What hangs on nothing fixed stays as it is.
    """
    free = (~is_fixed)[:, None]

    def pulled(moves: Tensor) -> Tensor:
        return tension(moves, edges, weights) * free

    return values + conjugate_gradients(pulled, -pulled(values))


def conjugate_gradients(applied: Callable[[Tensor], Tensor], pull: Float[Tensor, "K C"]) -> Float[Tensor, "K C"]:
    """The solution of `applied(x) = pull`, from zero on, each column by itself."""
    solution, residual = torch.zeros_like(pull), pull
    direction, square = residual, residual.square().sum(0)
    enough = square * _TOLERANCE**2
    for _ in range(_MOST_STEPS):
        if bool((square <= enough).all()):
            break
        image = applied(direction)
        step = square / (direction * image).sum(0).clamp_min(1e-20)
        solution, residual = solution + step * direction, residual - step * image
        last, square = square, residual.square().sum(0)
        direction = residual + square / last.clamp_min(1e-20) * direction
    return solution
