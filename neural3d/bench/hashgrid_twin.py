"""The hash grid's training step as one writes it with torch's own operations: the yardstick of our own."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.hashgrid import SH_DEGREE, HashGridShape, HashGridWeights
from neural3d.ops.records import RaySamples
from neural3d.reference.hash_encode import hash_encode
from neural3d.reference.radiance_mlp import radiance_mlp
from neural3d.reference.sh import sh_basis
from neural3d.train.ray_batches import RayBatch
from neural3d.train.search import BETA2, EPSILON


class HashGridTwin:
    """The same table and layers, autograd through everything, and torch's Adam; samples are given."""

    def __init__(self, shape: HashGridShape, weights: HashGridWeights, rate: float) -> None:
        self.shape = shape
        self.table, self.layers = (w.detach().clone().requires_grad_() for w in (weights.table, weights.layers))
        self.optimizer = torch.optim.Adam([self.table, self.layers], lr=rate, betas=(0.9, BETA2), eps=EPSILON)

    def step(self, batch: RayBatch, samples: RaySamples) -> float:
        """Render, pull back, update; returns the loss."""
        features = hash_encode(samples.positions, self.table, self.shape.levels)
        ray_features = sh_basis(batch.rays.directions, SH_DEGREE)
        densities, colors = radiance_mlp(features, self.layers, ray_features, samples.ray_offsets, self.shape.layers)
        seen, alphas = composited(densities, colors, samples)
        shown = seen + (1 - alphas)[:, None] * batch.backgrounds
        loss = (shown - batch.colors).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def composited(
    densities: Float[Tensor, "S"], colors: Float[Tensor, "S 3"], samples: RaySamples
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R"]]:
    """Equation 3 of Mildenhall et al. 2020 over packed samples, by running sums."""
    counts = samples.ray_offsets.diff().long()
    ray = torch.arange(len(counts)).repeat_interleave(counts)
    absorbed = (densities * samples.deltas).double()
    before = absorbed.cumsum(0) - absorbed
    first = samples.ray_offsets[:-1].long().clamp(max=max(len(before) - 1, 0))
    weights = (torch.exp(before[first][ray] - before) * (1 - torch.exp(-absorbed))).float()
    seen = torch.zeros(len(counts), 3).index_add(0, ray, weights[:, None] * colors)
    return seen, torch.zeros(len(counts)).index_add(0, ray, weights)
