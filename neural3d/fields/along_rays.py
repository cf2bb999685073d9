"""Fields that are looked at sample by sample: how a picture's rays go on until they have met something opaque."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.ops.records import RaySamples, RayViews

SHADED_RAYS = 1 << 14
"""That are looked along at a time."""
FIRST_SAMPLES = 12
"""Of each ray, when a picture is made; then twice as many, and so on, as long as light comes through."""
TRANSMITTANCE_MIN = 1e-4

FindSamples = Callable[[Rays, Float[Tensor, "R"]], RaySamples]
"""Samples of rays of the scene, moved along by offsets in [0, 1); distances are in the field's frame."""
SeeSamples = Callable[[RaySamples, Float[Tensor, "R 3"]], RayViews]
"""What samples show to rays with given directions."""


def look_along(rays: Rays, find: FindSamples, see: SeeSamples, unit: float) -> Shaded:
    """What rays of the scene see; `unit` is the field's unit of length, in scene units."""
    parts = [_look_along(rays[i : i + SHADED_RAYS], find, see, unit) for i in range(0, max(len(rays), 1), SHADED_RAYS)]
    fields = zip(*((part.colors, part.alphas, part.distances) for part in parts), strict=True)
    return Shaded(*(torch.cat(field) for field in fields))


def _look_along(rays: Rays, find: FindSamples, see: SeeSamples, unit: float) -> Shaded:
    """Some samples of all rays at a time, front to back, so that nobody looks behind what is opaque."""
    offsets = torch.full_like(rays.origins[:, 0], 0.5)
    samples = find(rays, offsets)
    counts = samples.ray_offsets.diff()
    colors, through, depths = torch.zeros_like(rays.origins), torch.ones_like(offsets), torch.zeros_like(offsets)
    going, done, size = counts.nonzero()[:, 0], 0, FIRST_SAMPLES
    while len(going) > 0:
        seen = see(samples.part(going, done, size), rays.directions[going])
        colors[going] += through[going, None] * seen.colors
        depths[going] += through[going] * seen.depths
        through[going] *= 1 - seen.alphas
        done, size = done + size, 2 * size
        going = going[(through[going] >= TRANSMITTANCE_MIN) & (counts[going] > done)]
    alphas = 1 - through
    distances = unit * depths / alphas.clamp(min=1e-8)
    return Shaded(colors, alphas, torch.where(alphas > 0, distances, 0))
