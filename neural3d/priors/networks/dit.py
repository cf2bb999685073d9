"""A transformer as denoiser: every latent cell attends to every other."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from neural3d.priors.networks.convolution import zeroed
from neural3d.priors.networks.unet import TimeEmbedding


class ModulatedBlock(nn.Module):
    """Attention and a perceptron, scaled, shifted and gated by the embedding; it starts as the identity."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = zeroed(nn.Linear(width, 6 * width))

    def forward(self, x: Float[Tensor, "B L W"], embedding: Float[Tensor, "B W"]) -> Float[Tensor, "B L W"]:
        """The same shape."""
        shift, scale, gate, next_shift, next_scale, next_gate = self.modulation(embedding)[:, None].chunk(6, -1)
        x = x + gate * self._attended(_normalized(x) * (1 + scale) + shift)
        return x + next_gate * self.perceptron(_normalized(x) * (1 + next_scale) + next_shift)

    def _attended(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        batch, length, width = x.shape
        split = self.attention(x).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*split)
        return self.merge(seen.transpose(1, 2).reshape(batch, length, width))


class DiffusionTransformer(nn.Module):
    """One token a cell of a square grid of `side` cells.

    Source: Peebles and Xie, Scalable Diffusion Models with Transformers, 2023, section 3.2 (adaLN-Zero).
    Limits: for the grid that it was made for, and small ones: attention costs the square of the number of cells.
    """

    def __init__(
        self, in_channels: int, out_channels: int, side: int, width: int, depth: int, num_labels: int = 0
    ) -> None:
        super().__init__()
        self.side = side
        self.embedding = TimeEmbedding(width, num_labels)
        self.entry = nn.Linear(in_channels, width)
        self.places = nn.Parameter(0.02 * torch.randn(side * side, width))
        self.blocks = nn.ModuleList([ModulatedBlock(width, width // 32) for _ in range(depth)])
        self.exit = zeroed(nn.Linear(width, out_channels))

    def forward(
        self, x: Float[Tensor, "B C S S"], time: Float[Tensor, "B"], labels: Tensor | None = None
    ) -> Float[Tensor, "B D S S"]:
        """An answer for each cell."""
        embedding = self.embedding(time, labels)
        tokens = self.entry(x.flatten(2).mT) + self.places
        for block in self.blocks:
            tokens = block(tokens, embedding)
        return self.exit(_normalized(tokens)).mT.unflatten(2, (self.side, self.side))


def _normalized(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:])
