"""A coupling flow: an invertible map to N(0, I), and with it the exact density of a latent."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural3d.priors.laws.law import Standardized
from neural3d.priors.networks.convolution import zeroed
from neural3d.priors.records import NOTHING_ASKED, Condition

_LARGEST_LOG_SCALE = 2.0
_JITTER = 0.02
"""Noise on the standardized latents while training, without which a law of few images becomes infinitely narrow."""


class Coupling(nn.Module):
    """Half of the numbers, scaled and shifted by what the other half says."""

    def __init__(self, channels: int, width: int, is_odd: bool) -> None:
        super().__init__()
        self.register_buffer("is_kept", torch.arange(channels) % 2 == int(is_odd))
        self.network = nn.Sequential(
            nn.Linear(channels, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            zeroed(nn.Linear(width, 2 * channels)),
        )

    def forward(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """The numbers, and the logarithm of the map's determinant."""
        log_scale, shift = self._told(x)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """What `forward` came from."""
        log_scale, shift = self._told(y)
        return (y - shift) * (-log_scale).exp()

    def _told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(x * self.is_kept).chunk(2, 1)
        bounded = _LARGEST_LOG_SCALE * torch.tanh(log_scale / _LARGEST_LOG_SCALE)
        return bounded * ~self.is_kept, shift * ~self.is_kept


class Flow(Standardized):
    """Affine couplings, the halves taking turns, with fixed rotations in between.

    Source: Dinh et al., Density estimation using Real NVP, 2017, equations 7 and 8.
    """

    is_trained = True

    def __init__(self, channels: int, width: int, depth: int) -> None:
        """For latents that are one vector of at least 2 numbers an image."""
        super().__init__(channels)
        self.couplings = nn.ModuleList([Coupling(channels, width, bool(i % 2)) for i in range(depth)])
        rotations = [torch.linalg.qr(torch.randn(channels, channels))[0] for _ in range(depth // 2)]
        self.register_buffer("rotations", torch.stack(rotations))

    def normalized(self, vectors: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B"]]:
        """Standardized vectors to N(0, I), with the logarithm of the determinant."""
        logs = torch.zeros(len(vectors), dtype=vectors.dtype)
        for i, coupling in enumerate(self.couplings):
            vectors, log = coupling(vectors @ self.rotations[i // 2] if i % 2 == 0 else vectors)
            logs = logs + log
        return vectors, logs

    def denormalized(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The inverse of `normalized`."""
        for i in reversed(range(len(self.couplings))):
            vectors = self.couplings[i].inverse(vectors)
            vectors = vectors @ self.rotations[i // 2].T if i % 2 == 0 else vectors
        return vectors

    def log_density(self, latents: Float[Tensor, "B D 1 1"]) -> Float[Tensor, "B"]:
        """Logarithm of the density, in the latents' units."""
        vectors, logs = self.normalized(self.standardized(latents)[:, :, 0, 0])
        square = vectors.square().sum(1) + vectors.shape[1] * math.log(2 * math.pi)
        return logs - 0.5 * square - self.std.log().sum()

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator) -> Tensor:
        """-log p a number."""
        noise = _JITTER * self.std[:, None, None] * torch.randn(latents.shape, generator=generator)
        return -self.log_density(latents + noise).mean() / latents.shape[1]

    def draw(
        self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D 1 1"]:
        """Vectors."""
        vectors = self.denormalized(torch.randn(shape[:2], generator=generator))
        return self.restored(vectors[:, :, None, None])

    def unlikeliness(self, latents: Tensor, generator: torch.Generator, condition: Condition = NOTHING_ASKED) -> Tensor:
        """-log p a number."""
        return -self.log_density(latents).mean() / latents.shape[1]
