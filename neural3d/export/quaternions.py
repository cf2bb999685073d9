"""Unit quaternions as their three smaller components, as packed formats keep them."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.export.rows import unit_quats
from neural3d.splats.gaussians import Gaussians

SQRT2 = 2.0**0.5
"""The smaller components lie in -1/SQRT2 to 1/SQRT2."""


def largest_last(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray]:
    """Which of w, x, y, z is greatest in magnitude, and the other three in that order, for which it is positive."""
    quats = unit_quats(gaussians).numpy().astype(np.float64)
    index = np.abs(quats).argmax(1)
    largest = np.take_along_axis(quats, index[:, None], axis=1)
    quats = np.where(largest < 0, -quats, quats)
    kept = np.arange(4)[None] != index[:, None]
    return index, quats[kept].reshape(-1, 3)


def with_largest(index: np.ndarray, others: np.ndarray) -> Float[Tensor, "N 4"]:
    """The inverse: unit quaternions wxyz."""
    quats = np.zeros((len(others), 4))
    kept = np.arange(4)[None] != index[:, None]
    quats[kept] = others.reshape(-1)
    largest = np.sqrt(np.clip(1 - (others**2).sum(1), 0, None))
    np.put_along_axis(quats, index[:, None], largest[:, None], axis=1)
    return torch.from_numpy(quats.astype(np.float32))
