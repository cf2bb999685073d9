"""A field of features in a multiresolution hash grid, and small dense layers that turn them into density and colour.

The field has a frame of its own: the scene moved and scaled so that its box is the cube [-1, 1]^3. A scene without
bounds is contracted around that. Densities count by length in this frame.

Source: Mueller et al. 2022, Instant Neural Graphics Primitives; Barron et al. 2022, Mip-NeRF 360 (contraction).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.ops.composite import composite
from neural3d.ops.hash_encode import hash_encode
from neural3d.ops.march import march
from neural3d.ops.radiance_mlp import density_mlp, radiance_mlp
from neural3d.ops.records import HashLevels, MarchRange, RadianceLayers, RaySamples, RayViews
from neural3d.reference.march import grid_positions
from neural3d.reference.sh import sh_basis

SH_DEGREE = 3
"""Of the harmonics that a direction is given as."""
SHADED_RAYS = 1 << 14
"""That are looked along at a time."""
FIRST_SAMPLES = 12
"""Of each ray, when a picture is made; then twice as many, and so on, as long as light comes through."""
TRANSMITTANCE_MIN = 1e-4
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
    step: float = FINEST_STEP
    """Along a ray, in the field's frame."""
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


def march_rays(
    rays: Rays,
    offsets: Float[Tensor, "R"],
    occupied: Bool[Tensor, "G G G"],
    place: HashGridPlace,
    *,
    stride: float = 1.0,
) -> RaySamples:
    """Samples of rays that are in the field's frame already, `stride` steps apart."""
    box, span = rays.origins.new_tensor([0.0, 0.0, 0.0, 1.0]), place.span
    return march(rays.origins, rays.directions, offsets, box, occupied, replace(span, step=stride * span.step))


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
    features = hash_encode(samples.positions, weights.table, shape.levels)
    ray_features = torch.cat([sh_basis(directions, SH_DEGREE), appearance], dim=1)
    light = radiance_mlp(features, weights.layers, ray_features, samples.ray_offsets, shape.layers)
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
    occupied: Bool[Tensor, "G G G"]

    @property
    def num_parameters(self) -> int:
        """How many numbers were learnt."""
        return sum(tensor.numel() for tensor in vars(self.weights).values())

    @torch.no_grad()
    def shade(self, rays: Rays) -> Shaded:
        """Look along rays, with the appearance that the photos have on average."""
        parts = [self._shade(rays[i : i + SHADED_RAYS]) for i in range(0, max(len(rays), 1), SHADED_RAYS)]
        fields = zip(*((part.colors, part.alphas, part.distances) for part in parts), strict=True)
        return Shaded(*(torch.cat(field) for field in fields))

    @torch.no_grad()
    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Per scene unit; 0 where the box ends."""
        box = positions.new_tensor([*self.place.center, self.place.half])
        places = grid_positions(positions, box, contracted=self.place.contracted)
        found = grid_densities(self.weights, self.shape, places.contiguous()) / self.place.half
        inside = ((places >= 0) & (places <= 1)).all(dim=1)
        return torch.where(inside, found, 0)

    def _shade(self, rays: Rays) -> Shaded:
        """Some samples of all rays at a time, front to back, so that nobody looks behind what is opaque."""
        placed = self.place.rays(rays)
        offsets = torch.full_like(placed.origins[:, 0], 0.5)
        samples = march_rays(placed, offsets, self.occupied, self.place)
        counts, appearance = samples.ray_offsets.diff(), self.weights.appearance.mean(dim=0)
        colors, through, depths = torch.zeros_like(rays.origins), torch.ones_like(offsets), torch.zeros_like(offsets)
        going, done, size = counts.nonzero()[:, 0], 0, FIRST_SAMPLES
        while len(going) > 0:
            part = samples.part(going, done, size)
            features = appearance.expand(len(going), -1)
            seen = view_samples(self.weights, self.shape, part, rays.directions[going], features)
            colors[going] += through[going, None] * seen.colors
            depths[going] += through[going] * seen.depths
            through[going] *= 1 - seen.alphas
            done, size = done + size, 2 * size
            going = going[(through[going] >= TRANSMITTANCE_MIN) & (counts[going] > done)]
        alphas = 1 - through
        distances = self.place.half * depths / alphas.clamp(min=1e-8)
        return Shaded(colors, alphas, torch.where(alphas > 0, distances, 0))
