"""What every codec is, and the one that does nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from neural3d.priors.records import Images

Latents = Any
"""Float (B, D, h, w) of a continuous codec, whole numbers (B, h, w) of a discrete one."""


class Codec(nn.Module):
    """Images to latents and back.

    A codec that learns by gradients has a `loss`; one that learns from a look at the data does so in `prepare`.
    """

    is_trained = False
    """Whether `loss` is to be minimised before a law is fitted to the latents."""
    num_tokens = 0
    """How many different tokens a discrete codec has; 0 of a continuous one."""
    takes_any_size = False
    """Whether it is for images of other sizes than it was trained on, too."""
    stride = 1
    """Pixels a latent cell is wide."""
    channels = 3
    """Of the latents."""

    def prepare(self, images: Images, generator: torch.Generator) -> None:
        """Look at some patches before anything is trained."""

    def encode(self, images: Images) -> Latents:
        """Latents of images."""
        raise NotImplementedError

    def decode(self, latents: Latents) -> Images:
        """Images of latents."""
        raise NotImplementedError

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """What training minimises."""
        raise NotImplementedError

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Of one square image: channels (of a continuous codec), height, width."""
        cells = (size // self.stride, size // self.stride)
        return cells if self.num_tokens else (self.channels, *cells)


class DiscreteCodec(Codec):
    """A codec whose latents are whole numbers below `num_tokens`."""

    def closeness(self, images: Images) -> Tensor:
        """How well each token would stand for each cell, (B, h, w, K) logits, differentiable in the images."""
        raise NotImplementedError


class Identity(Codec):
    """Latents are pixels."""

    takes_any_size = True

    def encode(self, images: Images) -> Latents:
        """The same."""
        return images

    def decode(self, latents: Latents) -> Images:
        """The same."""
        return latents
