"""Training Gaussian splats: one photo a step, forward, loss, backward, Adam, densify."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError, NumericError
from neural3d.ops.library import native
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.adc import Adc
from neural3d.train.config import SplatConfig
from neural3d.train.densify import Densifier, StepContext
from neural3d.train.exposure import exposure_from_tensors, fresh_exposure
from neural3d.train.gradients import GradientFn, PhotoGradient, photo_gradient
from neural3d.train.initial import initial_gaussians
from neural3d.train.mcmc import Mcmc
from neural3d.train.observer import Progress, Request, TrainingObserver
from neural3d.train.photos import PhotoPyramid, background_color, build_pyramid, photo_index
from neural3d.train.schedule import active_sh_degree, means_rate, parameter_rates, resolution_level
from neural3d.train.state import adam_update, fresh_state, state_from_tensors, state_tensors

__all__ = ["SplatConfig", "TrainResult", "train_splats"]

PROGRESS_SECONDS = 0.25
LOG_SECONDS = 1.0
PSNR_INTERVAL = 10
POISONED_SHARE = 1e-3
"""Of the Gaussians; more non-finite gradients than this, ten steps in a row, end the run."""
GAUSSIANS_PER_PIXEL = 0.25


@dataclass(frozen=True)
class TrainResult:
    """What training leaves."""

    gaussians: Gaussians
    step: int
    train_seconds: float
    completed: bool
    """False when somebody asked to stop before the end."""
    poisoned_steps: int
    """Steps in which some Gaussians' gradients were not finite; those Gaussians were left alone."""


def train_splats(
    scene: Scene,
    config: SplatConfig = SplatConfig(),
    *,
    run: Run | None = None,
    observers: Sequence[TrainingObserver] = (),
    densifier: Densifier | None = None,
    gradient_of: GradientFn = photo_gradient,
) -> TrainResult:
    """Train on the scene's training photos until the steps or the time are used up, or an observer asks to stop.

    `densifier` and `gradient_of` replace what decides over the number of Gaussians, and what renders and pulls back.
    With a `run`, training goes on from its latest checkpoint and keeps new ones there; with a fixed seed and no limit
    on time the result is the same bytes, interrupted or not, on any number of threads.

    Raises:
        InputError: There is nothing to train on.
        NumericError: The numbers are no longer finite; the last checkpoint stands.
    """
    if len(scene.train_indices) == 0:
        raise InputError("the capture has no training photos; give it some, or hold out fewer")
    return _Training(scene, config, run, observers, densifier, gradient_of).go()


def gaussian_cap(scene: Scene, config: SplatConfig) -> int:
    """The hard cap on the number of Gaussians: the one asked for, else a share of a photo's pixels."""
    if config.max_gaussians is not None:
        return config.max_gaussians
    pixels = scene.cameras.size_px.prod(dim=1).float().median()
    return int(min(300_000, max(20_000, GAUSSIANS_PER_PIXEL * float(pixels))))


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


def _densifiers_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("densifier."): t for name, t in tensors.items() if name.startswith("densifier.")}


