"""Autoencoders: a linear one, a convolutional one, and the variational one."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural3d.priors.codecs.codec import Codec
from neural3d.priors.networks.convolution import Decoder, Encoder
from neural3d.priors.records import Images

_LEAST_SIDE = 4
"""Cells across an image before an autoencoder of whole images gathers them into one vector."""


class LinearAutoencoder(Codec):
    """One matrix to a vector and one back: trained to the end, its latents span the principal components' space.

    Source: Baldi and Hornik, Neural networks and principal component analysis, 1989.
    """

    is_trained = True

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.size, self.stride, self.channels = size, size, channels
        self.encoder = nn.Linear(3 * size * size, channels)
        self.decoder = nn.Linear(channels, 3 * size * size)

    def encode(self, images: Images) -> Float[Tensor, "B D 1 1"]:
        """A vector an image."""
        return self.encoder(images.flatten(1))[:, :, None, None]

    def decode(self, latents: Float[Tensor, "B D 1 1"]) -> Images:
        """An image a vector."""
        return self.decoder(latents[:, :, 0, 0]).view(-1, 3, self.size, self.size)

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """Mean squared error."""
        return (self.decode(self.encode(images)) - images).square().mean()


class Autoencoder(Codec):
    """Convolutions to cells of `stride` pixels, and where `is_vector`, on to one vector for the whole image.

    Source: Hinton and Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, 2006.
    Limits: what lies between the latents of photos need not decode to anything; see `VariationalAutoencoder`.
    """

    is_trained = True
    codes = 1
    """Numbers that the encoder gives for each latent."""

    def __init__(self, size: int, stride: int, channels: int, width: int, *, is_vector: bool) -> None:
        super().__init__()
        stride = size // _LEAST_SIDE if is_vector else stride
        inner = width if is_vector else channels
        coded = width if is_vector else self.codes * channels
        self.encoder, self.decoder = Encoder(3, width, stride, coded), Decoder(3, width, stride, inner)
        self.is_vector, self.stride, self.channels = is_vector, size if is_vector else stride, channels
        cells = width * _LEAST_SIDE**2
        self.gather = nn.Linear(cells, self.codes * channels) if is_vector else None
        self.spread = nn.Linear(channels, cells) if is_vector else None

    def encode(self, images: Images) -> Float[Tensor, "B D h w"]:
        """Latents."""
        return self.coded(images)[:, : self.channels]

    def coded(self, images: Images) -> Float[Tensor, "B D h w"]:
        """All that the encoder says."""
        cells = self.encoder(images)
        return cells if self.gather is None else self.gather(cells.flatten(1))[:, :, None, None]

    def decode(self, latents: Float[Tensor, "B D h w"]) -> Images:
        """Images."""
        if self.spread is not None:
            cells = self.spread(latents[:, :, 0, 0])
            latents = cells.view(len(cells), -1, _LEAST_SIDE, _LEAST_SIDE)
        return self.decoder(latents)

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """Mean squared error."""
        return (self.decode(self.encode(images)) - images).square().mean()


class VariationalAutoencoder(Autoencoder):
    """An autoencoder whose latents are near N(0, I), so that draws from it decode to images.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2014, equations 3 and 10.
    Limits: a Gaussian in pixels averages what it is unsure of: samples are blurred.
    """

    codes = 2

    def __init__(self, size: int, stride: int, channels: int, width: int, *, is_vector: bool, pixel_std: float) -> None:
        """With the standard deviation of a pixel around what is decoded, in units of [-1, 1]: less is sharper."""
        super().__init__(size, stride, channels, width, is_vector=is_vector)
        self.pixel_std = pixel_std

    def posterior(self, images: Images) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B D h w"]]:
        """Mean and logarithm of the variance of the latents given an image."""
        mean, log_variance = self.coded(images).chunk(2, 1)
        return mean, log_variance.clamp(-12, 8)

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """Minus the evidence's lower bound, a pixel and channel, up to a constant."""
        mean, log_variance = self.posterior(images)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = self.decode(mean + (0.5 * log_variance).exp() * noise)
        error = (decoded - images).square().mean() / (2 * self.pixel_std**2)
        return error + divergence(mean, log_variance).sum() / images.numel()


def divergence(mean: Float[Tensor, "*S"], log_variance: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """KL(N(mean, variance) || N(0, 1)) of each latent, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
