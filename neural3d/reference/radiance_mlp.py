"""Features to densities and colours through small dense layers."""

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from neural3d.ops.records import RadianceLayers

MAX_LOG_DENSITY = 15.0


def radiance_mlp(
    features: Float[Tensor, "S I"],
    weights: Float[Tensor, "W"],
    ray_features: Float[Tensor, "R J"],
    ray_offsets: Int32[Tensor, "R_plus_1"],
    layers: RadianceLayers,
) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 3"]]:
    """Density exp(g[0]) and colour sigmoid(W5 relu(W4 relu(W3 [g, v]))) with g = W2 relu(W1 x), v those of x's ray.

    There are no biases. From g[0] = 15 on the density stays e^15, with the slope that it has there, so that training
    finds back.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, section 5.4.
    """
    _, _, mix, hidden, color = layers.split(weights)
    geometry = _geometry(features, weights, layers)
    per_sample = ray_features.repeat_interleave(ray_offsets.diff().long(), dim=0)
    mixed = torch.cat([geometry, per_sample], dim=-1) @ mix.T
    return _density(geometry), (((mixed.relu() @ hidden.T).relu()) @ color.T).sigmoid()


def density_mlp(
    features: Float[Tensor, "S I"], weights: Float[Tensor, "W"], layers: RadianceLayers
) -> Float[Tensor, "S"]:
    """The densities of `radiance_mlp` alone."""
    return _density(_geometry(features, weights, layers))


def _geometry(features: Tensor, weights: Tensor, layers: RadianceLayers) -> Tensor:
    first, second, *_ = layers.split(weights)
    return (features @ first.T).relu() @ second.T


def _density(geometry: Tensor) -> Tensor:
    logarithm = geometry[:, 0]
    return (logarithm - (logarithm - MAX_LOG_DENSITY).clamp(min=0).detach()).exp()
