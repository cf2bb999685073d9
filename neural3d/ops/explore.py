"""What Markov-chain densification does to every seen Gaussian in every step: native, in place."""

from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.validation import check_bytes, check_singles


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

    Raises:
        ValueError: An argument does not fit.
    """
    n = len(log_scales)
    check_singles(
        log_scales=(log_scales, (n, 3)),
        logit_opacities=(logit_opacities, (n,)),
        grad_log_scales=(grad_log_scales, (n, 3)),
        grad_logit_opacities=(grad_logit_opacities, (n,)),
    )
    check_bytes("visible", visible, (n,), log_scales, boolean=True)
    native().add_penalties(
        log_scales.detach(),
        logit_opacities.detach(),
        visible,
        scale_weight,
        opacity_weight,
        grad_log_scales,
        grad_logit_opacities,
    )


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
    """Move visible, faint Gaussians in place by noise shaped like themselves: strength * sigmoid(...) * Sigma @ noise.

    The noise depends on (seed, step, index) alone.

    Source: Kheradmand et al. 2024, 3DGS as Markov Chain Monte Carlo, eq. 9-10.

    Raises:
        ValueError: An argument does not fit.
    """
    n = len(means_world)
    check_singles(
        means_world=(means_world, (n, 3)),
        quats_wxyz=(quats_wxyz, (n, 4)),
        log_scales=(log_scales, (n, 3)),
        logit_opacities=(logit_opacities, (n,)),
    )
    check_bytes("visible", visible, (n,), means_world, boolean=True)
    tensors = (means_world, quats_wxyz, log_scales, logit_opacities)
    native().shake(*(t.detach() for t in tensors), visible, strength, seed, step)
