"""Exports turned so that the scene stands upright in programs with a fixed up axis."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.scene import Similarity

UpAxis = Literal["keep", "y", "z", "y-down"]
_UP = {"y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0), "y-down": (0.0, -1.0, 0.0)}
_NEARLY_OPPOSITE = 1e-6


def upright(axis: UpAxis, up_world: Float[Tensor, "3"]) -> Similarity:
    """The smallest turn about the origin that brings `up_world` (a unit vector) to the axis; `keep` turns nothing.

    Half a turn has many ways: it is then about x, which leads from OpenCV's axes to OpenGL's and back.

    Source: Rodrigues' rotation formula.
    """
    if axis == "keep":
        return Similarity.identity()
    start, end = up_world.double() / up_world.double().norm(), torch.tensor(_UP[axis], dtype=torch.float64)
    cosine = float(start @ end)
    if cosine < -1 + _NEARLY_OPPOSITE:
        about = torch.eye(3, dtype=torch.float64)[0]
        about = torch.eye(3, dtype=torch.float64)[2] if abs(float(about @ start)) > 0.5 else about
        return _rotation(2 * torch.outer(about, about) - torch.eye(3, dtype=torch.float64))
    x, y, z = torch.linalg.cross(start, end).tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return _rotation(torch.eye(3, dtype=torch.float64) + skew + skew @ skew / (1 + cosine))


def composed(c_from_b: Similarity, b_from_a: Similarity) -> Similarity:
    """c_from_a."""
    return Similarity(
        c_from_b.scale * b_from_a.scale,
        c_from_b.rotation @ b_from_a.rotation,
        c_from_b.apply(b_from_a.translation),
    )


def _rotation(matrix: Float[Tensor, "3 3"]) -> Similarity:
    return Similarity(1.0, matrix, torch.zeros(3, dtype=torch.float64))
