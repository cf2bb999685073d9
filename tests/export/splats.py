"""Gaussians for tests of files, and how far two sets of them are apart."""

from dataclasses import dataclass

import torch

from neural3d.export.rows import unit_quats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

IDENTITY = Similarity.identity()


def like_a_scene(count: int = 700, degree: int = 3, antialiased: bool = False) -> Gaussians:
    """With the spreads of a trained model."""
    return Gaussians(
        means_world=torch.randn(count, 3),
        log_scales=torch.randn(count, 3) * 0.6 - 3,
        quats_wxyz=torch.randn(count, 4),
        logit_opacities=torch.randn(count) * 2,
        sh=torch.cat([torch.randn(count, 1, 3) * 0.8, torch.randn(count, (degree + 1) ** 2 - 1, 3) * 0.15], dim=1),
        antialiased=antialiased,
    )


def turned_and_moved() -> Similarity:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    return Similarity(2.5, rotation * rotation.det().sign(), torch.randn(3, dtype=torch.float64))


@dataclass(frozen=True)
class Distance:
    """Greatest differences."""

    mean: float
    log_scale: float
    angle_rad: float
    opacity: float
    color: float
    """Of the part that does not depend on the direction, as displayed: 1 is white."""
    harmonic: float


def distance(a: Gaussians, b: Gaussians) -> Distance:
    """Of two sets in the same order."""
    left, right = unit_quats(a).double(), unit_quats(b).double()
    chord = torch.minimum((left - right).norm(dim=1), (left + right).norm(dim=1))
    return Distance(
        mean=_greatest(a.means_world - b.means_world),
        log_scale=_greatest(a.log_scales - b.log_scales),
        angle_rad=float(4 * (chord / 2).asin().max()),
        opacity=_greatest(torch.sigmoid(a.logit_opacities) - torch.sigmoid(b.logit_opacities)),
        color=0.2820948 * _greatest(a.sh[:, 0] - b.sh[:, 0]),
        harmonic=_greatest(a.sh[:, 1:] - b.sh[:, 1:]),
    )


def matched(found: Gaussians, among: Gaussians) -> Gaussians:
    """Of `among`, for each Gaussian of a file the nearest: formats sort as they like."""
    nearest = torch.cdist(found.means_world.double(), among.means_world.double()).argmin(1)
    assert len(nearest.unique()) == len(found), "two Gaussians of the file stand for the same"
    return among[nearest]


def _greatest(difference: torch.Tensor) -> float:
    return float(difference.abs().max()) if difference.numel() else 0.0
