"""Exposure of one photo: an affine map of its colours."""

from jaxtyping import Float
from torch import Tensor


def color_affine(image: Float[Tensor, "3 H W"], matrix: Float[Tensor, "3 4"]) -> Float[Tensor, "3 H W"]:
    """matrix[:, :3] @ color + matrix[:, 3] at every pixel."""
    return (matrix[:, :3] @ image.flatten(1) + matrix[:, 3:]).view_as(image)
