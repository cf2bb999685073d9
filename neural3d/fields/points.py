"""A field of neural points: features that lie where surfaces are, blended by distance, and small dense layers.

Points live in the unit cube of the place's grid, so that a scene without bounds is contracted and points far away may
lie farther apart. A field has density only within a radius of its points, and is looked at nowhere else.

Source: Xu et al. 2022, Point-NeRF: Point-based Neural Radiance Fields.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from neural3d.fields.along_rays import TRANSMITTANCE_MIN, look_along
from neural3d.fields.field import Shaded
from neural3d.fields.guides import OccupancyGuide
from neural3d.fields.hashgrid import DENSITY_POINTS, SH_DEGREE
from neural3d.fields.points_place import PointsPlace
from neural3d.fields.rays import Rays
from neural3d.ops.blend_points import blend_points
from neural3d.ops.composite import composite
from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.point_index import PointIndex
from neural3d.ops.radiance_mlp import density_mlp, radiance_mlp
from neural3d.ops.records import RadianceLayers, RaySamples, RayViews
from neural3d.reference.sh import sh_basis


@dataclass(frozen=True)
class PointsShape:
    """Sizes of what is learnt, but for the number of points."""

    features: int
    """Of a point: 16, 32 or 64."""
    width: int
    """Units of a hidden layer."""
    neighbors: int
    """That are blended at a place, at most."""

    @property
    def layers(self) -> RadianceLayers:
        """Of the dense layers."""
        return RadianceLayers(inputs=self.features, ray_inputs=(SH_DEGREE + 1) ** 2, width=self.width)


@dataclass(frozen=True)
class PointsWeights:
    """What is learnt."""

    embeddings: Float[Tensor, "P C"]
    confidences: Float[Tensor, "P"]
    """How sure it is that a point lies on something, 0 to 1."""
    mix: Float[Tensor, "3 C"]
    """What the offset from a point adds to its features, by radius."""
    layers: Float[Tensor, "W"]


def near_samples(samples: RaySamples, near: Bool[Tensor, "S"]) -> RaySamples:
    """Those samples alone."""
    rows = near.nonzero()[:, 0]
    before = pad(near.cumsum(0, dtype=torch.int32), (1, 0))
    offsets = before[samples.ray_offsets.long()]
    return RaySamples(samples.positions[rows], samples.ts[rows], samples.deltas[rows], offsets)


def view_points(
    weights: PointsWeights,
    shape: PointsShape,
    index: PointIndex,
    samples: RaySamples,
    directions: Float[Tensor, "R 3"],
    *,
    transmittance_min: float = TRANSMITTANCE_MIN,
) -> RayViews:
    """What rays see through those of their samples that lie near points; differentiable in what is learnt."""
    lit = lit_points(weights, shape, index, samples, directions)
    return composite(*lit, transmittance_min=transmittance_min)


def lit_points(
    weights: PointsWeights,
    shape: PointsShape,
    index: PointIndex,
    samples: RaySamples,
    directions: Float[Tensor, "R 3"],
) -> tuple[Tensor, ...]:
    """Densities, colours, distances and lengths of those samples that lie near points, and where their rays begin."""
    neighbors = nearest_points(samples.positions, index, shape.neighbors)
    near = neighbors[:, 0] >= 0
    samples, neighbors = near_samples(samples, near), neighbors[near]
    learnt = (weights.embeddings, weights.confidences, weights.mix)
    features, confidence = blend_points(samples.positions, index.points, *learnt, neighbors, index.radius)
    ray_features = sh_basis(directions, SH_DEGREE)
    densities, colors = radiance_mlp(features, weights.layers, ray_features, samples.ray_offsets, shape.layers)
    densities = densities * confidence * density_unit(index)
    return densities, colors, samples.ts, samples.deltas, samples.ray_offsets


def point_densities(
    weights: PointsWeights, shape: PointsShape, index: PointIndex, places: Float[Tensor, "S 3"]
) -> Float[Tensor, "S"]:
    """At places in the grid's unit cube, per length in the field's frame."""
    parts = [_densities(weights, shape, index, part) for part in places.split(DENSITY_POINTS)]
    return torch.cat(parts)


def density_unit(index: PointIndex) -> float:
    """A density of one makes a radius as thick as one, in the field's frame, which is twice as wide as the cube."""
    return 0.5 / index.radius


def _densities(weights: PointsWeights, shape: PointsShape, index: PointIndex, places: Tensor) -> Tensor:
    neighbors = nearest_points(places, index, shape.neighbors)
    rows = (neighbors[:, 0] >= 0).nonzero()[:, 0]
    learnt = (weights.embeddings, weights.confidences, weights.mix)
    features, confidence = blend_points(places[rows], index.points, *learnt, neighbors[rows], index.radius)
    found = torch.zeros_like(places[:, 0])
    found[rows] = density_mlp(features, weights.layers, shape.layers) * confidence * density_unit(index)
    return found


@dataclass(frozen=True)
class PointsField:
    """A trained field, as `neural3d.fields.field.RadianceField` describes it."""

    shape: PointsShape
    place: PointsPlace
    index: PointIndex
    weights: PointsWeights
    occupied: Bool[Tensor, "G G G"]

    @property
    def num_parameters(self) -> int:
        """How many numbers were learnt."""
        return sum(tensor.numel() for tensor in vars(self.weights).values())

    @torch.no_grad()
    def shade(self, rays: Rays) -> Shaded:
        """Look along rays, near points only."""
        guide = OccupancyGuide(self.occupied, self.place.span)

        def find(some: Rays, offsets: Float[Tensor, "R"]) -> RaySamples:
            return guide.samples(self.place.rays(some), offsets)

        def see(samples: RaySamples, directions: Float[Tensor, "R 3"]) -> RayViews:
            return view_points(self.weights, self.shape, self.index, samples, directions)

        return look_along(rays, find, see, self.place.half)

    @torch.no_grad()
    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Per scene unit; 0 away from the points."""
        places = self.place.grid_places(positions)
        return point_densities(self.weights, self.shape, self.index, places) / self.place.half
