"""The paper's field: a coarse network that finds out where something is, and a fine one that looks there.

Source: Mildenhall et al. 2020, section 5.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.encoding import positional_encoding
from neural3d.fields.field import Shaded
from neural3d.fields.mlp import Layers, ask, layers_of
from neural3d.fields.mlp_shape import MlpShape
from neural3d.fields.pieces import map_pieces
from neural3d.fields.rays import Rays
from neural3d.fields.sampling import inverse_cdf, middles, stratified
from neural3d.fields.space import FieldRays, Space
from neural3d.fields.volume import Composite, composite, interval_lengths

BLOCK_ROWS = 4096
"""Samples that go through a network together: what its layers say of them stays in the cache."""
SHADED_RAYS = 256


@dataclass(frozen=True)
class Networks:
    """Coarse and fine; the fine one is None where the coarse one does everything."""

    shape: MlpShape
    coarse: Float[Tensor, "P"]
    fine: Float[Tensor, "P"] | None

    def to(self, dtype: torch.dtype) -> "Networks":
        """Copies in a precision to compute with."""
        return Networks(self.shape, self.coarse.to(dtype), None if self.fine is None else self.fine.to(dtype))


@dataclass(frozen=True)
class Samples:
    """Where R rays ask a network, S times each, and the encodings of that."""

    t: Float[Tensor, "R S"]
    lengths: Float[Tensor, "R S"]
    places: Float[Tensor, "B K"]
    """Of R S samples, ray by ray."""
    directions: Float[Tensor, "B M"]


def samples_at(
    unit: Float[Tensor, "R S"], placed: FieldRays, space: Space, shape: MlpShape, dtype: torch.dtype
) -> Samples:
    """Encode places in [0, 1] between each ray's ends."""
    t = space.parameters(unit, placed)
    lengths = interval_lengths(t, placed.far if space.is_closed else None) * placed.length_per_t
    places = positional_encoding(placed.at(t).flatten(0, 1), shape.position_frequencies)
    directions = positional_encoding(placed.view_directions, shape.direction_frequencies)
    repeated = directions.to(dtype).repeat_interleave(unit.shape[1], dim=0)
    return Samples(t, lengths, places.to(dtype), repeated)


def answers(layers: Layers, shape: MlpShape, samples: Samples) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S 3"]]:
    """What the network says of all samples, before ReLU and sigmoid."""
    parts = [
        ask(layers, shape, places, directions)
        for places, directions in zip(
            samples.places.split(BLOCK_ROWS), samples.directions.split(BLOCK_ROWS), strict=True
        )
    ]
    size = samples.t.shape
    return torch.cat([part.density for part in parts]).view(size), torch.cat([part.color for part in parts]).view(
        *size, 3
    )


def rendered(density: Float[Tensor, "R S"], color: Float[Tensor, "R S 3"], lengths: Float[Tensor, "R S"]) -> Composite:
    """ReLU, sigmoid and equation 3; a ray that sees nothing can still be given something to see."""
    return composite(_Density.apply(density), color.sigmoid(), lengths)


class _Density(torch.autograd.Function):
    """The paper's ReLU; on rays without any density its slope towards more is 1.

    With a slope of 0 nothing brings back an object that is gone, and where most rays see nothing but background the
    network, being smooth, loses all of its density within a few dozen steps.
    """

    @staticmethod
    def forward(ctx: Any, said: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
        ctx.save_for_backward(said)
        return said.relu()

    @staticmethod
    def backward(ctx: Any, pull: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
        (said,) = ctx.saved_tensors
        some = said > 0
        return torch.where(some | (~some.any(dim=1, keepdim=True) & (pull < 0)), pull, 0)


def finer(
    unit: Float[Tensor, "R S"], weights: Float[Tensor, "R S"], uniform: Float[Tensor, "R F"]
) -> Float[Tensor, "R U"]:
    """The coarse places and F more, where the coarse network saw something; rising."""
    found = inverse_cdf(middles(unit), weights[:, 1:-1], uniform)
    return torch.cat([unit, found], dim=1).sort(dim=1).values


@dataclass(frozen=True)
class NerfModel:
    """A trained field, as `neural3d.fields.field.RadianceField` describes it."""

    networks: Networks
    space: Space
    coarse_samples: int
    fine_samples: int
    dtype: torch.dtype = torch.float32
    """The precision of products; results are float32."""

    @property
    def num_parameters(self) -> int:
        """Of both networks."""
        return self.networks.shape.num_parameters * (1 if self.networks.fine is None else 2)

    @torch.no_grad()
    def shade(self, rays: Rays) -> Shaded:
        """Look along rays; samples stand in the middles of their parts."""
        networks = self.networks.to(self.dtype)
        layers = [layers_of(v, networks.shape) for v in (networks.coarse, networks.fine) if v is not None]
        starts = range(0, len(rays), SHADED_RAYS)
        parts = map_pieces(lambda start: self._shade(layers, rays[start : start + SHADED_RAYS]), starts)
        fields = zip(*((part.colors, part.alphas, part.distances) for part in parts), strict=True)
        return Shaded(*(torch.cat(field) for field in fields))

    @torch.no_grad()
    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Of the fine network, per scene unit."""
        networks, shape = self.networks.to(self.dtype), self.networks.shape
        layers = layers_of(networks.coarse if networks.fine is None else networks.fine, shape)

        def piece(start: int) -> Tensor:
            some = positions[start : start + BLOCK_ROWS]
            places = positional_encoding(self.space.from_scene(some), shape.position_frequencies)
            nowhere = places.new_zeros(len(some), shape.direction_size)
            said = ask(layers, shape, places.to(self.dtype), nowhere.to(self.dtype))
            return said.density.relu() * self.space.scale_at(some)

        return torch.cat(map_pieces(piece, range(0, len(positions), BLOCK_ROWS)))

    def _shade(self, layers: list[Layers], rays: Rays) -> Shaded:
        placed, shape = self.space.place(rays), self.networks.shape
        unit = stratified(torch.full((len(rays), self.coarse_samples), 0.5))
        samples = samples_at(unit, placed, self.space, shape, self.dtype)
        seen = rendered(*answers(layers[0], shape, samples), samples.lengths)
        if self.networks.fine is not None:
            evenly = ((torch.arange(self.fine_samples) + 0.5) / self.fine_samples).expand(len(rays), -1)
            unit = finer(unit, seen.weights, evenly)
            samples = samples_at(unit, placed, self.space, shape, self.dtype)
            seen = rendered(*answers(layers[1], shape, samples), samples.lengths)
        mean_t = (seen.weights * samples.t).sum(dim=1) / seen.alphas.clamp(min=1e-8)
        distances = torch.where(seen.alphas > 0, self.space.distances(mean_t, rays), 0)
        return Shaded(seen.colors, seen.alphas, distances)
