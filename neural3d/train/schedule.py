"""What changes in the course of a run, as functions of the fraction of it that is done."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.train.config import LearningRates, SplatConfig

CAMERA_DECAY = 0.01
"""Rates of cameras at the end of a run, as a part of those at its beginning."""
CAMERAS_FROM = 0.1
"""Fraction of the run in which cameras stay: the first Gaussians are too coarse to say where they are."""
WARM_UP = 0.01
"""Fraction of the run by which the positions' step size is reached."""


def resolution_level(config: SplatConfig, fraction: float, num_levels: int) -> int:
    """How many times the photos are halved at this point."""
    if fraction >= config.coarse_until:
        return 0
    return min(num_levels - 1, math.ceil(config.coarse_levels * (1 - fraction / config.coarse_until)))


def active_sh_degree(config: SplatConfig, fraction: float) -> int:
    """View dependence comes in one degree at a time, over the first third of the run."""
    return min(config.sh_degree, int(fraction * 3 * (config.sh_degree + 1)))


def means_rate(rates: LearningRates, fraction: float, extent: float) -> float:
    """Adam's step size for positions, scene units: log-linear decay."""
    decay = math.exp((1 - fraction) * math.log(rates.means_start) + fraction * math.log(rates.means_end))
    return extent * decay


def camera_rates(
    rates: LearningRates, fraction: float, device: torch.device = torch.device("cpu")
) -> Float[Tensor, "7"]:
    """Adam's step sizes for the six numbers of a camera's pose, and for its log focal length: log-linear decay."""
    columns = [rates.camera_poses] * 6 + [rates.camera_log_focals]
    return (torch.tensor(columns) * CAMERA_DECAY**fraction).to(device, non_blocking=True)


def parameter_rates(
    rates: LearningRates,
    fraction: float,
    extent: float,
    sh_degree: int,
    num_coefficients: int,
    device: torch.device = torch.device("cpu"),
) -> dict[str, Float[Tensor, "C"]]:
    """Step sizes by column; those of harmonics that are not in use are 0, so they are not even read."""
    means = torch.full((3,), means_rate(rates, fraction, extent), device=device)
    return {"means_world": means, **_lasting_rates(rates, sh_degree, num_coefficients, device)}


@lru_cache(maxsize=8)
def _lasting_rates(
    rates: LearningRates, sh_degree: int, num_coefficients: int, device: torch.device
) -> dict[str, Float[Tensor, "C"]]:
    """Those that stay for many steps, made once; nobody changes them."""
    sh = torch.zeros(num_coefficients, 3)
    sh[: (sh_degree + 1) ** 2] = rates.sh_rest
    sh[0] = rates.sh_dc
    columns = {
        "log_scales": torch.full((3,), rates.log_scales),
        "quats_wxyz": torch.full((4,), rates.quats),
        "logit_opacities": torch.full((1,), rates.logit_opacities),
        "sh": sh.flatten(),
    }
    return {name: column.to(device, non_blocking=True) for name, column in columns.items()}
