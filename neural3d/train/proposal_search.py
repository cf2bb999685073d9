"""Places without bounds: a coarse grid learns to guess where along rays something is.

A ray through such a place meets hundreds of cells in which there may be something, which leaves a step room for few
rays. Here every ray gets as few samples, and where they lie is drawn by a guess that learns to be nowhere too small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.fields.guides import UNIFORM_SHARE, Guess, ProposalGuide, interval_samples
from neural3d.fields.hashgrid import HashGridPlace, HashGridShape, HashGridWeights
from neural3d.fields.rays import Rays
from neural3d.ops.proposal import interlevel, proposal_edges
from neural3d.ops.records import HashLevels, RaySamples
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.search import Found, update_table

PROPOSAL_LEVELS = HashLevels(count=2, coarsest=24, finest=96, log2_rows=20)
"""One row for each corner of both levels."""
FIRST_LOG_DENSITY = -1.0
"""Of the guess, in the field's frame: some light comes through from everywhere."""
RATE_START, RATE_END = 0.1, 0.01
"""Adam's step size for the guess, with a logarithmic decay in between."""
FIRST_UNIFORM, LEARNT_FRACTION = 0.5, 0.2
"""Share of the intervals that is spread evenly in the first step, and when in the run it has shrunk to its end."""


@dataclass(frozen=True)
class Guessed(Found):
    """Samples, and the guess that they come from."""

    guess: Guess
    fine: Float[Tensor, "R N_plus_1"]


class ProposalSearch:
    """The guess, and what Adam remembers of it.

    Source: Barron et al. 2022, Mip-NeRF 360, section 3.
    """

    def __init__(self, config: HashGridConfig, place: HashGridPlace) -> None:
        """The same density everywhere at first."""
        self.config, self.scale = config, place.scale
        self.rays = config.open_rays
        self.table = torch.zeros(PROPOSAL_LEVELS.rows, 1)
        self.table[: PROPOSAL_LEVELS.rows_per_level[0]] = FIRST_LOG_DENSITY
        self.moments = torch.zeros_like(self.table), torch.zeros_like(self.table)

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        names = ("proposals", "proposals.first_moments", "proposals.second_moments")
        self.table, *moments = (checkpoint.tensors[f"hashgrid.{name}"] for name in names)
        self.moments = moments[0], moments[1]

    def prepare(self, step: int, weights: HashGridWeights, shape: HashGridShape) -> None:
        """Nothing is to be done."""

    def find(self, rays: Rays, step: int, fraction: float) -> Guessed:
        """Intervals of each ray, dense where the guess is; measured as the guess's scale does."""
        drawn = generator(self.config.seed, Purpose.COARSE, step).random(len(rays), dtype=np.float32)
        offsets, count = torch.from_numpy(drawn), self.config.ray_samples
        guess = self._guide(self.table).guess(rays, offsets)
        share = max(1 - fraction / LEARNT_FRACTION, 0.0)
        uniform = UNIFORM_SHARE + share * (FIRST_UNIFORM - UNIFORM_SHARE)
        fine = proposal_edges(guess.features, guess.edges, offsets, self.scale, count=count, uniform=uniform)
        there, lengths = interval_samples(rays, fine, self.scale), fine.diff(dim=1).view(-1)
        middles = ((fine[:, 1:] + fine[:, :-1]) / 2).view(-1)
        samples = RaySamples(there.positions, middles, lengths, there.ray_offsets)
        stretch = there.deltas / lengths.clamp(min=torch.finfo(lengths.dtype).tiny)
        return Guessed(samples, stretch, there.ts, guess, fine)

    def learn(self, found: Found, densities: Float[Tensor, "S"], step: int, fraction: float) -> Tensor:
        """Pull the guess up where it holds less than there was."""
        assert isinstance(found, Guessed)
        fine, features = densities.detach().view(len(found.fine), -1), found.guess.features.detach().requires_grad_()
        with torch.enable_grad():
            losses = interlevel(features, found.guess.edges, fine, found.fine, self.scale)
        (pulls,) = torch.autograd.grad(losses, features, torch.full_like(losses, 1 / len(losses)))
        rate = RATE_START * (RATE_END / RATE_START) ** fraction
        looks = (found.guess.positions, pulls.view(len(found.guess.positions), -1))
        return update_table((self.table, *self.moments), PROPOSAL_LEVELS, *looks, rate, step)

    def guide(self) -> ProposalGuide:
        """A copy of the guess."""
        return self._guide(self.table.clone())

    def tensors(self) -> Mapping[str, Tensor]:
        """The guess and its moments."""
        first, second = self.moments
        return {
            "proposals": self.table,
            "proposals.first_moments": first,
            "proposals.second_moments": second,
        }

    def meta(self) -> Mapping[str, Any]:
        """Nothing but the tensors is kept."""
        return {}

    def _guide(self, table: Tensor) -> ProposalGuide:
        return ProposalGuide(table, PROPOSAL_LEVELS, self.scale, self.config.proposals, self.config.ray_samples)
