"""The paper's field: a coarse network that finds out where something is, and a fine one that looks there.

Source: Mildenhall et al. 2020, section 5.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from neural3d.fields.encoding import positional_encoding
from neural3d.fields.field import Shaded
from neural3d.fields.mlp import Layers, ask, layers_of
from neural3d.fields.mlp_shape import MlpShape
from neural3d.fields.pieces import map_pieces
from neural3d.fields.possible import PossibleCells
from neural3d.fields.rays import Rays
from neural3d.fields.sampling import inverse_cdf, middles, stratified
from neural3d.fields.space import FieldRays, Space
from neural3d.fields.volume import Composite, composite, interval_lengths

BLOCK_ROWS = 4096
"""Samples that go through a network together: what its layers say of them stays in the cache."""
ROWS_AT_ONCE = 512
"""Samples are asked in multiples of these: torch prepares matrix products anew for every number of rows."""
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
    """Where R rays look at a field, S times each, and the encodings of those B places that a network is asked about."""

    t: Float[Tensor, "R S"]
    lengths: Float[Tensor, "R S"]
    asked: Int64[Tensor, "B"]
    """Which of the R S samples, ray by ray; in the others there is nothing."""
    places: Float[Tensor, "B K"]
    directions: Float[Tensor, "B M"]


def samples_at(
    unit: Float[Tensor, "R S"],
    placed: FieldRays,
    space: Space,
    shape: MlpShape,
    dtype: torch.dtype,
    possible: PossibleCells | None = None,
) -> Samples:
    """Encode places in [0, 1] between each ray's ends, where something can be."""
    t = space.parameters(unit, placed)
    lengths = interval_lengths(t, placed.far if space.is_closed else None) * placed.length_per_t
    places, asked = placed.at(t).flatten(0, 1), torch.arange(t.numel())
    if possible is not None:
        asked = possible.hold(places).nonzero()[:, 0]
    encoded = positional_encoding(places[asked], shape.position_frequencies)
    directions = positional_encoding(placed.view_directions, shape.direction_frequencies)
    return Samples(t, lengths, asked, encoded.to(dtype), directions.to(dtype)[asked // unit.shape[1]])


def answers(layers: Layers, shape: MlpShape, samples: Samples) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S 3"]]:
    """What the network says of samples, before ReLU and sigmoid; 0 where it was not asked: no density."""
    count, missing = len(samples.asked), -len(samples.asked) % ROWS_AT_ONCE
    given = (pad(rows, (0, 0, 0, missing)).split(BLOCK_ROWS) for rows in (samples.places, samples.directions))
    parts = [ask(layers, shape, *rows) for rows in zip(*given, strict=True)]
    density, color = torch.zeros(samples.t.numel()), torch.zeros(samples.t.numel(), 3)
    density[samples.asked] = torch.cat([part.density for part in parts])[:count]
    color[samples.asked] = torch.cat([part.color for part in parts])[:count]
    return density.view(samples.t.shape), color.view(*samples.t.shape, 3)


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
    possible: PossibleCells | None = None
    """Where the networks are asked; None for everywhere."""

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
            inside = self.space.from_scene(some)
            places = positional_encoding(inside, shape.position_frequencies)
            nowhere = places.new_zeros(len(some), shape.direction_size)
            density = ask(layers, shape, places.to(self.dtype), nowhere.to(self.dtype)).density.relu()
            if self.possible is not None:
                density = torch.where(self.possible.hold(inside), density, 0)
            return density * self.space.scale_at(some)

        return torch.cat(map_pieces(piece, range(0, len(positions), BLOCK_ROWS)))

    def _shade(self, layers: list[Layers], rays: Rays) -> Shaded:
        placed = self.space.place(rays)
        if self.possible is None:
            return self._look(layers, rays, placed)
        meeting = self.possible.meet(placed).nonzero()[:, 0]
        seen = self._look(layers, rays[meeting], placed[meeting])
        colors, (alphas, distances) = torch.zeros(len(rays), 3), torch.zeros(2, len(rays))
        colors[meeting], alphas[meeting], distances[meeting] = seen.colors, seen.alphas, seen.distances
        return Shaded(colors, alphas, distances)

    def _look(self, layers: list[Layers], rays: Rays, placed: FieldRays) -> Shaded:
        given = (placed, self.space, self.networks.shape, self.dtype, self.possible)
        unit = stratified(torch.full((len(rays), self.coarse_samples), 0.5))
        samples = samples_at(unit, *given)
        seen = rendered(*answers(layers[0], self.networks.shape, samples), samples.lengths)
        if self.networks.fine is not None:
            evenly = ((torch.arange(self.fine_samples) + 0.5) / self.fine_samples).expand(len(rays), -1)
            unit = finer(unit, seen.weights, evenly)
            samples = samples_at(unit, *given)
            seen = rendered(*answers(layers[1], self.networks.shape, samples), samples.lengths)
        mean_t = (seen.weights * samples.t).sum(dim=1) / seen.alphas.clamp(min=1e-8)
        distances = torch.where(seen.alphas > 0, self.space.distances(mean_t, rays), 0)
        return Shaded(seen.colors, seen.alphas, distances)
