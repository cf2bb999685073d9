"""The denoisers: a space-to-depth U-Net for images of any size, and a perceptron for single vectors."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from neural3d.priors.networks.convolution import ChannelNorm, ResidualBlock, zeroed


class TimeEmbedding(nn.Module):
    """Time in [0, 1], and a vector that says what is asked for, as one embedding."""

    def __init__(self, width: int, num_labels: int = 0) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # Its last row means "nothing asked".
        self.labels = nn.Embedding(num_labels + 1, width) if num_labels else None

    def forward(self, time: Float[Tensor, "B"], labels: Tensor | None = None) -> Float[Tensor, "B E"]:
        """Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5."""
        octaves = torch.linspace(0, math.log(1000), self.width // 2, device=time.device).exp()
        angles = time[:, None] * octaves
        embedding = torch.cat([angles.sin(), angles.cos()], 1)
        if self.labels is not None:
            nothing = torch.full_like(time, self.labels.num_embeddings - 1, dtype=torch.long)
            embedding = embedding + self.labels(nothing if labels is None else labels)
        return self.layers(embedding)


class UNet(nn.Module):
    """A U-Net of two scales on pixels gathered 2 x 2 (`gather` 2) or as they are (`gather` 1).

    Source: the idea of Ronneberger et al. 2015, without attention, as Cherel et al., Diffusion-based image inpainting
        with internal learning, 2024, do.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, num_labels: int = 0, gather: int = 2) -> None:
        super().__init__()
        self.gather = gather
        self.embedding = TimeEmbedding(width, num_labels)
        area = gather * gather
        self.entry = nn.Conv2d(in_channels * area, width, 3, padding=1, padding_mode="replicate")
        self.fine = nn.ModuleList([ResidualBlock(width, width), ResidualBlock(width, width)])
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.ModuleList([ResidualBlock(2 * width, width) for _ in range(3)])
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.finish = nn.ModuleList([ResidualBlock(width, width), ResidualBlock(width, width)])
        self.norm = ChannelNorm(width)
        self.exit = zeroed(nn.Conv2d(width, out_channels * area, 3, padding=1, padding_mode="replicate"))

    def forward(
        self, x: Float[Tensor, "B C H W"], time: Float[Tensor, "B"], labels: Tensor | None = None
    ) -> Float[Tensor, "B D H W"]:
        """Any height and width: what is missing to whole cells is repeated from the border."""
        embedding = self.embedding(time, labels)
        height, width = x.shape[-2:]
        unit = 2 * self.gather
        padded = functional.pad(x, (0, -width % unit, 0, -height % unit), mode="replicate")
        fine = self.entry(functional.pixel_unshuffle(padded, self.gather))
        for block in self.fine:
            fine = block(fine, embedding)
        coarse = self.down(fine)
        for block in self.coarse:
            coarse = block(coarse, embedding)
        joined = self.join(torch.cat([fine, functional.pixel_shuffle(self.up(coarse), 2)], 1))
        for block in self.finish:
            joined = block(joined, embedding)
        answer = functional.pixel_shuffle(self.exit(functional.silu(self.norm(joined))), self.gather)
        return answer[..., :height, :width]


class Perceptron(nn.Module):
    """A denoiser of vectors, which come as images of one pixel."""

    def __init__(self, in_channels: int, out_channels: int, width: int, num_labels: int = 0) -> None:
        super().__init__()
        self.embedding = TimeEmbedding(width, num_labels)
        self.entry = nn.Linear(in_channels, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.exit = zeroed(nn.Linear(width, out_channels))

    def forward(
        self, x: Float[Tensor, "B C 1 1"], time: Float[Tensor, "B"], labels: Tensor | None = None
    ) -> Float[Tensor, "B D 1 1"]:
        """One vector for each."""
        hidden = self.entry(x[:, :, 0, 0]) + self.embedding(time, labels)
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        return self.exit(hidden)[:, :, None, None]
