"""What the ways to look along rays have in common, while a field in a hash grid is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.fields.guides import Guide
from neural3d.fields.hashgrid import HashGridShape, HashGridWeights
from neural3d.fields.rays import Rays
from neural3d.ops.adam import adam_step, adam_step_hash
from neural3d.ops.records import HashLevels, RaySamples

BETA2 = 0.99
"""Adam's, from the paper: rows of a table are seen rarely."""
EPSILON = 1e-15


@dataclass(frozen=True)
class Found:
    """Where rays are looked along in a step."""

    samples: RaySamples
    """Distances and lengths as the losses measure them."""
    stretch: Float[Tensor, "S"] | None
    """Lengths in the field's frame, by lengths as measured; None where these are the same."""
    distances: Float[Tensor, "S"]
    """Along the rays, in the field's frame."""


@runtime_checkable
class Search(Protocol):
    """Finds the places where a step looks, and learns from what was there."""

    rays: int
    """That the next step looks along."""

    def prepare(self, step: int, weights: HashGridWeights, shape: HashGridShape) -> None:
        """Before a step."""

    def find(self, rays: Rays, step: int, fraction: float) -> Found:
        """Samples of rays in the field's frame."""

    def learn(self, found: Found, densities: Float[Tensor, "S"], step: int, fraction: float) -> Tensor:
        """After a step, from densities in the field's frame; how many rows had gradients that are not finite."""

    def guide(self) -> Guide:
        """A copy of what was learnt."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""

    def tensors(self) -> Mapping[str, Tensor]:
        """For a checkpoint."""

    def meta(self) -> Mapping[str, Any]:
        """For a checkpoint."""


def update_rows(rows: tuple[Tensor, Tensor, Tensor, Tensor], rate: float, step: int) -> Tensor:
    """Adam on a value, by its gradient, with its moments, in place; rows with a gradient that is not finite."""
    value, gradient, *moments = (tensor.view(len(tensor), -1) for tensor in rows)
    rates = torch.full((gradient.shape[1],), rate)
    return adam_step(value, gradient, *moments, rates, step=step + 1, beta2=BETA2, eps=EPSILON)


def update_table(
    table: tuple[Tensor, Tensor, Tensor],
    levels: HashLevels,
    positions: Float[Tensor, "P 3"],
    pulls: Float[Tensor, "P LF"],
    rate: float,
    step: int,
) -> Tensor:
    """Adam on a hash grid's table, with its moments, by what pulls on its features; what nobody looked at stays."""
    value, *moments = table
    rates = torch.full((value.shape[1],), rate)
    options = {"step": step + 1, "beta2": BETA2, "eps": EPSILON}
    return adam_step_hash(value, positions, pulls, levels, *moments, rates, **options)
