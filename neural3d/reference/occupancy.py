"""A grid's memory of where something is, in place."""

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor


@torch.no_grad()
def update_occupancy(
    densities: Float[Tensor, "G G G"],
    occupied: Bool[Tensor, "G G G"],
    cells: Int32[Tensor, "K"],
    found: Float[Tensor, "K"],
    *,
    decay: float,
    threshold: float,
) -> None:
    """Let densities = max(decay * densities, what was found), and occupied = densities > min(threshold, their mean).

    Cells are numbered as the grid lies in memory, and may be looked at several times.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.2.
    """
    densities *= decay
    densities.view(-1).scatter_reduce_(0, cells.long(), found, "amax")
    occupied.copy_(densities > min(threshold, densities.double().mean().item()))
