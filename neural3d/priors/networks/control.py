"""A second descending half that reads a map, and adds what it finds to a trained U-Net's features."""

import copy

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from neural3d.priors.networks.convolution import zeroed
from neural3d.priors.networks.unet import Control, UNet

MAP_CHANNELS = 3


class ControlBranch(nn.Module):
    """Starts as the U-Net's own descending half, and adds nothing until it is trained.

    Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, 2023, equations 2 and 3.
    """

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.gather, width = network.gather, network.widths[0]
        self.encoder = copy.deepcopy(network.encoder)
        self.hint = nn.Conv2d(MAP_CHANNELS * self.gather**2, width, 3, padding=1, padding_mode="replicate")
        self.entry = zeroed(nn.Conv2d(width, width, 1))
        self.exits = nn.ModuleList([zeroed(nn.Conv2d(width, width, 1)) for width in network.widths])

    def begin_as(self, network: UNet) -> None:
        """Take over the trained weights."""
        self.encoder.load_state_dict(network.encoder.state_dict())

    def bound(self, network: UNet, maps: Float[Tensor, "B M H W"]) -> Control:
        """What the U-Net asks for its features, of maps of its images' size."""
        cells = network.gathered(maps)

        def control(x: Tensor, embedding: Tensor) -> list[Tensor]:
            hint = self.entry(functional.silu(self.hint(cells)))
            features = self.encoder(x, embedding, hint)
            return [layer(feature) for layer, feature in zip(self.exits, features, strict=True)]

        return control
