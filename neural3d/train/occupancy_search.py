"""Objects on a transparent ground: looks only where cells of a grid were found to be occupied."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.fields.guides import OccupancyGuide
from neural3d.fields.hashgrid import HashGridPlace, HashGridShape, HashGridWeights, grid_densities
from neural3d.fields.rays import Rays
from neural3d.ops.occupancy import update_occupancy
from neural3d.scene import Scene
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.marched import (
    FIRST_RAYS,
    OCCUPANCY_DECAY,
    OCCUPIED_THICKNESS,
    REFRESH_STEPS,
    looks_into_cells,
    next_rays,
)
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.search import Found
from neural3d.train.visual_hull import POSE_MARGIN, possible_cells, widened

EARLY_STEPS, EARLY_REFRESH_STEPS = 64, 4
"""At first everything counts as occupied, and looks are nearer to each other, until all was looked at twice."""
EARLY_STRIDE = 8.0
"""Steps from one sample to the next as long as everything counts as occupied; else a step had room for few rays."""


class OccupancySearch:
    """A grid of cells that the photos let be occupied, and what was found in them.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.
    """

    def __init__(self, scene: Scene, config: HashGridConfig, place: HashGridPlace) -> None:
        """Every possible cell counts as occupied at first."""
        self.config, self.place, self.rays = config, place, min(FIRST_RAYS, config.most_rays)
        self.possible = possible_cells(scene, place, config.occupancy_cells)
        if config.refine_cameras:
            self.possible = widened(self.possible, POSE_MARGIN)
        self.memory, self.occupied = torch.zeros(self.possible.shape), self.possible.clone()

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        names = ("memory", "occupied", "possible")
        self.memory, self.occupied, self.possible = (checkpoint.tensors[f"hashgrid.{name}"] for name in names)
        self.rays = int(checkpoint.meta["rays"])

    @torch.no_grad()
    def prepare(self, step: int, weights: HashGridWeights, shape: HashGridShape) -> None:
        """Now and then, look into one of every few neighbouring cells that can be occupied, somewhere inside it."""
        if step % (EARLY_REFRESH_STEPS if step < EARLY_STEPS else REFRESH_STEPS) != 0:
            return
        cells, places = looks_into_cells(self.possible, self.config.seed, step)
        thickness = grid_densities(weights, shape, places) * self.place.step
        update_occupancy(
            self.memory, self.occupied, cells, thickness, decay=OCCUPANCY_DECAY, threshold=OCCUPIED_THICKNESS
        )
        self.occupied.copy_(self.possible if step < EARLY_STEPS else self.occupied & self.possible)

    def find(self, rays: Rays, step: int, fraction: float) -> Found:
        """The occupied steps of each ray."""
        drawn = generator(self.config.seed, Purpose.COARSE, step).random(len(rays), dtype=np.float32)
        span = self.place.span
        span = replace(span, step=span.step * (EARLY_STRIDE if step < EARLY_STEPS else 1.0))
        samples = OccupancyGuide(self.occupied, span).samples(rays, torch.from_numpy(drawn))
        return Found(samples, None, samples.ts)

    def learn(self, found: Found, densities: Float[Tensor, "S"], step: int, fraction: float) -> Tensor:
        """Take as many rays as should find the samples that were asked for, in whole groups."""
        self.rays = next_rays(self.rays, len(found.samples.ts), self.config.samples, self.config.most_rays)
        return torch.zeros((), dtype=torch.int64)

    def guide(self) -> OccupancyGuide:
        """A copy of the grid."""
        return OccupancyGuide(self.occupied.clone(), self.place.span)

    def tensors(self) -> Mapping[str, Tensor]:
        """What is known of the cells."""
        return {"memory": self.memory, "occupied": self.occupied, "possible": self.possible}

    def meta(self) -> Mapping[str, Any]:
        """How many rays the next step takes."""
        return {"rays": self.rays}
