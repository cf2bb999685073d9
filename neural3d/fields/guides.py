"""Guides: who says where along rays a field in a hash grid is looked at.

A guide knows an object's occupied cells, or guesses roughly what is there and looks closely where that has weight.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.fields.rays import Rays
from neural3d.ops.hash_encode import hash_encode
from neural3d.ops.march import march
from neural3d.ops.proposal import proposal_edges
from neural3d.ops.records import HashLevels, MarchRange, RaySamples, RayScale

UNIFORM_SHARE = 0.02
"""Of the intervals, spread over the whole ray whatever the guess says, once it has learnt."""
VIEW_SAMPLES = 1.5
"""Times as many intervals as in training when a picture is made."""


@runtime_checkable
class Guide(Protocol):
    """Who says where to look."""

    def samples(self, rays: Rays, offsets: Float[Tensor, "R"]) -> RaySamples:
        """Of rays in the field's frame; offsets in [0, 1) move the samples along."""


@dataclass(frozen=True)
class OccupancyGuide:
    """Steps of one length through the cells in which something is."""

    occupied: Bool[Tensor, "G G G"]
    span: MarchRange

    def samples(self, rays: Rays, offsets: Float[Tensor, "R"]) -> RaySamples:
        """The steps whose middle lies in an occupied cell."""
        box = rays.origins.new_tensor([0.0, 0.0, 0.0, 1.0])
        return march(rays.origins, rays.directions, offsets, box, self.occupied, self.span)


@dataclass(frozen=True)
class Guess:
    """What a coarse grid says of P intervals of each ray."""

    edges: Float[Tensor, "R P_plus_1"]
    positions: Float[Tensor, "RP 3"]
    """Of the intervals' middles, in the grid's unit cube."""
    features: Float[Tensor, "R P L"]
    """There, by level."""


@dataclass(frozen=True)
class ProposalGuide:
    """A coarse grid's guess of the density along the ray, and as many intervals for every ray, dense where it is thick.

    Source: Barron et al. 2022, Mip-NeRF 360, section 3, with a grid in place of the proposal network.
    """

    table: Float[Tensor, "E F"]
    """Of a hash grid whose features add up to the logarithm of the density."""
    levels: HashLevels
    scale: RayScale
    """Measures places along rays, from 0 to 1; distances in the field's frame."""
    coarse: int
    """Intervals of the guess."""
    fine: int
    """Intervals in which the field is looked at."""

    def samples(self, rays: Rays, offsets: Float[Tensor, "R"]) -> RaySamples:
        """Some more intervals than in training."""
        guess, count = self.guess(rays, offsets), int(VIEW_SAMPLES * self.fine)
        fine = proposal_edges(guess.features, guess.edges, offsets, self.scale, count=count, uniform=UNIFORM_SHARE)
        return interval_samples(rays, fine, self.scale)

    def guess(self, rays: Rays, offsets: Float[Tensor, "R"]) -> Guess:
        """In intervals that are moved along by offsets."""
        inner = torch.arange(1, self.coarse, device=offsets.device) + (offsets[:, None] - 0.5)
        ends = torch.zeros_like(offsets)[:, None]
        edges = torch.cat([ends, inner / self.coarse, ends + 1], dim=1)
        positions = interval_samples(rays, edges, self.scale).positions
        features = hash_encode(positions, self.table, self.levels)
        return Guess(edges, positions, features.view(len(offsets), self.coarse, -1))


def interval_samples(rays: Rays, edges: Float[Tensor, "R N_plus_1"], scale: RayScale) -> RaySamples:
    """The middles of intervals along rays of a contracted scene, in the field's frame; as many for every ray."""
    count = edges.shape[1] - 1
    ends = scale.distances(edges)
    middles = (ends[:, 1:] + ends[:, :-1]) / 2
    places = (rays.origins[:, None] + middles[..., None] * rays.directions[:, None]).view(-1, 3)
    # The contraction of `neural3d.reference.march.grid_positions`, by operations that round the same way everywhere.
    x, y, z = places.unbind(1)
    length = (x * x + y * y + z * z).sqrt().clamp(min=1)
    positions = places * ((2 - 1 / length) / length / 4)[:, None] + 0.5
    offsets = torch.arange(0, len(edges) * count + 1, count, dtype=torch.int32, device=edges.device)
    return RaySamples(positions, middles.view(-1), ends.diff(dim=1).view(-1), offsets)
