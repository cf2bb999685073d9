"""Which neural points go, and where new ones come: pruning by confidence, growing where rays meet something else.

Source: Xu et al. 2022, section 4.2.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.fields.guides import OccupancyGuide
from neural3d.fields.points import PointsShape, PointsWeights, near_samples, point_densities
from neural3d.fields.points_place import PointsPlace
from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.point_index import PointIndex
from neural3d.ops.records import RaySamples
from neural3d.surface.thinning import thinned_rows
from neural3d.train.points_config import PointsConfig
from neural3d.train.ray_batches import PhotoPixels

PROBES, PROBE_RAYS = 4, 8192
"""Batches of rays that are looked along to find where points are missing."""
PROBE_STEPS = 1 << 40
"""Probes draw the rays of steps that no training reaches."""
FIRST_CONFIDENCE = 0.5
"""Of a point that has grown: it may as well be none."""


@dataclass(frozen=True)
class Change:
    """A field as it is before its points change."""

    index: PointIndex
    weights: PointsWeights
    shape: PointsShape
    place: PointsPlace
    occupied: Bool[Tensor, "G G G"]


@dataclass(frozen=True)
class NewPoints:
    """Points that are to be added."""

    places: Float[Tensor, "P 3"]
    embeddings: Float[Tensor, "P C"]
    confidences: Float[Tensor, "P"]


def kept_rows(confidences: Float[Tensor, "P"], least: float) -> Int64[Tensor, "M"]:
    """Points that are sure enough; where none is, all stay."""
    kept = (confidences >= least).nonzero()[:, 0]
    return kept if len(kept) else torch.arange(len(confidences))


def grown(change: Change, pixels: PhotoPixels, config: PointsConfig, background: str, step: int) -> NewPoints:
    """New points with the features of those nearest to them, no more than there is room for."""
    room = config.max_points - len(change.index)
    found = [_probe(change, pixels, config, background, PROBE_STEPS + PROBES * step + i) for i in range(PROBES)]
    places = torch.cat(found)
    if room <= 0 or len(places) == 0:
        return _with_features(change, places[:0])
    side = config.grow_distance * change.index.radius
    return _with_features(change, thinned_rows(places, room, finest=side, fewest=1))


def _probe(change: Change, pixels: PhotoPixels, config: PointsConfig, background: str, step: int) -> Tensor:
    """Each ray's most opaque sample, where that is opaque enough and far enough from all points."""
    batch = pixels.batch(PROBE_RAYS, background, config.seed, step, central=False)
    offsets = torch.full((PROBE_RAYS,), 0.5)
    guide = OccupancyGuide(change.occupied, change.place.span)
    samples = guide.samples(change.place.rays(batch.rays), offsets)
    samples = near_samples(samples, nearest_points(samples.positions, change.index, 1)[:, 0] >= 0)
    if len(samples.ts) == 0:
        return samples.positions
    thickness = point_densities(change.weights, change.shape, change.index, samples.positions) * samples.deltas
    chosen = samples.positions[_thickest(samples, thickness, opacity=config.grow_opacity)]
    nearest = change.index.points[nearest_points(chosen, change.index, 1)[:, 0].long()]
    x, y, z = (chosen - nearest).unbind(1)
    distant = x * x + y * y + z * z > (config.grow_distance * change.index.radius) ** 2
    return chosen[distant]


def _thickest(samples: RaySamples, thickness: Float[Tensor, "S"], *, opacity: float) -> Int64[Tensor, "M"]:
    """Of each ray the first sample that is as thick as any of it, if it is opaque enough."""
    counts = samples.ray_offsets.diff().long()
    ray = torch.arange(len(counts)).repeat_interleave(counts)
    most = torch.zeros(len(counts)).scatter_reduce(0, ray, thickness, "amax")
    # 1 - exp(-t) > opacity, without an exponential, whose last bit may depend on the number of threads.
    enough = -torch.log1p(torch.tensor(-opacity, dtype=torch.float64)).item()
    rows = ((thickness == most[ray]) & (thickness > enough)).nonzero()[:, 0]
    first = torch.ones(len(rows), dtype=torch.bool)
    first[1:] = ray[rows][1:] != ray[rows][:-1]
    return rows[first]


def _with_features(change: Change, places: Float[Tensor, "P 3"]) -> NewPoints:
    """What the nearest point would say there: its features, and what the offset adds to them."""
    nearest = nearest_points(places, change.index, 1)[:, 0].long()
    places, nearest = places[nearest >= 0], nearest[nearest >= 0]
    x, y, z = ((places - change.index.points[nearest]) / change.index.radius)[:, :, None].unbind(1)
    mix = change.weights.mix.detach()
    embeddings = change.weights.embeddings.detach()[nearest] + x * mix[0] + y * mix[1] + z * mix[2]
    return NewPoints(places, embeddings, torch.full((len(places),), FIRST_CONFIDENCE))


def cells_near(index: PointIndex, side: int) -> Bool[Tensor, "G G G"]:
    """Cells of the unit cube's grid, [z, y, x], in which something can lie within the radius of a point."""
    cells = (index.points * side).floor().long().clamp(0, side - 1)
    found = torch.zeros(side, side, side)
    x, y, z = cells.unbind(1)
    found[z, y, x] = 1
    reach = int(index.radius * side) + 1
    for axes in ((2, 3, 4), (2, 4, 3), (4, 3, 2)):  # along one axis after the other
        turned = found[None, None].permute(0, 1, *axes)
        wider = torch.nn.functional.max_pool3d(turned, (1, 1, 2 * reach + 1), 1, (0, 0, reach))
        found = wider.permute(0, 1, *axes)[0, 0]
    return found > 0
