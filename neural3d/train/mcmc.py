"""Densification as sampling: dead Gaussians move to where opacity is, the number grows to a cap, faint ones explore.

Source: Kheradmand et al. 2024, 3D Gaussian Splatting as Markov Chain Monte Carlo.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from neural3d.ops.explore import add_penalties, shake
from neural3d.train.densify import StepContext, check_memory, draw, opacities_of, rows_of
from neural3d.train.gradients import PhotoGradient
from neural3d.train.limits import above, check_fields, number, whole
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.state import SplatState

MAX_COPIES = 50
OPACITY_LIMITS = (0.005, 1 - 1e-6)


@dataclass(frozen=True)
class McmcConfig:
    """Rates of the chain."""

    interval: int = 100
    """Steps between two relocations."""
    start_step: int = 200
    until: float = 0.85
    """Fraction of the run after which the number and the places stay."""
    grown_by: float = 0.4
    """Fraction of the run by which the number has grown, evenly in its logarithm, to the cap."""
    dead_opacity: float = 0.005
    opacity_weight: float = 0.01
    scale_weight: float = 0.01
    """Of the mean scale in units of the scene's extent."""
    noise: float = 5e4
    """Strength of the exploration in units of the positions' step size and one over the squared extent."""

    def __post_init__(self) -> None:
        """Refuse rates that make no chain.

        Raises:
            InputError: Names the field.
        """
        limits = {
            "interval": whole(1),
            "start_step": whole(0),
            "until": number(0, 1),
            "grown_by": above(0, 1),
            "dead_opacity": number(0, 1),
            "opacity_weight": number(0),
            "scale_weight": number(0),
            "noise": number(0),
        }
        check_fields(self, limits, prefix="McmcConfig.")


class Mcmc:
    """A `Densifier` that remembers only how many Gaussians it began with."""

    def __init__(self, max_gaussians: int, config: McmcConfig = McmcConfig()) -> None:
        """Begin.

        Raises:
            InputError: The cap is no number of Gaussians.
        """
        self.max_gaussians = max_gaussians
        self.config = config
        self.first_count = 0
        check_fields(self, {"max_gaussians": whole(1)}, prefix="Mcmc.")

    def before_update(self, state: SplatState, gradient: PhotoGradient, context: StepContext) -> None:
        """Pull opacities and sizes down a little, so that what is not needed dies."""
        gaussians = state.gaussians
        add_penalties(
            gaussians.log_scales,
            gaussians.logit_opacities,
            context.visible,
            scale_weight=self.config.scale_weight / context.extent,
            opacity_weight=self.config.opacity_weight,
            grad_log_scales=gradient.gaussians.log_scales,
            grad_logit_opacities=gradient.gaussians.logit_opacities,
        )

    def after_update(self, state: SplatState, context: StepContext) -> SplatState:
        """Shake the faint; at every interval relocate the dead and grow."""
        self._shake(state, context)
        config = self.config
        due = context.step % config.interval == 0 and context.step >= config.start_step
        if not due or context.fraction > config.until:
            return state
        relocate(state, config.dead_opacity, generator(context.seed, Purpose.RELOCATE, context.step))
        wanted = self._wanted(len(state), context.fraction)
        return grow(state, wanted - len(state), generator(context.seed, Purpose.GROW, context.step))

    def tensors(self) -> dict[str, Tensor]:
        """The number of Gaussians that growth began with."""
        return {"first_count": torch.tensor(self.first_count)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on growing from the number that it began with.

        Raises:
            InputError: The memory is that of another densifier.
        """
        check_memory(self, tensors)
        self.first_count = int(tensors["first_count"])

    def _wanted(self, count: int, fraction: float) -> int:
        """How many Gaussians there should be now: never fewer than there are, never more than the cap."""
        self.first_count = self.first_count or count
        if self.first_count == 0:
            return 0
        done = min(1.0, fraction / self.config.grown_by)
        wanted = self.first_count * (self.max_gaussians / self.first_count) ** done
        return max(count, min(self.max_gaussians, round(wanted)))

    def _shake(self, state: SplatState, context: StepContext) -> None:
        gaussians = state.gaussians
        shake(
            gaussians.means_world,
            gaussians.quats_wxyz,
            gaussians.log_scales,
            gaussians.logit_opacities,
            context.visible,
            strength=self.config.noise * context.means_rate / context.extent**2,
            seed=context.seed,
            step=context.step,
        )


def relocate(state: SplatState, dead_opacity: float, random: np.random.Generator) -> None:
    """Move all but transparent Gaussians onto ones that are not, in place, without changing the picture much."""
    opacities = opacities_of(state)
    dead = np.flatnonzero(opacities <= dead_opacity)
    alive = np.flatnonzero(opacities > dead_opacity)
    if len(dead) == 0 or len(alive) == 0:
        return
    sources = alive[draw(opacities[alive], len(dead), random)]
    _share_out(state, sources, opacities)
    to_rows, from_rows = rows_of(state, dead), rows_of(state, sources)
    for tensor in state.gaussians.tensors().values():
        tensor[to_rows] = tensor[from_rows]
    state.forget(rows_of(state, np.concatenate([np.unique(sources), dead])))


def grow(state: SplatState, count: int, random: np.random.Generator) -> SplatState:
    """Add `count` copies of Gaussians drawn by opacity, each group sharing out what its source was."""
    if count <= 0 or len(state) == 0:
        return state
    opacities = opacities_of(state)
    sources = draw(opacities, count, random)
    _share_out(state, sources, opacities)
    state.forget(rows_of(state, np.unique(sources)))
    return state.append(state.gaussians[rows_of(state, sources)])


def _share_out(state: SplatState, sources: Int64[np.ndarray, "M"], opacities: Float64[np.ndarray, "N"]) -> None:
    """Give each source the opacity and the size that it and its copies need to look like it did alone."""
    chosen, copies = np.unique(sources, return_counts=True)
    opacity, scale_factor = shared_opacity(opacities[chosen], np.minimum(copies + 1, MAX_COPIES))
    opacity = opacity.clip(*OPACITY_LIMITS)
    rows = rows_of(state, chosen)
    logits, growth = np.log(opacity / (1 - opacity)), np.log(scale_factor)
    state.gaussians.logit_opacities[rows] = torch.from_numpy(logits).float().to(state.device)
    state.gaussians.log_scales[rows] += torch.from_numpy(growth).float().to(state.device)[:, None]


def shared_opacity(
    opacity: Float64[np.ndarray, "M"], copies: Int64[np.ndarray, "M"]
) -> tuple[Float64[np.ndarray, "M"], Float64[np.ndarray, "M"]]:
    """Opacity of each of `copies` equal Gaussians in the place of one, and the factor on their scales.

    Source: Kheradmand et al. 2024, eq. 9: o' = 1 - (1 - o)^(1/n), and the scale that keeps the profile's integral.
    """
    new = 1 - (1 - opacity) ** (1 / copies)
    powers = new[:, None] ** np.arange(1, MAX_COPIES + 1)
    factor = opacity / (_integral_coefficients()[copies - 1] * powers).sum(axis=1)
    return new, factor


@cache
def _integral_coefficients() -> Float64[np.ndarray, "n k"]:
    """Row n - 1: coefficients of o'^(k+1) in sum over i <= n and k < i of C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1)."""
    table = np.zeros((MAX_COPIES, MAX_COPIES))
    for n in range(1, MAX_COPIES + 1):
        for k in range(n):
            total = sum(comb(i - 1, k) for i in range(k + 1, n + 1))
            table[n - 1, k] = total * (-1) ** k / np.sqrt(k + 1)
    return table
