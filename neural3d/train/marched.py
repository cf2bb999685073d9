"""What fields that are looked at sample by sample have in common while they are trained."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from neural3d.ops.records import RayViews
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import RayBatch

REFRESH_STEPS = 16
"""Between two looks at a part of the occupancy grid."""
REFRESH_PARTS = 8
"""A look takes one cell of so many neighbours, so that all were looked at after as many."""
OCCUPANCY_DECAY = 0.95
OCCUPIED_THICKNESS = 0.01
"""Optical thickness of a step in a cell that counts as occupied; the paper's."""
FIRST_RAYS = 256
RAYS_STEP = 64

Photographed = Callable[[Float[Tensor, "R 3"], RayBatch], tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]]
"""Of what rays see of the scene: what the photos would show, and what the mean squared error pulls on the scene's."""


def plainly_photographed(
    shown: Float[Tensor, "R 3"], batch: RayBatch
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
    """Photos show what is there."""
    return shown, 2 / (3 * len(shown)) * (shown - batch.colors)


def compare(
    seen: RayViews, batch: RayBatch, distortion: float = 0.0, photographed: Photographed = plainly_photographed
) -> tuple[list[Tensor], list[Tensor], Float[Tensor, ""], Float[Tensor, ""]]:
    """Outputs and what pulls on them, the loss, and the squared error of the clamped picture.

    `distortion` is the weight of the distortion loss.
    """
    shown = seen.colors.detach() + (1 - seen.alphas.detach())[:, None] * batch.backgrounds
    in_photo, pull = photographed(shown, batch)
    x, y, z = (pull * batch.backgrounds).unbind(1)
    bent = distortion / len(shown)
    pulls = [pull, -(x + y + z), torch.full_like(seen.distortions, bent)]
    loss = (in_photo - batch.colors).square().mean() + bent * seen.distortions.detach().sum()
    error = (in_photo.clamp(0, 1) - batch.colors).square().mean()
    return [seen.colors, seen.alphas, seen.distortions], pulls, loss, error


def next_rays(rays: int, found: int, samples: int, most_rays: int) -> int:
    """As many as should find the samples that were asked for, in whole groups, where `rays` have `found` so many."""
    wanted = min(rays * samples / max(found, 1), 2 * rays, most_rays)
    return max(int(wanted) // RAYS_STEP, 1) * RAYS_STEP


def looks_into_cells(
    possible: Bool[Tensor, "G G G"], seed: int, step: int
) -> tuple[Int32[Tensor, "M"], Float[Tensor, "M 3"]]:
    """One of every few neighbouring cells that can be occupied, and a place somewhere inside it, in the unit cube."""
    side, random = len(possible), generator(seed, Purpose.OCCUPANCY, step)
    cells = possible.view(-1).nonzero()[:, 0].numpy()
    groups = -(-len(cells) // REFRESH_PARTS)
    chosen = REFRESH_PARTS * np.arange(groups) + random.integers(0, REFRESH_PARTS, groups)
    cells = cells[np.minimum(chosen, len(cells) - 1)]
    corners = np.stack([cells % side, cells // side % side, cells // side**2], axis=1)
    places = (corners + random.random((groups, 3))) / side
    return torch.from_numpy(cells.astype(np.int32)), torch.from_numpy(places.astype(np.float32))
