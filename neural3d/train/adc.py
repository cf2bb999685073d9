"""Densification by gradients: copy what is small and pulled hard, split what is large, drop what is transparent.

Source: Kerbl et al. 2023, 3D Gaussian Splatting for Real-Time Radiance Field Rendering, section 5, and its INRIA code.
Limits: nothing is dropped for its size, on screen or in the world: backgrounds are large.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from neural3d.splats.gaussians import Gaussians
from neural3d.train.densify import StepContext, check_memory, opacities_of, rows_of
from neural3d.train.gradients import PhotoGradient
from neural3d.train.limits import above, between, check_fields, number, whole
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.state import SplatState

PARTS = 2
"""Gaussians in the place of one that is split."""
PART_SIZE = 1 / (0.8 * PARTS)
"""Of each, relative to the whole."""


@dataclass(frozen=True)
class AdcConfig:
    """When, how many, how small."""

    interval: int = 100
    """Steps between two densifications."""
    start_step: int = 200
    until: float = 0.5
    """Fraction of the run after which the number stays."""
    gradient_threshold: float = 2e-4
    """Mean norm of the loss's gradient by the projected mean, in normalised device units (2 across the image)."""
    small: float = 0.01
    """Of the scene's extent: what is smaller is copied, what is larger is split."""
    dead_opacity: float = 0.005
    reset_interval: float = 0.1
    """Fraction of the run between two resets of the opacities, which make what is not needed die."""
    reset_steps: int = 1000
    """Fewest steps between two resets; what is needed takes a few hundred to come back."""
    reset_opacity: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what no density can be controlled with.

        Raises:
            InputError: Names the field.
        """
        limits = {
            "interval": whole(1),
            "start_step": whole(0),
            "until": number(0, 1),
            "gradient_threshold": number(0),
            "small": above(0),
            "dead_opacity": number(0, 1),
            "reset_interval": number(0, 1),
            "reset_steps": whole(1),
            "reset_opacity": between(0, 1),
        }
        check_fields(self, limits, prefix="AdcConfig.")


class Adc:
    """A `Densifier` that remembers how hard the photos pulled at each Gaussian since the last densification."""

    def __init__(self, max_gaussians: int, config: AdcConfig = AdcConfig()) -> None:
        """Begin.

        Raises:
            InputError: The cap is no number of Gaussians.
        """
        self.max_gaussians = max_gaussians
        self.config = config
        check_fields(self, {"max_gaussians": whole(1)}, prefix="Adc.")
        self._forget(0, torch.device("cpu"))
        self.reset_step, self.reset_fraction = 0, 0.0

    def before_update(self, state: SplatState, gradient: PhotoGradient, context: StepContext) -> None:
        """Add up the gradients on the screen; those that are not finite do not count."""
        if context.fraction > self.config.until:
            return
        if len(self.views) != len(state) or self.views.device != state.device:
            self._forget(len(state), state.device)
        x, y = gradient.means_px.unbind(1)
        x, y = x * (gradient.view.width / 2), y * (gradient.view.height / 2)
        pulls = (x * x + y * y).sqrt()
        counted = context.visible & pulls.isfinite()
        self.pulls += torch.where(counted, pulls, 0)
        self.views += counted

    def after_update(self, state: SplatState, context: StepContext) -> SplatState:
        """At every interval drop, copy and split; now and then reset the opacities."""
        config = self.config
        if context.fraction > config.until or context.step < config.start_step:
            return state
        if context.step % config.interval == 0:
            state = self._densified(state, context)
            self._forget(len(state), state.device)
        if self._reset_is_due(context):
            reset_opacities(state, config.reset_opacity)
            self.reset_step, self.reset_fraction = context.step, context.fraction
        return state

    def tensors(self) -> dict[str, Tensor]:
        """Its memory, for a checkpoint."""
        last_reset = torch.tensor([self.reset_step, self.reset_fraction], dtype=torch.float64)
        return {"pulls": self.pulls, "views": self.views, "last_reset": last_reset}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: The memory is that of another densifier.
        """
        check_memory(self, tensors)
        self.pulls, self.views = tensors["pulls"], tensors["views"]
        step, self.reset_fraction = tensors["last_reset"].cpu().tolist()
        self.reset_step = int(step)

    def _forget(self, count: int, device: torch.device) -> None:
        self.pulls: Tensor = torch.zeros(count, device=device)
        self.views: Tensor = torch.zeros(count, device=device)

    def _reset_is_due(self, context: StepContext) -> bool:
        steps, fraction = context.step - self.reset_step, context.fraction - self.reset_fraction
        return steps >= self.config.reset_steps and fraction >= self.config.reset_interval

    def _densified(self, state: SplatState, context: StepContext) -> SplatState:
        alive = opacities_of(state) >= self.config.dead_opacity
        wanted = self._wanted(alive)
        size = state.gaussians.log_scales.amax(dim=1).cpu().numpy()
        large = np.zeros(len(state), dtype=bool)
        large[wanted] = size[wanted] > log(self.config.small * context.extent)
        whole = state.gaussians[rows_of(state, np.flatnonzero(large))]
        copies = state.gaussians[rows_of(state, wanted[~large[wanted]])]
        parts = split(whole, generator(context.seed, Purpose.SPLIT, context.step))
        return state.select(rows_of(state, np.flatnonzero(alive & ~large))).append(copies).append(parts)

    def _wanted(self, alive: Bool[np.ndarray, "N"]) -> Int64[np.ndarray, "M"]:
        """Those pulled harder than the threshold; where the cap leaves no room for all, the hardest pulled."""
        pull = (self.pulls / self.views.clamp(min=1)).cpu().numpy()
        above = np.flatnonzero(alive & (pull > self.config.gradient_threshold))
        room = max(0, self.max_gaussians - int(alive.sum()))
        return above[np.argsort(-pull[above], kind="stable")[:room]]


def split(gaussians: Gaussians, random: np.random.Generator) -> Gaussians:
    """Each Gaussian's smaller parts, at places drawn from its own distribution, on the host as all that is drawn."""
    parts = gaussians.map(lambda tensor: tensor.repeat(PARTS, *(1,) * (tensor.dim() - 1)))
    along_axes = random.standard_normal((len(parts), 3), dtype=np.float32) * np.exp(parts.log_scales.cpu().numpy())
    offsets = torch.from_numpy(rotated(along_axes, parts.quats_wxyz.cpu().numpy())).to(parts.device)
    return replace(parts, means_world=parts.means_world + offsets, log_scales=parts.log_scales + log(PART_SIZE))


def rotated(vectors: Float32[np.ndarray, "M 3"], quats_wxyz: Float32[np.ndarray, "M 4"]) -> Float32[np.ndarray, "M 3"]:
    """Vectors turned by quaternions of any length but 0."""
    unit = quats_wxyz / np.sqrt((quats_wxyz * quats_wxyz).sum(axis=1, keepdims=True))
    w, axis = unit[:, :1], unit[:, 1:]
    twice = 2 * np.cross(axis, vectors)
    return vectors + w * twice + np.cross(axis, twice)


def reset_opacities(state: SplatState, opacity: float) -> None:
    """Make every Gaussian at most that opaque, in place; Adam starts afresh for all opacities."""
    state.gaussians.logit_opacities.clamp_(max=log(opacity / (1 - opacity)))
    state.first_moments.logit_opacities.zero_()
    state.second_moments.logit_opacities.zero_()
