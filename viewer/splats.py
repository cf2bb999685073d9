"""Gaussians as the browser draws them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural3d.reference.project import rotation_matrices
from neural3d.splats.gaussians import SH_C0, Gaussians

MAX_SPLATS = 150_000
HALF_MAX_SIGMA = 250.0
"""The covariance travels as float16, which ends at 65504 = 255.9 squared."""
MAX_LOG_SIGMA = 40.0
"""Lengths beyond e^40 are no lengths; their squares overflow."""


@dataclass(frozen=True)
class SplatCloud:
    """N splats as viser takes them, with lengths multiplied by `buffer_from_scene`.

    Limits: one colour per splat, the view-independent part of the harmonics, because viser has none; opacities as
    stored, without the compensation of antialiased models. `frames.py` shows both exactly.
    """

    centers: Float[np.ndarray, "N 3"]
    covariances: Float[np.ndarray, "N 3 3"]
    rgbs: Float[np.ndarray, "N 3"]
    opacities: Float[np.ndarray, "N 1"]
    buffer_from_scene: float


def splats_from_gaussians(gaussians: Gaussians, limit: int = MAX_SPLATS) -> SplatCloud:
    """Convert for the browser; keeps the `limit` splats that cover most, and none that is not finite or not visible."""
    gaussians = gaussians.map(lambda tensor: tensor.detach().float().cpu())
    gaussians = gaussians[_most_visible(gaussians, limit)]
    sigmas = gaussians.log_scales.exp()
    scale = _buffer_scale(sigmas)
    return SplatCloud(
        centers=(gaussians.means_world * scale).numpy(),
        covariances=_covariances(gaussians.quats_wxyz, (sigmas * scale).clamp(max=HALF_MAX_SIGMA)).numpy(),
        rgbs=(0.5 + SH_C0 * gaussians.sh[:, 0]).clamp(0.0, 1.0).numpy(),
        opacities=gaussians.logit_opacities.sigmoid()[:, None].numpy(),
        buffer_from_scene=scale,
    )


def _most_visible(gaussians: Gaussians, limit: int) -> Int[Tensor, "M"]:
    """Indices, rising, of the drawable Gaussians with the largest opacity times silhouette area."""
    opacities = gaussians.logit_opacities.sigmoid()
    drawable = (_is_sound(gaussians) & (opacities >= 1.0 / 255.0)).nonzero()[:, 0]
    if len(drawable) <= limit:
        return drawable
    log_cover = opacities.log() + gaussians.log_scales.topk(2, dim=1).values.sum(dim=1)
    return drawable[log_cover[drawable].topk(limit).indices].sort().values


def _is_sound(gaussians: Gaussians) -> Bool[Tensor, "N"]:
    g = gaussians
    rows = torch.cat([g.means_world, g.quats_wxyz, g.logit_opacities[:, None], g.sh.flatten(1)], dim=1)
    has_rotation = g.quats_wxyz.norm(dim=1) > 1e-12
    return rows.isfinite().all(dim=1) & has_rotation & (g.log_scales.abs() < MAX_LOG_SIGMA).all(dim=1)


def _buffer_scale(sigmas: Float[Tensor, "N 3"]) -> float:
    """The scale that puts typical splats in the middle of float16's range, and nearly all of them below its end.

    Unscaled, the covariance of a splat of 2e-4 scene units would already vanish.
    """
    if not len(sigmas):
        return 1.0
    longest = sigmas.max(dim=1).values.sort().values
    typical, large = longest[len(longest) // 2], longest[int(0.999 * (len(longest) - 1))]
    return float(torch.minimum(1.0 / typical, HALF_MAX_SIGMA / large))


def _covariances(quats_wxyz: Float[Tensor, "N 4"], sigmas: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    half = rotation_matrices(quats_wxyz) * sigmas[:, None, :]
    return half @ half.transpose(1, 2)
