"""The denoisers: a space-to-depth U-Net for images of any size, and a perceptron for single vectors."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from neural3d.priors.networks.convolution import ChannelNorm, ResidualBlock, zeroed


class TimeEmbedding(nn.Module):
    """Time in [0, 1], and a label or a vector that says what is asked for, as one embedding."""

    def __init__(self, width: int, num_labels: int = 0, vector_size: int = 0) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        # Its last row means "nothing asked".
        self.labels = nn.Embedding(num_labels + 1, width) if num_labels else None
        # Unit vectors' numbers are small; zeros mean "nothing asked".
        self.vectors = nn.Linear(vector_size, width) if vector_size else None
        self.vector_gain = math.sqrt(vector_size)

    def forward(self, time: Float[Tensor, "B"], asked: Tensor | None = None) -> Float[Tensor, "B E"]:
        """Source: Vaswani et al., Attention Is All You Need, 2017, section 3.5."""
        octaves = torch.linspace(0, math.log(1000), self.width // 2, device=time.device).exp()
        angles = time[:, None] * octaves
        embedding = torch.cat([angles.sin(), angles.cos()], 1)
        if self.labels is not None:
            nothing = torch.full_like(time, self.labels.num_embeddings - 1, dtype=torch.long)
            embedding = embedding + self.labels(nothing if asked is None else asked)
        if self.vectors is not None:
            nowhere = embedding.new_zeros(len(time), self.vectors.in_features)
            embedding = embedding + self.vectors(nowhere if asked is None else self.vector_gain * asked)
        return self.layers(embedding)


class UNetEncoder(nn.Module):
    """The descending half: features at each scale."""

    def __init__(self, in_channels: int, widths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1, padding_mode="replicate")
        self.stages = nn.ModuleList([_blocks(width, embedding) for width in widths])
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths)])

    def forward(
        self, x: Float[Tensor, "B C H W"], embedding: Float[Tensor, "B E"], added: Tensor | None = None
    ) -> list[Tensor]:
        """Of each scale, the finest first; `added` joins the features after the first convolution."""
        x = self.entry(x) if added is None else self.entry(x) + added
        features = []
        for i, stage in enumerate(self.stages):
            x = _passed(stage, self.downs[i - 1](x) if i else x, embedding)
            features.append(x)
        return features


class UNet(nn.Module):
    """A U-Net of three scales on pixels gathered 2 x 2 (`gather` 2) or as they are (`gather` 1).

    Source: the idea of Ronneberger et al. 2015, without attention, as Cherel et al., Diffusion-based image inpainting
        with internal learning, 2024, do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        num_labels: int = 0,
        gather: int = 2,
        vector_size: int = 0,
    ) -> None:
        super().__init__()
        self.gather, self.widths = gather, (width, 2 * width, 4 * width)
        self.embedding = TimeEmbedding(width, num_labels, vector_size)
        self.encoder = UNetEncoder(in_channels * gather * gather, self.widths, width)
        scales = list(pairwise(self.widths))
        self.ups = nn.ModuleList([nn.Conv2d(below, 4 * here, 1) for here, below in scales])
        self.joins = nn.ModuleList([nn.Conv2d(2 * here, here, 1) for here, _ in scales])
        self.stages = nn.ModuleList([_blocks(here, width) for here, _ in scales])
        self.norm = ChannelNorm(width)
        self.exit = zeroed(nn.Conv2d(width, out_channels * gather * gather, 3, padding=1, padding_mode="replicate"))

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        time: Float[Tensor, "B"],
        asked: Tensor | None = None,
        control: "Control | None" = None,
    ) -> Float[Tensor, "B D H W"]:
        """Any height and width: what is missing to whole cells is repeated from the border."""
        embedding = self.embedding(time, asked)
        height, width = x.shape[-2:]
        cells = self.gathered(x)
        features = self.encoder(cells, embedding)
        if control is not None:
            features = [mine + more for mine, more in zip(features, control(cells, embedding), strict=True)]
        x = features.pop()
        for i in reversed(range(len(self.stages))):
            x = self.joins[i](torch.cat([features[i], functional.pixel_shuffle(self.ups[i](x), 2)], 1))
            x = _passed(self.stages[i], x, embedding)
        answer = functional.pixel_shuffle(self.exit(functional.silu(self.norm(x))), self.gather)
        return answer[..., :height, :width]

    def gathered(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Cells of pixels, as many as halve twice, the channels of each side by side in memory."""
        unit = self.gather * 2 ** len(self.stages)
        padded = functional.pad(x, (0, -x.shape[-1] % unit, 0, -x.shape[-2] % unit), mode="replicate")
        cells = functional.pixel_unshuffle(padded, self.gather)
        return cells.contiguous(memory_format=torch.channels_last)


Control = Callable[[Tensor, Tensor], list[Tensor]]
"""From a U-Net's cells and embedding to what is added to its features at each scale."""


def _blocks(width: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(width, embedding), ResidualBlock(width, embedding)])


def _passed(stage: nn.ModuleList, x: Tensor, embedding: Tensor) -> Tensor:
    for block in stage:
        x = block(x, embedding)
    return x


class Perceptron(nn.Module):
    """A denoiser of vectors, which come as images of one pixel."""

    def __init__(
        self, in_channels: int, out_channels: int, width: int, num_labels: int = 0, vector_size: int = 0
    ) -> None:
        super().__init__()
        self.embedding = TimeEmbedding(width, num_labels, vector_size)
        self.entry = nn.Linear(in_channels, width)
        self.hidden = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.exit = zeroed(nn.Linear(width, out_channels))

    def forward(
        self, x: Float[Tensor, "B C 1 1"], time: Float[Tensor, "B"], asked: Tensor | None = None
    ) -> Float[Tensor, "B D 1 1"]:
        """One vector for each."""
        hidden = self.entry(x[:, :, 0, 0]) + self.embedding(time, asked)
        for layer in self.hidden:
            hidden = hidden + functional.silu(layer(hidden))
        return self.exit(hidden)[:, :, None, None]
