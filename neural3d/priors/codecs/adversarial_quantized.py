"""VQGAN's codec: vector quantisation whose decoder must also pass a critic of patches."""

import torch
from torch import Tensor
from torch.nn import functional

from neural3d.priors.codecs.quantized import VectorQuantized
from neural3d.priors.networks.adversary import PatchCritic
from neural3d.priors.records import Images

_WEIGHT = 0.5
"""Of the critic's gradient on the decoded pixels, relative to the squared error's."""
_STARTS_AT = 100
"""Steps before the critic is asked: an untrained decoder teaches it nothing."""
_STEP_SIZE = 1e-3


class AdversarialQuantized(VectorQuantized):
    """Sharper than squared error alone: patches must look real, not only be near.

    Source: Esser et al., Taming Transformers for High-Resolution Image Synthesis, 2021, equations 5 to 7.
    Limits: no perceptual loss, which would need downloaded weights.
    """

    def __init__(self, stride: int, num_words: int, word_size: int, width: int) -> None:
        super().__init__(stride, num_words, word_size, width)
        # Trained inside `loss` by an optimiser of its own, so it must not look trainable to the loop outside.
        self.critic = PatchCritic(width).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.critic.parameters(), lr=_STEP_SIZE, betas=(0.0, 0.99))
        self._num_losses = 0

    def loss(self, images: Images, generator: torch.Generator) -> Tensor:
        """Squared error, commitment, and what the critic says of the decoded patches."""
        decoded, loss = self.reconstructed(images, generator)
        self._num_losses += 1
        if self._num_losses <= _STARTS_AT:
            return loss
        self._teach(images, decoded.detach())
        doubt = functional.softplus(-self.critic(decoded)).mean()
        return loss + _WEIGHT * self._balance(images, decoded, doubt) * doubt

    def _balance(self, images: Images, decoded: Images, doubt: Tensor) -> Tensor:
        """How much stronger the squared error pulls at the pixels."""
        (pull,) = torch.autograd.grad(doubt, decoded, retain_graph=True)
        error = 2 * (decoded - images).detach() / images.numel()
        return error.norm() / pull.norm().clamp_min(1e-8)

    def _teach(self, images: Images, decoded: Images) -> None:
        self.critic.requires_grad_(True)
        real, made = self.critic(images), self.critic(decoded)
        self._optimizer.zero_grad(set_to_none=True)
        (functional.softplus(-real).mean() + functional.softplus(made).mean()).backward()
        self._optimizer.step()
        self.critic.requires_grad_(False)
