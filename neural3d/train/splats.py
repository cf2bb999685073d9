"""Training Gaussian splats: one photo a step, forward, loss, backward, Adam, densify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.ops.library import native
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.adc import Adc
from neural3d.train.camera_refinement import RefinedCameras, camera_pull
from neural3d.train.config import SplatConfig
from neural3d.train.densify import Densifier, StepContext
from neural3d.train.exposure import ColorMap, exposure_from_tensors, fresh_exposure
from neural3d.train.few_photos import left_out, thinned
from neural3d.train.gradients import GradientFn, PhotoGradient
from neural3d.train.initial import initial_gaussians
from neural3d.train.loop import Budget, StepOutcome, TrainingLoop, frame_meta
from neural3d.train.mcmc import Mcmc
from neural3d.train.moving_things import MovingThings
from neural3d.train.observer import TrainingObserver
from neural3d.train.photos import TrainingPhoto, background_color, background_kind, build_pyramid, photo_index
from neural3d.train.planned_gradient import engine_gradient
from neural3d.train.schedule import (
    CAMERAS_FROM,
    active_sh_degree,
    camera_rates,
    means_rate,
    parameter_rates,
    resolution_level,
)
from neural3d.train.state import adam_update, fresh_state, state_from_tensors, state_tensors

__all__ = ["SplatConfig", "TrainResult", "train_splats"]

GAUSSIANS_PER_PIXEL = 0.25
FEWEST_GAUSSIANS = 2000
"""That a scene gets, however few points there are."""


@dataclass(frozen=True)
class TrainResult:
    """What training leaves."""

    gaussians: Gaussians
    """On the device that they were trained on."""
    step: int
    train_seconds: float
    completed: bool
    """False when somebody asked to stop before the end."""
    poisoned_steps: int
    """Steps in which some Gaussians' gradients were not finite; those Gaussians were left alone."""
    cameras: Cameras | None = None
    """Of the training photos, as they were refined; None where they were not."""


def train_splats(
    scene: Scene,
    config: SplatConfig = SplatConfig(),
    *,
    run: Run | None = None,
    observers: Sequence[TrainingObserver] = (),
    densifier: Densifier | None = None,
    gradient_of: GradientFn | None = None,
    initial: Gaussians | None = None,
    device: torch.device | str = "cpu",
) -> TrainResult:
    """Train on the scene's training photos until the steps or the time are used up, or an observer asks to stop.

    `densifier` and `gradient_of` replace what decides over the number of Gaussians, and what renders and pulls back
    (our own engine, as fits the device); `initial` the first Gaussians, which else stand on the capture's points
    (`train/field_start.py` makes them of a field).
    With a `run`, training goes on from its latest checkpoint and keeps new ones there; with a fixed seed and no limit
    on time the result is the same bytes, interrupted or not, on any number of threads.

    The scene lies on the CPU; what training needs of it is copied to `device` once, where all steps are done
    (`neural3d.choose_device` finds out which works). Checkpoints fit every device.

    Raises:
        InputError: There is nothing to train on.
        NumericError: The numbers are no longer finite; the last checkpoint stands.
    """
    if len(scene.train_indices) == 0:
        raise InputError("the capture has no training photos; give it some, or hold out fewer")
    native().keep_memory()
    learner = _SplatLearner(scene, config, densifier, gradient_of, initial, torch.device(device))
    checkpoint = run.latest_checkpoint() if run is not None else None
    if checkpoint is None:
        learner.begin()
    else:
        if densifier is None:
            require_resumable(checkpoint, config, run.path)
        learner.load(checkpoint)
    budget = Budget(config.steps, config.max_seconds, config.checkpoint_seconds)
    step, earlier = (0, None) if checkpoint is None else (checkpoint.step, checkpoint.meta)
    ending = TrainingLoop(learner, budget, run=run, observers=observers, step=step, earlier=earlier).go()
    return TrainResult(learner.snapshot(), **vars(ending), cameras=learner.refined_cameras())


