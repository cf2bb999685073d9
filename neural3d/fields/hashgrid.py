"""A field of features in a multiresolution hash grid, and small dense layers that turn them into density and colour.

The field has a frame of its own: the scene moved and scaled so that its box is the cube [-1, 1]^3. A scene without
bounds is contracted around that. Densities count by length in this frame.

Source: Mueller et al. 2022, Instant Neural Graphics Primitives; Barron et al. 2022, Mip-NeRF 360 (contraction).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.along_rays import TRANSMITTANCE_MIN, look_along
from neural3d.fields.field import Shaded
from neural3d.fields.guides import Guide
from neural3d.fields.rays import Rays
from neural3d.ops.composite import composite
from neural3d.ops.hash_encode import hash_encode
from neural3d.ops.radiance_mlp import density_mlp, radiance_mlp
from neural3d.ops.records import HashLevels, MarchRange, RadianceLayers, RaySamples, RayScale, RayViews
from neural3d.reference.march import grid_positions
from neural3d.reference.sh import sh_basis

SH_DEGREE = 3
"""Of the harmonics that a direction is given as."""
DENSITY_POINTS = 1 << 17
FINEST_STEP = 2 * math.sqrt(3) / 1024
"""Along a ray, in the field's frame: as many along the diagonal of the box as in the paper."""


@dataclass(frozen=True)
class HashGridShape:
    """Sizes of all that is learnt."""

    levels: HashLevels
    features: int
    """Of a row of the table: 1, 2, 4 or 8."""
    width: int
    """Units of a hidden layer."""
    appearance: int
    """Numbers that are learnt for each photo, for what changes between them; 0 for none."""

    @property
    def layers(self) -> RadianceLayers:
        """Of the dense layers."""
        return RadianceLayers(
            inputs=self.levels.count * self.features,
            ray_inputs=(SH_DEGREE + 1) ** 2 + self.appearance,
            width=self.width,
        )


@dataclass(frozen=True)
class HashGridPlace:
    """Where the field lies in the scene, and how rays are followed there."""

    center: tuple[float, float, float]
    """Of the box, scene units."""
    half: float
    """Half the side of the box, scene units."""
    contracted: bool = False
    """There is something outside the box, and it is seen."""
    near: float = 0.0
    """Where rays begin, scene units."""
    far: float | None = None
    """Where they end, scene units; None for nowhere before the box does."""
    knee: float | None = None
    """Nearer than that, what is seen is looked for evenly by distance, and behind it by 1 / distance; scene units."""
    step: float = FINEST_STEP
    """Along a ray through occupied cells, in the field's frame."""

    @property
    def span(self) -> MarchRange:
        """Steps in the field's frame."""
        return MarchRange(self.step)

    @property
    def scale(self) -> RayScale:
        """How places along rays are measured in the field's frame, where there is something outside the box."""
        assert self.knee is not None and self.far is not None
        return RayScale(self.near / self.half, self.knee / self.half, self.far / self.half)

    def rays(self, rays: Rays) -> Rays:
        """In the field's frame."""
        return Rays((rays.origins - rays.origins.new_tensor(self.center)) / self.half, rays.directions)


@dataclass(frozen=True)
class HashGridWeights:
    """What is learnt."""

    table: Float[Tensor, "E F"]
    layers: Float[Tensor, "W"]
    appearance: Float[Tensor, "V A"]
    """One row a photo."""


def sample_light(
    weights: HashGridWeights,
    shape: HashGridShape,
    samples: RaySamples,
    directions: Float[Tensor, "R 3"],
    appearance: Float[Tensor, "R A"],
) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 3"]]:
    """Densities, by length in the field's frame, and colours at samples; differentiable as `view_samples` is."""
    features = hash_encode(samples.positions, weights.table, shape.levels)
    return feature_light(features, weights.layers, shape, samples, directions, appearance)


def feature_light(
    features: Float[Tensor, "S I"],
    layers: Float[Tensor, "W"],
    shape: HashGridShape,
    samples: RaySamples,
    directions: Float[Tensor, "R 3"],
    appearance: Float[Tensor, "R A"],
) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 3"]]:
    """The same from the features that the grid holds at the samples."""
    ray_features = sh_basis(directions, SH_DEGREE)
    if shape.appearance > 0:
        ray_features = torch.cat([ray_features, appearance], dim=1)
    return radiance_mlp(features, layers, ray_features, samples.ray_offsets, shape.layers)


def view_samples(
    weights: HashGridWeights,
    shape: HashGridShape,
    samples: RaySamples,
    directions: Float[Tensor, "R 3"],
    appearance: Float[Tensor, "R A"],
    *,
    transmittance_min: float = TRANSMITTANCE_MIN,
) -> RayViews:
    """What rays see through their samples; differentiable in what is learnt and in the samples' positions."""
    light = sample_light(weights, shape, samples, directions, appearance)
    constants = (samples.ts, samples.deltas, samples.ray_offsets)
    return composite(*light, *constants, transmittance_min=transmittance_min)


def grid_densities(weights: HashGridWeights, shape: HashGridShape, places: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
    """At places in the grid's unit cube, per length in the field's frame."""
    parts = places.split(DENSITY_POINTS)
    return torch.cat(
        [density_mlp(hash_encode(p, weights.table, shape.levels), weights.layers, shape.layers) for p in parts]
    )


@dataclass(frozen=True)
class HashGridField:
    """A trained field, as `neural3d.fields.field.RadianceField` describes it."""

    shape: HashGridShape
    place: HashGridPlace
    weights: HashGridWeights
    guide: Guide

    @property
    def num_parameters(self) -> int:
        """How many numbers were learnt."""
        return sum(tensor.numel() for tensor in vars(self.weights).values())

    @torch.no_grad()
    def shade(self, rays: Rays) -> Shaded:
        """Look along rays, with the appearance that the photos have on average."""
        appearance = self.weights.appearance.mean(dim=0)

        def find(some: Rays, offsets: Float[Tensor, "R"]) -> RaySamples:
            return self.guide.samples(self.place.rays(some), offsets)

        def see(samples: RaySamples, directions: Float[Tensor, "R 3"]) -> RayViews:
            return view_samples(self.weights, self.shape, samples, directions, appearance.expand(len(directions), -1))

        return look_along(rays, find, see, self.place.half)

    @torch.no_grad()
    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Per scene unit; 0 where the box ends."""
        box = positions.new_tensor([*self.place.center, self.place.half])
        places = grid_positions(positions, box, contracted=self.place.contracted)
        found = grid_densities(self.weights, self.shape, places.contiguous()) / self.place.half
        inside = ((places >= 0) & (places <= 1)).all(dim=1)
        return torch.where(inside, found, 0)
