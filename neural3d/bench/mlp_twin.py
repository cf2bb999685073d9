"""The paper's training step as one writes it with torch.nn: the yardstick of our own."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural3d.fields.encoding import positional_encoding
from neural3d.fields.mlp_shape import MlpShape
from neural3d.fields.nerf import finer, rendered
from neural3d.fields.sampling import stratified
from neural3d.fields.space import FieldRays, Space
from neural3d.fields.volume import interval_lengths
from neural3d.train.mlp import EPSILON
from neural3d.train.mlp_config import MlpConfig
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

    def __init__(self, config: MlpConfig, space: Space) -> None:
        self.config, self.space = config, space
        self.networks = nn.ModuleList([TwinNetwork(config.shape), TwinNetwork(config.shape)])
        self.optimizer = torch.optim.Adam(self.networks.parameters(), lr=config.rate_start, eps=EPSILON)

    def step(self, batch: RayBatch, coarse: Float[Tensor, "R S"], fine: Float[Tensor, "R F"]) -> float:
        """Render twice, pull back through everything, update; returns the loss."""
        placed, unit, loss = self.space.place(batch.rays), stratified(coarse), torch.zeros(())
        for i, network in enumerate(self.networks):
            if i == 1:
                unit = finer(unit, seen.weights.detach(), fine)
            seen = self._rendered(network, unit, placed)
            colors = seen.colors + (1 - seen.alphas)[:, None] * batch.backgrounds
            loss = loss + (colors - batch.colors).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _rendered(self, network: nn.Module, unit: Float[Tensor, "R S"], placed: FieldRays):
        shape, t = self.config.shape, self.space.parameters(unit, placed)
        lengths = interval_lengths(t, placed.far if self.space.is_closed else None) * placed.length_per_t
        places = positional_encoding(placed.at(t).flatten(0, 1), shape.position_frequencies)
        directions = positional_encoding(placed.view_directions, shape.direction_frequencies)
        said = network(places, directions.repeat_interleave(unit.shape[1], dim=0)).view(*unit.shape, 4)
        return rendered(said[..., 0], said[..., 1:], lengths)
