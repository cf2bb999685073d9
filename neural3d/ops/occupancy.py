"""A grid's memory of where something is: native, in place."""

from jaxtyping import Bool, Float, Int32
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_bytes, check_integers, check_singles


def update_occupancy(
    densities: Float[Tensor, "G G G"],
    occupied: Bool[Tensor, "G G G"],
    cells: Int32[Tensor, "K"],
    found: Float[Tensor, "K"],
    *,
    decay: float,
    threshold: float,
) -> None:
    """Fade the memory, raise it to what was found, and say anew which cells are occupied.

    `neural3d.reference.update_occupancy` is the specification.

    Raises:
        ValueError: An argument does not fit, or there is no such cell.
    """
    side, looks = densities.shape[0], len(cells)
    check_singles(densities=(densities, (side, side, side)), found=(found, (looks,)))
    check_bytes("occupied", occupied, (side, side, side), densities, boolean=True)
    check_integers("cells", cells, (looks,), densities)
    if looks and not 0 <= cells.min().item() <= cells.max().item() < densities.numel():
        raise ValueError(f"cells: expected 0 to {densities.numel() - 1}, got others")
    native().update_occupancy(densities, occupied, cells, found.detach(), decay, threshold)