class _Training:
    """One run of the loop; everything that a checkpoint must hold is in `state`, `exposure`, `densifier` and `step`."""

    def __init__(self, scene, config, run, observers, densifier, gradient_of) -> None:
        native().keep_memory()
        self.scene: Scene = scene
        self.config: SplatConfig = config
        self.run: Run | None = run
        self.observers: Sequence[TrainingObserver] = observers
        self.gradient_of: GradientFn = gradient_of
        cap = gaussian_cap(scene, config)
        self.densifier: Densifier = _densifier(config, cap) if densifier is None else densifier
        self.photos: PhotoPyramid = build_pyramid(scene, config.coarse_levels)
        self.background = config.background if config.background != "auto" else "random" if scene.has_alpha else "black"
        self.exposure = fresh_exposure(config.exposure, self.photos.num_photos)
        self.step, self.earlier_seconds, self.poisoned_steps, self.bad_in_a_row = 0, 0.0, 0, 0
        self.psnr: float | None = None
        checkpoint = run.latest_checkpoint() if run is not None else None
        if checkpoint is None:
            self.state = fresh_state(
                initial_gaussians(
                    scene,
                    max_gaussians=cap,
                    sh_degree=config.sh_degree,
                    antialiased=config.antialiased,
                    seed=config.seed,
                )
            )
        else:
            if densifier is None:
                require_resumable(checkpoint, config, run.path)
            self._load(checkpoint.step, checkpoint.tensors, checkpoint.meta)
        self.loss, self.steps_per_second, self.told_step = 0.0, 0.0, self.step
        self.started = self.saved = self.told = self.logged = time.perf_counter()

    def go(self) -> TrainResult:
        stopped = False
        while not stopped and self.fraction < 1:
            request = self._requested()
            if request == "pause":
                self._wait()
                continue
            stopped = request == "stop"
            if not stopped:
                self._take_step()
                self._tell_and_save()
        if self.told_step != self.step:
            self._tell()
        if self.run is not None:
            self._save()
        return TrainResult(
            self.state.gaussians.clone(), self.step, self.train_seconds, not stopped, self.poisoned_steps
        )

    @property
    def train_seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.started

    @property
    def fraction(self) -> float:
        """Of the run: by steps or by time, whichever is further."""
        by_steps = self.step / self.config.steps
        if self.config.max_seconds is None:
            return by_steps
        return min(1.0, max(by_steps, self.train_seconds / self.config.max_seconds))

    def _take_step(self) -> None:
        fraction, config, seed = self.fraction, self.config, self.config.seed
        index = photo_index(seed, self.step, self.photos.num_photos)
        photo = self.photos.levels[resolution_level(config, fraction, len(self.photos.levels))][index]
        background = background_color(self.background, seed, self.step)
        degree = active_sh_degree(config, fraction)
        exposure = None if self.exposure is None else self.exposure.color_map(index)
        gradient = self.gradient_of(
            self.state.gaussians,
            photo,
            background,
            sh_degree=degree,
            exposure=exposure,
            ssim_weight=config.ssim_weight,
        )
        if self.step % PSNR_INTERVAL == 0:
            self._note(gradient)
        self.step += 1
        self._update(gradient, fraction, degree)
        if self.exposure is not None:
            rate = max(config.rates.exposure * (1 - fraction), 1e-5)
            self.exposure.update(index, gradient.exposure, rate=rate, step=self.step)

    def _update(self, gradient: PhotoGradient, fraction: float, degree: int) -> None:
        visible = gradient.visible
        rates, extent = self.config.rates, self.scene.extent
        context = StepContext(
            self.step, fraction, self.config.seed, extent, means_rate(rates, fraction, extent), visible
        )
        self.densifier.before_update(self.state, gradient, context)
        columns = parameter_rates(rates, fraction, extent, degree, self.state.gaussians.sh.shape[1])
        poisoned = adam_update(self.state, gradient.gaussians, columns, step=self.step, visible=visible)
        self._guard(int(poisoned))
        self.state = self.densifier.after_update(self.state, context)

    def _guard(self, poisoned: int) -> None:
        """Rows with a non-finite gradient are left alone; many of them, again and again, end the run.

        Raises: NumericError.
        """
        self.poisoned_steps += poisoned > 0
        bad = poisoned > POISONED_SHARE * len(self.state)
        self.bad_in_a_row = self.bad_in_a_row + 1 if bad else 0
        if self.bad_in_a_row >= 10:
            raise NumericError(
                f"step {self.step}: {poisoned} of {len(self.state)} Gaussians got gradients that are not finite, "
                "ten steps in a row; the last checkpoint stands. Check the poses, or lower the learning rates"
            )

    def _note(self, gradient: PhotoGradient) -> None:
        """For people: nothing that is trained depends on these two numbers."""
        self.loss = float(gradient.loss)
        seen = -10 * math.log10(max(float(gradient.squared_error), 1e-10))
        self.psnr = seen if self.psnr is None else 0.9 * self.psnr + 0.1 * seen

    def _requested(self) -> Request:
        answers = {observer.requested() for observer in self.observers}
        return "stop" if "stop" in answers else "pause" if "pause" in answers else "run"

    def _wait(self) -> None:
        """Paused time is not training time."""
        before = time.perf_counter()
        time.sleep(0.05)
        self.started += time.perf_counter() - before

    def _tell_and_save(self) -> None:
        now = time.perf_counter()
        if now - self.told >= PROGRESS_SECONDS:
            self._tell()
        if self.run is not None and now - self.saved >= self.config.checkpoint_seconds:
            self._save()

    def _tell(self) -> None:
        now, steps = time.perf_counter(), self.step - self.told_step
        self.steps_per_second = steps / max(now - self.told, 1e-9) if steps else self.steps_per_second
        self.told, self.told_step = now, self.step
        progress = self._progress()
        for observer in self.observers:
            observer.on_progress(progress, self.state.gaussians.clone)
        if self.run is not None and now - self.logged >= LOG_SECONDS:
            self.logged = now
            self.run.log(asdict(progress))

    def _progress(self) -> Progress:
        seconds, fraction = self.train_seconds, self.fraction
        left = seconds * (1 - fraction) / fraction if fraction > 0 else 0.0
        return Progress(
            step=self.step,
            total_steps=self.config.steps,
            fraction=fraction,
            train_seconds=seconds,
            seconds_left=left,
            psnr=self.psnr,
            num_gaussians=len(self.state),
            loss=self.loss,
            steps_per_second=self.steps_per_second,
        )

    def _save(self) -> None:
        exposure = {} if self.exposure is None else self.exposure.tensors()
        own = {f"densifier.{name}": tensor for name, tensor in self.densifier.tensors().items()}
        to_capture = self.scene.capture_from_scene
        meta = {
            "antialiased": self.state.gaussians.antialiased,
            "train_seconds": self.train_seconds,
            "fraction": self.fraction,
            "poisoned_steps": self.poisoned_steps,
            "capture_from_scene": {
                "scale": to_capture.scale,
                "rotation": to_capture.rotation.tolist(),
                "translation": to_capture.translation.tolist(),
            },
        }
        self.run.save_checkpoint(self.step, {**state_tensors(self.state), **exposure, **own}, meta)
        self.saved = time.perf_counter()

    def _load(self, step: int, tensors: dict[str, Tensor], meta: dict) -> None:
        self.state = state_from_tensors(tensors, antialiased=meta["antialiased"])
        self.exposure = exposure_from_tensors(self.config.exposure, tensors)
        self.densifier.load(_densifiers_own(tensors))
        self.step, self.earlier_seconds = step, meta["train_seconds"]
        self.poisoned_steps = meta["poisoned_steps"]