def gaussian_cap(scene: Scene, config: SplatConfig) -> int:
    """The hard cap on the number of Gaussians: the one asked for, else a share of a photo's pixels."""
    if config.max_gaussians is not None:
        return config.max_gaussians
    pixels = scene.cameras.size_px.prod(dim=1).float().median()
    by_pixels = int(min(300_000, max(20_000, GAUSSIANS_PER_PIXEL * float(pixels))))
    if config.gaussians_per_point is None or scene.points is None:
        return by_pixels
    by_points = int(config.gaussians_per_point * len(scene.points.means_world))
    return min(by_pixels, max(FEWEST_GAUSSIANS, by_points))


def _densifier(config: SplatConfig, cap: int) -> Densifier:
    return Adc(cap) if config.densify == "adc" else Mcmc(cap)


def require_resumable(checkpoint: Checkpoint, config: SplatConfig, path: Path) -> None:
    """Hold a checkpoint of the run at `path` against a configuration, before anything of the run is touched.

    Raises:
        InputError: It was left by a training of another kind, as with a densifier of one's own.
    """
    try:
        exposure_from_tensors(config.exposure, checkpoint.tensors)
        _densifier(config, 1).load(_densifiers_own(checkpoint.tensors))
    except InputError as error:
        raise InputError(f"{path}/checkpoints/step-{checkpoint.step:08d}: {error}") from error


def kind_of(checkpoint: Checkpoint) -> dict[str, bool]:
    """What is true of all of its Gaussians."""
    # Checkpoints of earlier versions say nothing of light.
    return {"antialiased": bool(checkpoint.meta["antialiased"]), "linear": bool(checkpoint.meta.get("linear", False))}


def _densifiers_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("densifier."): t for name, t in tensors.items() if name.startswith("densifier.")}


