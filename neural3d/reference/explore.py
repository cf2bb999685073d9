"""What Markov-chain densification does to every seen Gaussian in every step, in place."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.reference.project import rotation_matrices


@torch.no_grad()
def add_penalties(
    log_scales: Float[Tensor, "N 3"],
    logit_opacities: Float[Tensor, "N"],
    visible: Bool[Tensor, "N"],
    *,
    scale_weight: float,
    opacity_weight: float,
    grad_log_scales: Float[Tensor, "N 3"],
    grad_logit_opacities: Float[Tensor, "N"],
) -> None:
    """Add to visible rows the gradient of scale_weight * mean(scales) + opacity_weight * mean(opacities).

    Source: Kheradmand et al. 2024, 3DGS as Markov Chain Monte Carlo, eq. 12.
    """
    opacities = logit_opacities.sigmoid()
    pull = scale_weight * log_scales.exp() / max(log_scales.numel(), 1)
    fade = opacity_weight * opacities * (1 - opacities) / max(len(opacities), 1)
    grad_log_scales += torch.where(visible[:, None], pull, 0)
    grad_logit_opacities += torch.where(visible, fade, 0)


@torch.no_grad()
def shake(
    means_world: Float[Tensor, "N 3"],
    quats_wxyz: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    logit_opacities: Float[Tensor, "N"],
    visible: Bool[Tensor, "N"],
    *,
    strength: float,
    seed: int,
    step: int,
) -> None:
    """Move visible, faint Gaussians by noise shaped like themselves.

    They move by strength * sigmoid(100 (0.005 - opacity)) * Sigma @ noise; those whose logit is above -2 (opacity 0.12,
    sigmoid below 1e-5) stay. The noise depends on (seed, step, index) alone.

    Source: Kheradmand et al. 2024, 3DGS as Markov Chain Monte Carlo, eq. 9-10.
    """
    axes = rotation_matrices(quats_wxyz) * log_scales.exp()[:, None, :]
    noise = hashed_noise(len(means_world), seed, step).to(means_world)[:, :, None]
    reach = strength * torch.sigmoid(100 * (0.005 - logit_opacities.sigmoid()))
    moves = reach[:, None] * (axes @ (axes.mT @ noise))[:, :, 0]
    means_world += torch.where((visible & (logit_opacities <= -2))[:, None], moves, 0)


def hashed_noise(count: int, seed: int, step: int) -> Float[Tensor, "N 3"]:
    """Nearly normal numbers of unit variance: the sum of four uniform ones of 16 bits (Irwin-Hall), within +-3.5."""
    key = split_mix(split_mix(torch.tensor(seed)) ^ step)
    bits = split_mix(key + torch.arange(3 * count))
    uniform = sum(((bits >> shift) & 0xFFFF).double() / 65536 for shift in (0, 16, 32, 48))
    return ((uniform - 2) * 3**0.5).reshape(count, 3)


def split_mix(x: Int64[Tensor, "*N"]) -> Int64[Tensor, "*N"]:
    """The hash of 64 bits of Steele et al. 2014, Fast Splittable Pseudorandom Number Generators."""
    x = x + as_signed(0x9E3779B97F4A7C15)
    x = (x ^ shifted_right(x, 30)) * as_signed(0xBF58476D1CE4E5B9)
    x = (x ^ shifted_right(x, 27)) * as_signed(0x94D049BB133111EB)
    return x ^ shifted_right(x, 31)


def as_signed(bits: int) -> int:
    """The integer that int64 has for these 64 bits."""
    return bits - (1 << 64) if bits >> 63 else bits


def shifted_right(x: Int64[Tensor, "*N"], places: int) -> Int64[Tensor, "*N"]:
    """With zeros coming in from the left, as for unsigned integers."""
    return (x >> places) & ((1 << (64 - places)) - 1)
