"""Gaussian laws: the standard one, and one that is fitted."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.laws.law import Law
from neural3d.priors.records import NOTHING_ASKED, Condition

_LEAST_VARIANCE = 1e-5
"""Of the largest one: latents that never vary must not make the law infinitely narrow."""


class StandardNormal(Law):
    """N(0, I), which variational and adversarial codecs are made for.

    With labels, the last numbers of a latent are 1 for its label and 0 for the others.
    """

    def __init__(self, num_labels: int = 0) -> None:
        super().__init__()
        self.num_labels = self.num_asked = num_labels

    def draw(
        self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D h w"]:
        """Independent numbers; labels at random where none are asked for."""
        latents = torch.randn(shape, generator=generator)
        if not self.num_labels:
            return latents
        labels = condition.labels
        if labels is None:
            labels = torch.randint(self.num_labels, shape[:1], generator=generator)
        chosen = functional.one_hot(labels, self.num_labels)[:, :, None, None].expand(-1, -1, *shape[2:])
        return torch.cat([latents[:, : -self.num_labels], chosen], 1)

    def unlikeliness(self, latents: Tensor, generator: torch.Generator, condition: Condition = NOTHING_ASKED) -> Tensor:
        """-log p a latent, up to a constant."""
        return 0.5 * latents.square().mean()


class FittedNormal(Law):
    """The Gaussian with the mean and the covariance of the latents, which are one vector an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("root", torch.eye(channels))

    def prepare(self, latents: Float[Tensor, "B D 1 1"]) -> None:
        """Fit it."""
        vectors = latents[:, :, 0, 0].double()
        values, directions = torch.linalg.eigh(torch.cov(vectors.T).reshape(2 * [vectors.shape[1]]))
        values = values.clamp_min(_LEAST_VARIANCE * float(values[-1].clamp_min(1e-12)))
        self.mean.copy_(vectors.mean(0))
        self.root.copy_(directions * values.sqrt())

    def draw(
        self, shape: tuple[int, ...], condition: Condition, generator: torch.Generator
    ) -> Float[Tensor, "B D 1 1"]:
        """Vectors."""
        return (self.mean + torch.randn(shape[:2], generator=generator) @ self.root.T)[:, :, None, None]

    def unlikeliness(self, latents: Tensor, generator: torch.Generator, condition: Condition = NOTHING_ASKED) -> Tensor:
        """-log p a latent, up to a constant: half the mean squared Mahalanobis distance."""
        whitened = torch.linalg.solve(self.root, (latents[:, :, 0, 0] - self.mean).T)
        return 0.5 * whitened.square().mean()
