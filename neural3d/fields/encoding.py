"""Numbers as many waves, so that a network can tell close places apart."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def positional_encoding(values: Float[Tensor, "S D"], num_frequencies: int) -> Float[Tensor, "S K"]:
    """Equation 4: (sin 2^0 pi p, cos 2^0 pi p, ..., sin 2^(L-1) pi p, cos 2^(L-1) pi p) of each number p in [-1, 1].

    All sines come before all cosines, which a fully connected layer does not notice.

    Source: Mildenhall et al. 2020, section 5.1.
    """
    octaves = math.pi * 2.0 ** torch.arange(num_frequencies, dtype=values.dtype, device=values.device)
    angles = (values[:, :, None] * octaves).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
