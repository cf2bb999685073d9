"""A generator as a codec: decoding is one pass, encoding a search for the latent."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.codecs.codec import Codec
from neural3d.priors.networks.adversary import GeneratorNetwork
from neural3d.priors.records import Images

_SEARCH_STEPS = 100
_SEARCH_STEP_SIZE = 0.1


class Generator(Codec):
    """Latents are `num_free` numbers that mean nothing by themselves, and one for each label: 1 for the chosen one."""

    def __init__(self, size: int, num_free: int, width: int, num_labels: int = 0) -> None:
        super().__init__()
        self.stride, self.channels, self.num_labels = size, num_free + num_labels, num_labels
        self.network = GeneratorNetwork(self.channels, size, width)

    def decode(self, latents: Float[Tensor, "B D 1 1"]) -> Images:
        """Images."""
        return self.network(latents[:, :, 0, 0])

    def encode(self, images: Images) -> Float[Tensor, "B D 1 1"]:
        """The latents whose images come nearest, by descent from the middle.

        Source: Zhu et al., Generative Visual Manipulation on the Natural Image Manifold, 2016, equation 4.
        Limits: finds a nearby minimum; what the generator cannot make has none that is good.
        """
        with torch.enable_grad():
            free = torch.zeros(len(images), self.channels, 1, 1)
            free[:, self.channels - self.num_labels :] = 1 / max(1, self.num_labels)
            latents = free.requires_grad_(True)
            optimizer = torch.optim.Adam([latents], lr=_SEARCH_STEP_SIZE)
            for _ in range(_SEARCH_STEPS):
                optimizer.zero_grad(set_to_none=True)
                error = functional.mse_loss(self.decode(latents), images, reduction="sum")
                (gradient,) = torch.autograd.grad(error, latents)
                latents.grad = gradient
                optimizer.step()
        return latents.detach()
