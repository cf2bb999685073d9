"""What every law is."""

from typing import Any

import torch
from torch import Tensor, nn

from neural3d.priors.records import NOTHING_ASKED, Condition


class Law(nn.Module):
    """A probability law of latents, in the latents' own units."""

    is_trained = False
    """Whether `loss` is to be minimised."""
    fills = False
    """Whether `fill` draws what is unknown given what is known."""
    takes_any_size = False
    """Whether `fill` is for latents of other sizes than it was trained on, too."""
    is_averaged = False
    """Whether the weights' average is kept."""
    num_asked = 0
    """How many numbers at a latent's end are what was asked for, which no search may change."""

    def prepare(self, latents: Any) -> None:
        """Look at some latents before anything is trained."""

    def loss(self, latents: Any, condition: Condition, generator: torch.Generator) -> Tensor:
        """What training minimises."""
        raise NotImplementedError

    def draw(self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator) -> Any:
        """Latents of this shape, the batch first."""
        raise NotImplementedError

    def fill(self, latents: Any, unknown: Tensor, condition: Condition, generator: torch.Generator) -> Any:
        """Latents that keep what is known; `unknown` is (B, h, w)."""
        raise NotImplementedError

    def unlikeliness(self, latents: Any, generator: torch.Generator, condition: Condition = NOTHING_ASKED) -> Tensor:
        """A scalar that falls as continuous latents become likelier; differentiable in them."""
        raise NotImplementedError


class Standardized(Law):
    """A law of latents that are first brought to zero mean and unit variance a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def prepare(self, latents: Tensor) -> None:
        """Measure them."""
        self.mean.copy_(latents.mean((0, 2, 3)))
        self.std.copy_(latents.std((0, 2, 3)).clamp_min(1e-6))

    def standardized(self, latents: Tensor) -> Tensor:
        """Zero mean, unit variance."""
        return (latents - self.mean[:, None, None]) / self.std[:, None, None]

    def restored(self, latents: Tensor) -> Tensor:
        """The other way."""
        return latents * self.std[:, None, None] + self.mean[:, None, None]
