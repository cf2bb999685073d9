"""What can be chosen about training splats; every schedule is a fraction of the run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from neural3d.errors import InputError
from neural3d.train.limits import OF_RUNS, above, check_fields, check_names, number, one_of, switch, whole


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
    camera_poses: float = 1e-3
    """Focal lengths that the picture moves, of cameras that are refined; this and the next fall to a hundredth."""
    camera_log_focals: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what no step can be taken with.

        Raises:
            InputError: Names the field.
        """
        others = {field.name: number(0) for field in fields(self)}
        check_fields(self, {**others, "means_start": above(0), "means_end": above(0)}, prefix="rates.")


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
    gaussians_per_point: float | None = None
    """Where no cap is given: fit it to the evidence, so many for each of the capture's points; None does not."""
    densify: Literal["mcmc", "adc"] = "mcmc"
    """Markov-chain relocation with a cap, or adaptive density control as in the first paper."""
    antialiased: bool = False
    """Mip-style opacity compensation; travels with the model."""
    exposure: Literal["none", "affine", "bilateral"] = "affine"
    """Per-photo colour correction that is learnt with the scene and left out of renders."""
    drop_share: float = 0.0
    """Part of the Gaussians that a step does without, at random; grows to this over the run."""
    bend_weight: float = 0.0
    """Of bends in a view's depth in the loss, where the photo shows no edge."""
    ignore_moving: bool = False
    """Leave parts of photos out of the loss that the scene, as the other photos show it, speaks against."""
    refine_cameras: bool = False
    """Learn small corrections of the training photos' poses and focal lengths with the scene."""
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
        limits = {
            **OF_RUNS,
            "max_gaussians": whole(1).or_none(),
            "gaussians_per_point": above(0).or_none(),
            "densify": one_of("mcmc", "adc"),
            "antialiased": switch(),
            "exposure": one_of("none", "affine", "bilateral"),
            "drop_share": number(0, 0.9),
            "bend_weight": number(0),
            "ignore_moving": switch(),
            "refine_cameras": switch(),
            "sh_degree": whole(0, 3),
            "ssim_weight": number(0, 1),
            "coarse_levels": whole(0, 4),
            "coarse_until": number(0, 1),
        }
        check_fields(self, limits)


FEW_PHOTOS = SplatConfig(densify="adc", gaussians_per_point=7.0, drop_share=0.1, bend_weight=0.02)
"""For 6 to 12 photos: only as many Gaussians as the points speak for, none of which is relied on."""


def config_from_json(content: Mapping[str, Any]) -> SplatConfig:
    """The inverse of `dataclasses.asdict`, for a configuration out of a file.

    Raises:
        InputError: A field is unknown, missing, or holds what cannot be trained.
    """
    rates = content.get("rates")
    if not isinstance(rates, Mapping):
        raise InputError("rates: missing, expected the learning rates")
    check_names(LearningRates, rates, prefix="rates.")
    check_names(SplatConfig, content)
    return SplatConfig(**{**content, "rates": LearningRates(**rates)})
