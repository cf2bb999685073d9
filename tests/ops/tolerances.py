"""Every tolerance of the operators' tests, and why it is what it is."""

import torch
from torch import Tensor

FROM_SCALE = {
    # Largest error, as a fraction of the largest expected value of a tensor.
    "float64 twin": 1e-10,  # the same formulas in another order of operations
    "float32 twin": 3e-5,  # single precision through a projection, an exp and a blend
    "float32 gradient": 3e-4,  # sums of many terms of both signs
    "float64 truth": 1e-12,  # closed forms
    "float32 law": 1e-5,  # two ways to the same image, both in single precision
    "float32 devices": 1e-5,  # the same formulas on the same numbers, with other roundings
    "float32 devices' gradients": 1e-4,
}
FLIPPED_PIXELS = 2e-3
"""Share of the pixels at which float32 may fall on the other side of a cut-off than float64."""
FLIP_SIZE = 0.03
"""How much such a pixel may change: a few Gaussians of alpha 1/255, times colours of about 1."""

GRADCHECK = {"eps": 1e-6, "atol": 1e-6, "rtol": 1e-4}
"""Central differences in float64."""


def assert_close(actual: Tensor, expected: Tensor, tolerance: str) -> None:
    """The largest error is within the named fraction of the largest expected value."""
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs().max().item() if actual.numel() else 0.0
    scale = expected.double().abs().max().item() if expected.numel() else 0.0
    assert error <= FROM_SCALE[tolerance] * scale, f"error {error:.3g} at scale {scale:.3g} ({tolerance})"


def assert_close_but_for_flips(actual: Tensor, expected: Tensor, tolerance: str) -> None:
    """As `assert_close`, but a few pixels may lie on the other side of a cut-off."""
    error = (actual.double() - expected.double()).abs()
    flipped = error > FROM_SCALE[tolerance] * expected.double().abs().max()
    assert flipped.double().mean().item() <= FLIPPED_PIXELS
    assert torch.where(flipped, error, 0).max().item() <= FLIP_SIZE
