"""Residual blocks, and the convolutional encoder and decoder of autoencoders."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel; images of any size behave alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Zero mean and unit variance a pixel, then scaled."""
        last = x.movedim(1, -1)
        return functional.layer_norm(last, last.shape[-1:], self.weight, self.bias).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, which it starts as; an embedding scales and shifts in between."""

    def __init__(self, channels: int, embedding: int = 0) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.second = zeroed(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate"))
        self.modulation = zeroed(nn.Linear(embedding, 2 * channels)) if embedding else None

    def forward(
        self, x: Float[Tensor, "B C H W"], embedding: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The same shape."""
        hidden = self.norm(x)
        if self.modulation is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
            hidden = hidden * (1 + scale) + shift
        return x + self.second(functional.silu(self.first(functional.silu(hidden))))


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The same layer, which answers zero until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Encoder(nn.Module):
    """Images to cells of `stride` x `stride` pixels (a power of 2, at least 2)."""

    def __init__(self, channels: int, width: int, stride: int, out_channels: int) -> None:
        super().__init__()
        layers = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1, padding_mode="replicate")]
        for _ in range(stride.bit_length() - 2):
            layers += [ResidualBlock(width), nn.Conv2d(width, width, 2, stride=2)]
        self.layers = nn.Sequential(
            *layers, ResidualBlock(width), ChannelNorm(width), nn.Conv2d(width, out_channels, 1)
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """One vector a cell."""
        return self.layers(images)


class Decoder(nn.Module):
    """Cells back to images; the values are not bounded."""

    def __init__(self, channels: int, width: int, stride: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, padding_mode="replicate")]
        for _ in range(stride.bit_length() - 2):
            layers += [ResidualBlock(width), nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2)]
        last = nn.Conv2d(width, 4 * channels, 3, padding=1, padding_mode="replicate")
        self.layers = nn.Sequential(*layers, ResidualBlock(width), ResidualBlock(width), last, nn.PixelShuffle(2))

    def forward(self, cells: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        """Around [-1, 1] once trained."""
        return self.layers(cells)
