"""The paper's training step as one writes it with torch.nn: the yardstick of our own."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural3d.checkpoints import Checkpoint
from neural3d.fields.encoding import positional_encoding
from neural3d.fields.mlp import layers_of
from neural3d.fields.mlp_shape import MlpShape
from neural3d.fields.nerf import NerfModel, finer, rendered
from neural3d.fields.possible import PossibleCells
from neural3d.fields.sampling import stratified
from neural3d.fields.space import FieldRays, Space
from neural3d.fields.volume import interval_lengths
from neural3d.train.loop import StepOutcome
from neural3d.train.mlp import EPSILON, MlpLearner
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.observer import TrainingObserver
from neural3d.train.ray_batches import RayBatch


class TwinNetwork(nn.Module):
    """Figure 7."""

    def __init__(self, shape: MlpShape) -> None:
        super().__init__()
        self.skip = shape.skip
        sizes = [size for name, size in shape.layers().items() if name.startswith("trunk")]
        self.trunk = nn.ModuleList([nn.Linear(inputs, outputs) for outputs, inputs in sizes])
        self.density, self.feature = nn.Linear(shape.width, 1), nn.Linear(shape.width, shape.width)
        self.view = nn.Linear(shape.width + shape.direction_size, shape.width // 2)
        self.color = nn.Linear(shape.width // 2, 3)

    def forward(self, places: Float[Tensor, "B K"], directions: Float[Tensor, "B M"]) -> Float[Tensor, "B 4"]:
        """Density and colour before their last functions."""
        hidden = places
        for i, layer in enumerate(self.trunk):
            hidden = layer(torch.cat([hidden, places], dim=1) if i == self.skip else hidden).relu()
        view = self.view(torch.cat([self.feature(hidden), directions], dim=1)).relu()
        return torch.cat([self.density(hidden), self.color(view)], dim=1)


class Twin:
    """Two networks and torch's Adam."""

    def __init__(self, config: MlpConfig, space: Space, possible: PossibleCells | None = None) -> None:
        self.config, self.space, self.possible = config, space, possible
        self.networks = nn.ModuleList([TwinNetwork(config.shape), TwinNetwork(config.shape)])
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=config.rate_start, eps=EPSILON)

    @torch.no_grad()
    def take(self, i: int, network: Float[Tensor, "P"]) -> None:
        """Let a network be ours."""
        for theirs, ours in self._pairs(i, network):
            theirs.copy_(ours)

    @torch.no_grad()
    def give(self, i: int, network: Float[Tensor, "P"]) -> None:
        """Let ours be a network."""
        for theirs, ours in self._pairs(i, network):
            ours.copy_(theirs)

    def _pairs(self, i: int, network: Float[Tensor, "P"]) -> Iterator[tuple[Tensor, Tensor]]:
        modules = dict(self.networks[i].named_modules())
        for name, (weights, bias) in layers_of(network, self.config.shape).items():
            yield modules[name].weight, weights
            yield modules[name].bias, bias

    def step(self, batch: RayBatch, coarse: Float[Tensor, "R S"], fine: Float[Tensor, "R F"]) -> float:
        """Render twice, pull back through everything, update; returns the loss."""
        placed, unit, loss = self.space.place(batch.rays), stratified(coarse), torch.zeros(())
        for i, network in enumerate(self.networks):
            if i == 1:
                unit = finer(unit, seen.weights.detach(), fine)
            seen = self._rendered(network, unit, placed)
            colors = seen.colors + (1 - seen.alphas)[:, None] * batch.backgrounds
            loss = loss + (colors - batch.colors).square().sum() / (3 * self.config.rays)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _rendered(self, network: nn.Module, unit: Float[Tensor, "R S"], placed: FieldRays):
        shape, t = self.config.shape, self.space.parameters(unit, placed)
        lengths = interval_lengths(t, placed.far if self.space.is_closed else None) * placed.length_per_t
        places = placed.at(t).flatten(0, 1)
        asked = torch.arange(len(places)) if self.possible is None else self.possible.hold(places).nonzero()[:, 0]
        directions = positional_encoding(placed.view_directions, shape.direction_frequencies)[asked // unit.shape[1]]
        answers = network(positional_encoding(places[asked], shape.position_frequencies), directions)
        said = torch.zeros(len(places), 4).index_copy(0, asked, answers).view(*unit.shape, 4)
        return rendered(said[..., 0], said[..., 1:], lengths)


class MlpTwin(MlpLearner):
    """The same rays, random numbers, first weights and schedules; float32, and everything else by torch."""

    def begin(self, observers: Sequence[TrainingObserver] = ()) -> None:
        """Begin where ours does."""
        super().begin(observers)
        self._take_networks()

    def load(self, checkpoint: Checkpoint) -> None:
        """Begin with a checkpoint's networks; torch's Adam remembers nothing of how they were learnt."""
        super().load(checkpoint)
        self._take_networks()

    def _take_networks(self) -> None:
        self.twin = Twin(self.config, self.space, self.possible)
        for i, network in enumerate(self.networks.values()):
            self.twin.take(i, network)

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """As ours, with autograd."""
        config = self.config
        batch, drawn, missed = self.work(step, fraction)
        for group in self.twin.optimizer.param_groups:
            group["lr"] = config.rate_start * (config.rate_end / config.rate_start) ** fraction
        loss = self.twin.step(batch, drawn.coarse, drawn.fine) + len(self.names) * missed / (3 * config.rays)
        return StepOutcome(loss, loss / len(self.names), torch.zeros((), dtype=torch.int64), len(self.names))

    def snapshot(self) -> NerfModel:
        """A copy, rendered as ours is."""
        for i, network in enumerate(self.networks.values()):
            self.twin.give(i, network)
        return super().snapshot()
