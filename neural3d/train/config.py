"""What can be chosen about training splats; every schedule is a fraction of the run."""

from dataclasses import dataclass
from typing import Literal

from neural3d.errors import InputError


@dataclass(frozen=True)
class LearningRates:
    """Adam's step sizes; positions in units of the scene's extent."""

    means_start: float = 4e-4
    means_end: float = 4e-6
    log_scales: float = 7e-3
    quats: float = 2e-3
    logit_opacities: float = 4e-2
    sh_dc: float = 4e-3
    sh_rest: float = 2e-4
    exposure: float = 2e-3


@dataclass(frozen=True)
class SplatConfig:
    """How a splat model is trained."""

    steps: int = 30_000
    """Total steps of the run; fixes every schedule."""
    max_seconds: float | None = 300.0
    """Total training time; None for none. A run that time ends promises no particular bytes."""
    seed: int = 0
    background: Literal["auto", "white", "black", "random"] = "auto"
    """Behind the Gaussians while training; auto is random for captures with alpha, else black."""
    max_gaussians: int | None = None
    """Hard cap; None chooses from the photos' pixels."""
    densify: Literal["mcmc", "adc"] = "mcmc"
    """Markov-chain relocation with a cap, or adaptive density control as in the first paper."""
    antialiased: bool = False
    """Mip-style opacity compensation; travels with the model."""
    exposure: Literal["none", "affine", "bilateral"] = "affine"
    """Per-photo colour correction that is learnt with the scene and left out of renders."""
    sh_degree: int = 3
    """Of the view-dependent colour, 0 to 3."""
    ssim_weight: float = 0.2
    coarse_levels: int = 2
    """Times the photos are halved for the first steps."""
    coarse_until: float = 0.25
    """Fraction of the run by which full resolution is reached."""
    checkpoint_seconds: float = 60.0
    """Between two checkpoints."""
    rates: LearningRates = LearningRates()

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            InputError: Names the field.
        """
        checks = {
            "steps": (self.steps >= 1, "1 or more"),
            "max_seconds": (self.max_seconds is None or self.max_seconds > 0, "more than 0 seconds"),
            "max_gaussians": (self.max_gaussians is None or self.max_gaussians >= 1, "1 or more"),
            "sh_degree": (0 <= self.sh_degree <= 3, "0 to 3"),
            "ssim_weight": (0 <= self.ssim_weight <= 1, "0 to 1"),
            "coarse_levels": (0 <= self.coarse_levels <= 4, "0 to 4"),
            "seed": (0 <= self.seed < 2**63, "0 to 2^63 - 1"),
        }
        for name, (holds, expected) in checks.items():
            if not holds:
                raise InputError(f"{name}: expected {expected}, got {getattr(self, name)}")
