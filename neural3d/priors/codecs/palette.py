"""A few colours: images become small whole numbers, as the pixel transformers of 2020 read them."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.priors.codecs.codec import DiscreteCodec
from neural3d.priors.records import Images

_ROUNDS = 20
_SHARPNESS = 50.0
"""Of `closeness`, in reciprocal squared units of [-1, 1]."""


class Palette(DiscreteCodec):
    """Colours found by k-means; a pixel is the number of the nearest one.

    Source: Chen et al., Generative Pretraining from Pixels, 2020, section 3.
    """

    def __init__(self, num_colors: int) -> None:
        super().__init__()
        self.num_tokens = num_colors
        self.register_buffer("colors", torch.zeros(num_colors, 3))

    def prepare(self, images: Images, generator: torch.Generator) -> None:
        """Find the colours."""
        self.colors.copy_(k_means(images.movedim(1, -1).reshape(-1, 3), self.num_tokens, generator))

    def encode(self, images: Images) -> Int64[Tensor, "B H W"]:
        """The nearest colour's number."""
        return self.closeness(images).argmax(-1)

    def decode(self, latents: Int64[Tensor, "B H W"]) -> Images:
        """The colours."""
        return self.colors[latents].movedim(-1, 1)

    def closeness(self, images: Images) -> Float[Tensor, "B H W K"]:
        """Minus the squared distance to each colour, sharpened."""
        return -_SHARPNESS * squared_distances(images.movedim(1, -1), self.colors)


def squared_distances(points: Float[Tensor, "*S D"], centers: Float[Tensor, "K D"]) -> Float[Tensor, "*S K"]:
    """Between all points and all centres."""
    products = points @ centers.T
    return (points.square().sum(-1, keepdim=True) - 2 * products + centers.square().sum(-1)).clamp_min(0)


def k_means(
    points: Float[Tensor, "N D"], count: int, generator: torch.Generator, most: int = 20_000
) -> Float[Tensor, "K D"]:
    """Centres of at most `most` of the points; a centre that nobody is near moves to a point at random.

    Source: Lloyd, Least squares quantization in PCM, 1982.
    """
    points = points[torch.randperm(len(points), generator=generator)[:most]]
    centers = points[torch.randint(len(points), (count,), generator=generator)]
    for _ in range(_ROUNDS):
        nearest = squared_distances(points, centers).argmin(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=count)
        others = points[torch.randint(len(points), (count,), generator=generator)]
        centers = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), others)
    return centers
