"""Rays through the cells in which neural points are, in bounded and in contracted space."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.fields.field import Shaded
from neural3d.fields.hashgrid import FIRST_SAMPLES, SHADED_RAYS, TRANSMITTANCE_MIN, HashGridPlace
from neural3d.fields.rays import Rays
from neural3d.ops.march import march
from neural3d.ops.records import MarchRange, RaySamples, RayViews
from neural3d.reference.march import grid_positions


@dataclass(frozen=True)
class PointsPlace(HashGridPlace):
    """Where neural points lie in the scene, and how rays are followed there: by steps, outside the box, too."""

    cone: float = 0.0
    """Steps are at least so many times the distance."""

    @property
    def span(self) -> MarchRange:
        """Steps in the field's frame."""
        far = math.inf if self.far is None else self.far / self.half
        return MarchRange(self.step, self.near / self.half, far, self.cone, self.contracted)

    def steps_at(self, places: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Lengths of steps at places in the grid's unit cube, as seen from the box's centre; in the field's frame."""
        steps = torch.full_like(places[:, 0], self.step)
        if not self.contracted:
            return steps
        x, y, z = (4 * places - 2).unbind(1)
        length = (x * x + y * y + z * z).sqrt()
        distance = torch.where(length > 1, 1 / (2 - length).clamp(min=1e-3), length)
        return torch.maximum(steps, self.cone * distance)

    def grid_places(self, positions: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Points of the scene in the grid's unit cube; beyond it where the box ends."""
        box = positions.new_tensor([*self.center, self.half])
        return grid_positions(positions, box, contracted=self.contracted).contiguous()


def march_rays(
    rays: Rays, offsets: Float[Tensor, "R"], occupied: Bool[Tensor, "G G G"], place: PointsPlace
) -> RaySamples:
    """Samples of rays that are in the field's frame already."""
    box = rays.origins.new_tensor([0.0, 0.0, 0.0, 1.0])
    return march(rays.origins, rays.directions, offsets, box, occupied, place.span)


def look_along(
    rays: Rays,
    place: PointsPlace,
    occupied: Bool[Tensor, "G G G"],
    see: Callable[[RaySamples, Float[Tensor, "R 3"]], RayViews],
) -> Shaded:
    """What rays of the scene see, where `see` says what samples show to rays with given directions."""
    parts = [
        _look_along(rays[i : i + SHADED_RAYS], place, occupied, see) for i in range(0, max(len(rays), 1), SHADED_RAYS)
    ]
    fields = zip(*((part.colors, part.alphas, part.distances) for part in parts), strict=True)
    return Shaded(*(torch.cat(field) for field in fields))


def _look_along(rays: Rays, place: PointsPlace, occupied: Tensor, see: Callable[..., RayViews]) -> Shaded:
    """Some samples of all rays at a time, front to back, so that nobody looks behind what is opaque."""
    placed = place.rays(rays)
    offsets = torch.full_like(placed.origins[:, 0], 0.5)
    samples = march_rays(placed, offsets, occupied, place)
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
    distances = place.half * depths / alphas.clamp(min=1e-8)
    return Shaded(colors, alphas, torch.where(alphas > 0, distances, 0))
