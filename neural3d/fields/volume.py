"""Volume rendering by quadrature: densities and colours at samples to the colour of their ray.

Source: Mildenhall et al. 2020, "NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis", section 4;
Max 1995, "Optical Models for Direct Volume Rendering".
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

WALL = 1e10
"""The length of a last interval that reaches as far as there is anything."""


@dataclass(frozen=True)
class Composite:
    """What R rays of S samples see."""

    colors: Float[Tensor, "R 3"]
    """The background is not in it."""
    weights: Float[Tensor, "R S"]
    """How much each sample adds; they and the final transmittance sum to one."""
    alphas: Float[Tensor, "R"]


def interval_lengths(distances: Float[Tensor, "R S"], ends: Float[Tensor, "R"] | None) -> Float[Tensor, "R S"]:
    """delta_i = t_{i+1} - t_i; the last interval goes to the ray's end, or without ends through everything behind."""
    last = torch.full_like(distances[:, :1], WALL) if ends is None else (ends - distances[:, -1])[:, None]
    return torch.cat([distances.diff(dim=1), last], dim=1)


def composite(
    densities: Float[Tensor, "R S"], colors: Float[Tensor, "R S 3"], lengths: Float[Tensor, "R S"]
) -> Composite:
    """Equation 3: C = sum_i T_i (1 - exp(-sigma_i delta_i)) c_i, with T_i = exp(-sum_{j<i} sigma_j delta_j).

    Differentiable in densities (>= 0, per unit of length) and colours.
    """
    optical = densities * lengths
    before = torch.cat([torch.zeros_like(optical[:, :1]), optical.cumsum(dim=1)[:, :-1]], dim=1)
    weights = torch.exp(-before) * -torch.expm1(-optical)
    return Composite((weights[..., None] * colors).sum(dim=1), weights, weights.sum(dim=1))
