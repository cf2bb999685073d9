"""Neural points as one trains them with torch's own operations: the yardstick of our own."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.bench.hashgrid_twin import composited
from neural3d.fields.hashgrid import SH_DEGREE
from neural3d.fields.points import density_unit, near_samples
from neural3d.ops.point_index import PointIndex
from neural3d.ops.records import RaySamples, RayViews
from neural3d.reference.adam import adam_step
from neural3d.reference.blend_points import blend_points
from neural3d.reference.radiance_mlp import radiance_mlp
from neural3d.reference.sh import sh_basis
from neural3d.train.points import PointsLearner

QUERIES = 1 << 14
"""That are looked for at a time."""


class PointsTwin(PointsLearner):
    """The same points, rays, samples and schedules; neighbours, blending, layers, compositing and Adam by torch."""

    adam = staticmethod(adam_step)

    def see(self, samples: RaySamples, directions: Float[Tensor, "R 3"]) -> RayViews:
        """As `neural3d.fields.points.view_points`, without an end to rays that are opaque."""
        neighbors = torch.cat(
            [neighbors_by_cells(part, self.index, self.shape.neighbors) for part in samples.positions.split(QUERIES)]
        )
        near = neighbors[:, 0] >= 0
        samples, weights = near_samples(samples, near), self.weights
        learnt = (weights.embeddings, weights.confidences, weights.mix)
        places = (samples.positions, self.index.points)
        features, confidence = blend_points(*places, *learnt, neighbors[near].int(), self.index.radius)
        ray_features = sh_basis(directions, SH_DEGREE)
        light = radiance_mlp(features, weights.layers, ray_features, samples.ray_offsets, self.shape.layers)
        colors, alphas = composited(light[0] * confidence * density_unit(self.index), light[1], samples)
        return RayViews(colors, alphas, torch.zeros_like(alphas), 0 * alphas)


def neighbors_by_cells(queries: Float[Tensor, "S 3"], index: PointIndex, k: int) -> Int64[Tensor, "S K"]:
    """As `neural3d.ops.nearest_points`, from sorted cells: of each of 27 all points, padded to the fullest."""
    own = (index.points.double() * index.cells_per_unit).floor().long()
    keys, order = torch.sort(_key(own))
    fullest = int(torch.unique_consecutive(keys, return_counts=True)[1].max())
    base = (queries.double() * index.cells_per_unit).floor().long()
    best = torch.full((len(queries), k), torch.inf)
    rows = torch.full((len(queries), k), -1)
    steps = torch.tensor([-1, 0, 1])
    for offset in torch.cartesian_prod(steps, steps, steps):
        key = _key(base + offset)
        first, end = torch.searchsorted(keys, key), torch.searchsorted(keys, key, right=True)
        slots = first[:, None] + torch.arange(fullest)
        found = order[slots.clamp(max=len(order) - 1)]
        squared = (queries[:, None] - index.points[found]).square().sum(-1)
        squared = torch.where((slots < end[:, None]) & (squared < index.radius**2), squared, torch.inf)
        best, kept = torch.cat([best, squared], dim=1).topk(k, dim=1, largest=False)
        rows = torch.cat([rows, found], dim=1).gather(1, kept)
    return torch.where(best < torch.inf, rows, -1)


def _key(cells: Int64[Tensor, "S 3"]) -> Int64[Tensor, "S"]:
    x, y, z = (cells + (1 << 20)).clamp(0, (1 << 21) - 1).unbind(1)
    return (z << 42) + (y << 21) + x
