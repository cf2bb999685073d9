"""What travels between the operators: Gaussians seen by one camera, and the list of Gaussians for each tile."""

from dataclasses import dataclass

from jaxtyping import Float, Int32
from torch import Tensor

TILE_PX = 16
"""Side of a tile in pixels."""


@dataclass(frozen=True)
class Projected:
    """N Gaussians as one camera sees them; a row that is culled is zero in every field.

    The ellipse on the image is {p : (p - mean)^T [[a, b], [b, c]] (p - mean) = const} for a conic (a, b, c).
    """

    means_px: Float[Tensor, "N 2"]
    """x right, y down; the top-left pixel is centred at (0.5, 0.5)."""
    conics: Float[Tensor, "N 3"]
    """(a, b, c) of the inverse of the blurred image covariance, 1 / px^2."""
    opacities: Float[Tensor, "N"]
    """In (alpha_min, 1]; compensated for the blur when the model is antialiased."""
    depths: Float[Tensor, "N"]
    """z in the camera's frame, scene units."""
    extents_px: Float[Tensor, "N 2"]
    """Half width and half height of the box around {alpha >= alpha_min}; > 0 just where the Gaussian is visible.

    Carries no gradient.
    """


@dataclass(frozen=True)
class TileBins:
    """Which Gaussians meet which tile: T tiles of 16 x 16 px in row-major order, I intersections.

    Each Gaussian owns one slot for each tile that it meets, in row-major order of the tiles, so that per-intersection
    results can be summed per Gaussian in one fixed order.
    """

    tile_offsets: Int32[Tensor, "T_plus_1"]
    """Tile t owns the intersections tile_offsets[t] to tile_offsets[t + 1]."""
    gaussian_from_intersection: Int32[Tensor, "I"]
    """Within a tile by ascending (depth, index)."""
    slot_from_intersection: Int32[Tensor, "I"]
    """A permutation of 0 to I - 1."""
    slot_offsets: Int32[Tensor, "N_plus_1"]
    """Gaussian g owns the slots slot_offsets[g] to slot_offsets[g + 1]."""
    width: int
    """Of the image, in pixels."""
    height: int
