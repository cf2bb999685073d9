"""Features of points from a multiresolution hash grid."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.ops.records import HashLevels

PRIMES = (1, 2654435761, 805459861)


def hash_encode(
    positions: Float[Tensor, "P 3"], table: Float[Tensor, "E F"], levels: HashLevels, *, smooth: bool = False
) -> Float[Tensor, "P LF"]:
    """In every level the features of the eight corners around each point, interpolated linearly; coarsest level first.

    A level of c cells spreads [0, 1]^3 over c^3 cells; beyond the unit cube the features are those of its border. With
    `smooth` the interpolation is that of s(f) = f^2 (3 - 2 f) in place of f, whose slope is continuous. A level whose
    (c + 1)^3 corners fit into the table's rows for a level has one for each, any other shares them by the hash.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, section 3, eq. 2-4; appendix A.

    Limits: what a hash maps to one row is not told apart.
    """
    features = []
    for first, rows, cells in zip(levels.first_rows, levels.rows_per_level, levels.cells, strict=True):
        place = positions.clamp(0, 1) * cells
        corner = place.detach().floor().clamp(max=cells - 1)
        fraction = place - corner
        share = fraction.square() * (3 - 2 * fraction) if smooth else fraction
        sums = 0
        for offset in ((x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)):
            upper = torch.tensor(offset, device=positions.device)
            weight = torch.where(upper == 1, share, 1 - share).prod(dim=-1)
            sums = sums + weight[:, None] * table[first + _rows(corner.long() + upper, cells, rows)]
        features.append(sums)
    return torch.cat(features, dim=-1)


def _rows(corners: Int64[Tensor, "P 3"], cells: int, rows: int) -> Int64[Tensor, "P"]:
    """Of a level's table."""
    x, y, z = corners.unbind(-1)
    if (cells + 1) ** 3 <= rows:
        return x + (cells + 1) * (y + (cells + 1) * z)
    return (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) % rows
