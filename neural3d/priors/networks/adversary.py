"""The two players of adversarial training: a generator of whole images, and critics of images and of patches."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_LEAST_SIDE = 4
_SLOPE = 0.2


class GeneratorNetwork(nn.Module):
    """A vector to a square image in [-1, 1], doubling from 4 x 4.

    Source: the layout of Radford et al., DCGAN, 2016, with convolutions after each doubling.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.entry = nn.Linear(channels, 2 * width * _LEAST_SIDE**2)
        doublings = size.bit_length() - _LEAST_SIDE.bit_length()
        self.steps = nn.ModuleList(
            [nn.Conv2d(2 * width if i == 0 else width, width, 3, padding=1) for i in range(doublings)]
        )
        self.exit = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B 3 H W"]:
        """Images."""
        x = self.entry(_unit_scale(vectors)).view(len(vectors), -1, _LEAST_SIDE, _LEAST_SIDE)
        for step in self.steps:
            x = functional.interpolate(functional.leaky_relu(x, _SLOPE), scale_factor=2.0, mode="nearest")
            x = _unit_scale(step(x))
        return torch.tanh(self.exit(functional.leaky_relu(x, _SLOPE)))


class Critic(nn.Module):
    """An image to one number, higher for what looks real; for what looks real of its label, where there are labels.

    Source: labels by projection, Miyato and Koyama, cGANs with Projection Discriminator, 2018; the spread over the
        batch as a feature, Karras et al., Progressive Growing of GANs, 2018, section 3.
    """

    def __init__(self, size: int, width: int, num_labels: int = 0) -> None:
        super().__init__()
        halvings = size.bit_length() - _LEAST_SIDE.bit_length() - 1
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, width, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        for _ in range(halvings):
            layers += [nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.features = nn.Linear((width + 1) * _LEAST_SIDE**2, width)
        self.exit = nn.Linear(width, 1)
        self.labels = nn.Embedding(num_labels, width) if num_labels else None

    def forward(self, images: Float[Tensor, "B 3 H W"], labels: Tensor | None = None) -> Float[Tensor, "B"]:
        """Unbounded."""
        cells = self.layers(images)
        spread = cells.std(0, correction=0).mean().expand(len(cells), 1, *cells.shape[2:])
        features = functional.leaky_relu(self.features(torch.cat([cells, spread], 1).flatten(1)), _SLOPE)
        answer = self.exit(features)[:, 0]
        return answer if self.labels is None else answer + (self.labels(labels) * features).sum(1)


class PatchCritic(nn.Module):
    """An image to a number for each of its patches of 22 x 22 pixels.

    Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017, section 3.2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 1, 4, padding=1),
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 h w"]:
        """Unbounded."""
        return self.layers(images)


def _unit_scale(x: Tensor) -> Tensor:
    """Root mean square 1 over the channels (Karras et al. 2018, section 4.2)."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
