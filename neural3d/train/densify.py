"""The seam between training and whatever decides how many Gaussians there are and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from neural3d.errors import InputError
from neural3d.train.gradients import PhotoGradient
from neural3d.train.state import SplatState


@dataclass(frozen=True)
class StepContext:
    """What a densifier may know about the step that was just taken."""

    step: int
    """Counts from 1."""
    fraction: float
    """Of the run, in [0, 1]."""
    seed: int
    extent: float
    """Of the scene: the radius of its cameras."""
    means_rate: float
    """Adam's step size for positions."""
    visible: Bool[Tensor, "N"]
    """Gaussians that the photo saw."""


@runtime_checkable
class Densifier(Protocol):
    """Adds, moves and removes Gaussians while the model trains.

    A densifier's own numbers live in the tensors that it hands to the checkpoint, so that a resumed run goes on with
    the same bytes. State, gradients and context lie on the training's device, and so should its memory: what reads a
    number of theirs on the host, in every step, makes a GPU wait.
    """

    def before_update(self, state: SplatState, gradient: PhotoGradient, context: StepContext) -> None:
        """After the backward pass, before Adam: look at the gradients, or change them in place."""

    def after_update(self, state: SplatState, context: StepContext) -> SplatState:
        """After Adam: return the state to go on with, the same one where nothing changes."""

    def tensors(self) -> dict[str, Tensor]:
        """Its memory, for a checkpoint."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, whose tensors lie on the training's device."""


def check_memory(densifier: Densifier, tensors: Mapping[str, Tensor]) -> None:
    """Hold a checkpoint's memory against what the densifier itself remembers.

    Raises:
        InputError: Another densifier left it.
    """
    expected, found = sorted(densifier.tensors()), sorted(tensors)
    if found != expected:
        raise InputError(
            f"densifier: the checkpoint holds the memory of another one than {type(densifier).__name__} "
            f"({', '.join(found) or 'nothing'}, expected {', '.join(expected)}); "
            "go on with the one that the run was made with, or start again with --overwrite"
        )


def opacities_of(state: SplatState) -> Float64[np.ndarray, "N"]:
    """Opacities in double precision, by numpy: its elementwise functions give the same bytes at any thread count.

    On the host, wherever the state lies: who comes and goes is decided there, every hundred steps, so that each device
    draws the same random numbers and makes the same choices.
    """
    return 1 / (1 + np.exp(-state.gaussians.logit_opacities.cpu().numpy().astype(np.float64)))


def rows_of(state: SplatState, rows: Int64[np.ndarray, "M"]) -> Int64[Tensor, "M"]:
    """Rows that the host has chosen, brought to where the state lies."""
    return torch.from_numpy(rows).to(state.device)


def draw(weights: Float64[np.ndarray, "N"], count: int, random: np.random.Generator) -> np.ndarray:
    """`count` indices with replacement, each with a probability proportional to its weight."""
    cumulative = np.cumsum(weights)
    return np.searchsorted(cumulative, random.random(count) * cumulative[-1], side="right").clip(max=len(weights) - 1)