class _SplatLearner:
    """A splat model as it learns; everything that a checkpoint must hold is in `state`, `exposure` and `densifier`."""

    rows_are = "Gaussians"

    def __init__(
        self,
        scene: Scene,
        config: SplatConfig,
        densifier: Densifier | None,
        gradient_of: GradientFn | None,
        initial: Gaussians | None,
        device: torch.device,
    ) -> None:
        self.scene, self.config, self.device = scene, config, device
        self.gradient_of = engine_gradient(device) if gradient_of is None else gradient_of
        self.initial = initial
        self.cap = gaussian_cap(scene, config)
        self.densifier: Densifier = _densifier(config, self.cap) if densifier is None else densifier
        self.photos = build_pyramid(scene, config.coarse_levels, device)
        self.background = background_kind(config.background, has_alpha=scene.has_alpha)
        self.exposure = fresh_exposure(config.exposure, self.photos.num_photos, device)
        self.cameras = RefinedCameras.identity(scene, device) if config.refine_cameras else None
        self.moving = MovingThings.fresh(device) if config.ignore_moving else None

    def begin(self) -> None:
        """Make the first Gaussians.

        Raises: InputError where there is no place for them.
        """
        config, gaussians = self.config, self.initial
        if gaussians is None:
            gaussians = initial_gaussians(
                self.scene,
                max_gaussians=self.cap,
                sh_degree=config.sh_degree,
                antialiased=config.antialiased,
                seed=config.seed,
            )
        self.state = fresh_state(replace(gaussians, linear=self.scene.is_linear).to(self.device))

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, which lies on the CPU."""
        tensors = {name: tensor.to(self.device) for name, tensor in checkpoint.tensors.items()}
        self.state = state_from_tensors(tensors, **kind_of(checkpoint))
        self.exposure = exposure_from_tensors(self.config.exposure, tensors)
        self.densifier.load(_densifiers_own(tensors))
        if self.cameras is not None:
            self.cameras = self.cameras.loaded(tensors)
        if self.moving is not None:
            self.moving = MovingThings.loaded(tensors)

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look at one photo."""
        config, seed = self.config, self.config.seed
        index = photo_index(seed, step, self.photos.num_photos)
        photo = self.photos.levels[resolution_level(config, fraction, len(self.photos.levels))][index]
        if self.cameras is not None:
            photo = replace(photo, view=self.cameras.view(index, photo.view))
        background = background_color(self.background, seed, step, self.device)
        degree = active_sh_degree(config, fraction)
        exposure = None if self.exposure is None else self.exposure.color_map(index)
        gradient = self._gradient(photo, background, exposure, degree, step, fraction)
        num_rows = len(self.state)
        if self.cameras is not None and fraction >= CAMERAS_FROM:
            rates = camera_rates(config.rates, fraction, self.device)
            self.cameras.update(index, camera_pull(self.state.gaussians, gradient), rates, step=step + 1)
        poisoned = self._update(gradient, step + 1, fraction, degree)
        if self.exposure is not None:
            rate = max(config.rates.exposure * (1 - fraction), 1e-5)
            self.exposure.update(index, gradient.exposure, rate=rate, step=step + 1)
        return StepOutcome(gradient.loss, gradient.squared_error, poisoned, num_rows)

    def _gradient(
        self,
        photo: TrainingPhoto,
        background: Tensor,
        exposure: ColorMap | None,
        degree: int,
        step: int,
        fraction: float,
    ) -> PhotoGradient:
        """Of all Gaussians, or of those that this step keeps."""
        config, gaussians = self.config, self.state.gaussians
        share = config.drop_share * fraction
        factors = None
        if share > 0:
            dropped = left_out(len(gaussians), share, config.seed, step, self.device)
            gaussians, factors = thinned(gaussians, dropped, share)
        options = {"sh_degree": degree, "exposure": exposure, "ssim_weight": config.ssim_weight}
        if config.bend_weight > 0:
            options["bend_weight"] = config.bend_weight
        if self.moving is not None:
            known = {"before": self.moving.typical.clone(), "photo": photo, "background": background}
            options["believed"] = partial(self.moving.believed, fraction=fraction, **known)
        gradient = self.gradient_of(gaussians, photo, background, **options)
        if factors is not None:
            gradient.gaussians.logit_opacities.mul_(factors)
        return gradient

    def _update(self, gradient: PhotoGradient, step: int, fraction: float, degree: int) -> Tensor:
        visible = gradient.visible
        rates, extent = self.config.rates, self.scene.extent
        context = StepContext(step, fraction, self.config.seed, extent, means_rate(rates, fraction, extent), visible)
        self.densifier.before_update(self.state, gradient, context)
        columns = parameter_rates(rates, fraction, extent, degree, self.state.gaussians.sh.shape[1], self.device)
        poisoned = adam_update(self.state, gradient.gaussians, columns, step=step, visible=visible)
        self.state = self.densifier.after_update(self.state, context)
        return poisoned

    def refined_cameras(self) -> Cameras | None:
        """Of the training photos, where they are refined."""
        given = self.scene.cameras[self.scene.train_indices]
        return None if self.cameras is None else self.cameras.cameras(given)

    def snapshot(self) -> Gaussians:
        """A copy of the Gaussians."""
        return self.state.gaussians.clone()

    def size(self) -> dict[str, int]:
        """How many there are."""
        return {"num_gaussians": len(self.state)}

    def tensors(self) -> dict[str, Tensor]:
        """Gaussians, Adam's moments, exposure, and what the densifier remembers."""
        exposure = {} if self.exposure is None else self.exposure.tensors()
        own = {f"densifier.{name}": tensor for name, tensor in self.densifier.tensors().items()}
        cameras = {} if self.cameras is None else self.cameras.tensors()
        moving = {} if self.moving is None else self.moving.tensors()
        return {**state_tensors(self.state), **exposure, **own, **cameras, **moving}

    def meta(self) -> dict[str, Any]:
        """What kind of splats they are, and the way back to the capture's frame."""
        gaussians = self.state.gaussians
        kind = {"antialiased": gaussians.antialiased, "linear": gaussians.linear}
        return {**kind, **frame_meta(self.scene.capture_from_scene)}
