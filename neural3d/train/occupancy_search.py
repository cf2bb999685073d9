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
from neural3d.ops.march import march
from neural3d.ops.occupancy import update_occupancy
from neural3d.scene import Scene
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.search import Found
from neural3d.train.visual_hull import possible_cells

REFRESH_STEPS = 16
"""Between two looks at a part of the occupancy grid."""
EARLY_STEPS, EARLY_REFRESH_STEPS = 64, 4
"""At first everything counts as occupied, and looks are nearer to each other, until all was looked at twice."""
EARLY_STRIDE = 8.0
"""Steps from one sample to the next as long as everything counts as occupied; else a step had room for few rays."""
REFRESH_PARTS = 8
"""A look takes one cell of so many neighbours, so that all were looked at after as many."""
OCCUPANCY_DECAY = 0.95
OCCUPIED_THICKNESS = 0.01
"""Optical thickness of a step in a cell that counts as occupied; the paper's."""
FIRST_RAYS = 256
RAYS_STEP = 64


class OccupancySearch:
    """A grid of cells that the photos let be occupied, and what was found in them.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.
    """

    def __init__(self, scene: Scene, config: HashGridConfig, place: HashGridPlace) -> None:
        """Every possible cell counts as occupied at first."""
        self.config, self.place, self.rays = config, place, min(FIRST_RAYS, config.most_rays)
        self.possible = possible_cells(scene, place, config.occupancy_cells)
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
        cells, places = self._cells(step)
        thickness = grid_densities(weights, shape, places) * self.place.step
        update_occupancy(
            self.memory, self.occupied, cells, thickness, decay=OCCUPANCY_DECAY, threshold=OCCUPIED_THICKNESS
        )
        self.occupied.copy_(self.possible if step < EARLY_STEPS else self.occupied & self.possible)

    def find(self, rays: Rays, step: int, fraction: float) -> Found:
        """The occupied steps of each ray."""
        drawn = generator(self.config.seed, Purpose.COARSE, step).random(len(rays), dtype=np.float32)
        span, box = self.place.span, rays.origins.new_tensor([0.0, 0.0, 0.0, 1.0])
        span = replace(span, step=span.step * (EARLY_STRIDE if step < EARLY_STEPS else 1.0))
        found = march(rays.origins, rays.directions, torch.from_numpy(drawn), box, self.occupied, span)
        return Found(found, None)

    def learn(self, found: Found, densities: Float[Tensor, "S"], step: int, fraction: float) -> Tensor:
        """Take as many rays as should find the samples that were asked for, in whole groups."""
        wanted = self.rays * self.config.samples / max(len(found.samples.ts), 1)
        wanted = min(wanted, 2 * self.rays, self.config.most_rays)
        self.rays = max(int(wanted) // RAYS_STEP, 1) * RAYS_STEP
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

    def _cells(self, step: int) -> tuple[Tensor, Float[Tensor, "K 3"]]:
        """Numbers of cells, and a place in each, in the grid's unit cube."""
        side, random = self.config.occupancy_cells, generator(self.config.seed, Purpose.OCCUPANCY, step)
        possible = self.possible.view(-1).nonzero()[:, 0].numpy()
        groups = -(-len(possible) // REFRESH_PARTS)
        chosen = REFRESH_PARTS * np.arange(groups) + random.integers(0, REFRESH_PARTS, groups)
        cells = possible[np.minimum(chosen, len(possible) - 1)]
        corners = np.stack([cells % side, cells // side % side, cells // side**2], axis=1)
        places = (corners + random.random((groups, 3))) / side
        return torch.from_numpy(cells.astype(np.int32)), torch.from_numpy(places.astype(np.float32))
