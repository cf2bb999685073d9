"""The model while it trains: Gaussians and, row for row, what Adam remembers of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from neural3d.ops.adam import adam_step, adam_step_sh
from neural3d.splats.gaussians import Gaussians, cat_gaussians
from neural3d.train.gradients import GaussiansGradient, HarmonicsGradient


@dataclass(frozen=True)
class SplatState:
    """Gaussians, and Adam's moments with the same rows.

    Steps change the tensors in place; densifiers return a new state.
    """

    gaussians: Gaussians
    first_moments: Gaussians
    second_moments: Gaussians

    def __len__(self) -> int:
        return len(self.gaussians)

    @property
    def device(self) -> torch.device:
        """Where it lies, all of it."""
        return self.gaussians.device

    def select(self, rows: Int[Tensor, "M"]) -> "SplatState":
        """Keep (or repeat) rows with all that is remembered of them."""
        return SplatState(self.gaussians[rows], self.first_moments[rows], self.second_moments[rows])

    def append(self, gaussians: Gaussians) -> "SplatState":
        """Add Gaussians that Adam knows nothing of."""
        nothing = gaussians.map(torch.zeros_like)
        return SplatState(
            cat_gaussians([self.gaussians, gaussians]),
            cat_gaussians([self.first_moments, nothing]),
            cat_gaussians([self.second_moments, nothing]),
        )

    def forget(self, rows: Int[Tensor, "M"]) -> None:
        """Make Adam start afresh for rows that were moved, in place."""
        for moments in (self.first_moments, self.second_moments):
            for tensor in moments.tensors().values():
                tensor[rows] = 0


def fresh_state(gaussians: Gaussians) -> SplatState:
    """A model before its first step."""
    own = gaussians.clone()
    return SplatState(own, own.map(torch.zeros_like), own.map(torch.zeros_like))


def adam_update(
    state: SplatState,
    gradient: GaussiansGradient,
    rates: Mapping[str, Float[Tensor, "C"]],
    *,
    step: int,
    visible: Bool[Tensor, "N"],
) -> Int64[Tensor, ""]:
    """One step for every parameter of the visible rows, in place.

    Returns the largest number of rows that a parameter left alone for a non-finite gradient.
    """
    first, second = state.first_moments.tensors(), state.second_moments.tensors()
    options = {"step": step, "visible": visible}
    poisoned = [_update_sh(state, gradient.sh, rates["sh"], options)]  # before the means move: it looks at them
    for name, parameter in state.gaussians.tensors().items():
        if name == "sh":
            continue
        size = (len(parameter), math.prod(parameter.shape[1:]))
        rows = [tensor.view(size) for tensor in (parameter, getattr(gradient, name), first[name], second[name])]
        poisoned.append(adam_step(*rows, rates[name], **options))
    return torch.stack(poisoned).amax()


def _update_sh(
    state: SplatState, gradient: HarmonicsGradient | Tensor, rates: Float[Tensor, "C"], options: Mapping[str, Any]
) -> Int64[Tensor, ""]:
    sh, first, second = state.gaussians.sh, state.first_moments.sh, state.second_moments.sh
    if isinstance(gradient, HarmonicsGradient):
        looks = (gradient.pulls, gradient.means_world, gradient.camera_center_world, gradient.degree)
        return adam_step_sh(sh, *looks, first, second, rates, **options)
    size = (len(sh), 3 * sh.shape[1])
    return adam_step(*(tensor.view(size) for tensor in (sh, gradient, first, second)), rates, **options)


def state_tensors(state: SplatState) -> dict[str, Tensor]:
    """All of it by name, for a checkpoint."""
    parts = {"gaussians": state.gaussians, "first_moments": state.first_moments, "second_moments": state.second_moments}
    return {f"{part}.{name}": t for part, record in parts.items() for name, t in record.tensors().items()}


def state_from_tensors(tensors: Mapping[str, Tensor], *, antialiased: bool, linear: bool) -> SplatState:
    """The inverse of `state_tensors`."""
    names = ("means_world", "log_scales", "quats_wxyz", "logit_opacities", "sh")

    def record(part: str) -> Gaussians:
        return Gaussians(**{name: tensors[f"{part}.{name}"] for name in names}, antialiased=antialiased, linear=linear)

    return SplatState(record("gaussians"), record("first_moments"), record("second_moments"))
