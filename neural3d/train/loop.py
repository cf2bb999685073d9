"""What all trainings have in common: time, wishes, telling, saving, logging, and giving up on broken numbers."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.errors import NumericError
from neural3d.run import Run
from neural3d.scene import Similarity
from neural3d.train.observer import Progress, Request, TrainingObserver
from neural3d.train.readings import Readings

PROGRESS_SECONDS = 0.25
LOG_SECONDS = 1.0
PSNR_INTERVAL = 10
POISONED_SHARE = 1e-3
"""Of a model's rows; more non-finite gradients than this, ten steps in a row, end the run."""
POISONED_IN_A_ROW = 10
COUNTS_BATCH = 32
"""Steps whose counts of such gradients a GPU sends to the host together."""


@dataclass(frozen=True)
class StepOutcome:
    """What a step found, before its update."""

    loss: Float[Tensor, ""]
    squared_error: Float[Tensor, ""]
    """Mean over the pixels that were looked at, the render clamped to [0, 1]."""
    poisoned: Int64[Tensor, ""]
    """Rows that were left alone, as their gradients are not finite."""
    num_rows: int


@dataclass(frozen=True)
class Budget:
    """How long a run lasts, and how often it is saved."""

    steps: int
    max_seconds: float | None
    checkpoint_seconds: float


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    step: int
    train_seconds: float
    completed: bool
    """False when somebody asked to stop before the end."""
    poisoned_steps: int


@runtime_checkable
class Learner(Protocol):
    """A model that learns step by step; what a checkpoint must hold is in `tensors()` and `meta()`."""

    rows_are: str
    """What its rows are, in the plural."""

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look at photos and learn; `step` counts from 0, `fraction` of the run is done."""

    def snapshot(self) -> Any:
        """A copy of the model as it is now."""

    def size(self) -> dict[str, int]:
        """The fields of `Progress` that say how large the model is."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it goes on from."""

    def meta(self) -> dict[str, Any]:
        """What JSON holds of it."""


class TrainingLoop:
    """One run of a learner, until the steps or the time are used up or an observer asks to stop."""

    def __init__(
        self,
        learner: Learner,
        budget: Budget,
        *,
        run: Run | None = None,
        observers: Sequence[TrainingObserver] = (),
        step: int = 0,
        earlier: dict[str, Any] | None = None,
    ) -> None:
        """Begin at `step`, with the `meta` of the checkpoint that it comes from."""
        self.learner, self.budget, self.run, self.observers = learner, budget, run, observers
        self.step = self.told_step = step
        self.saved_step = step or None  # a run that goes on has kept this step; one that begins has kept nothing
        self.earlier_seconds: float = earlier["train_seconds"] if earlier else 0.0
        self.poisoned_steps: int = earlier["poisoned_steps"] if earlier else 0
        self.bad_in_a_row, self.loss, self.steps_per_second = 0, 0.0, 0.0
        self.psnr: float | None = None
        self.counts: Readings[tuple[int, int]] = Readings(COUNTS_BATCH)
        self.notes: Readings[None] = Readings(1)
        self.started = self.saved = self.told = self.logged = time.perf_counter()

    def go(self) -> Ending:
        """Take steps until the end.

        Raises:
            NumericError: The numbers are no longer finite; the last checkpoint stands.
        """
        stopped = False
        while not stopped and self.fraction < 1:
            request = self._requested()
            if request == "pause":
                self._wait()
                continue
            if request == "save":
                self._save_if_kept()
                continue
            stopped = request == "stop"
            if not stopped:
                self._take_step()
                self._tell_and_save()
        self._catch_up()
        if self.told_step != self.step:
            self._tell()
        self._save_if_kept()
        return Ending(self.step, self.train_seconds, not stopped, self.poisoned_steps)

    @property
    def train_seconds(self) -> float:
        """Spent on this run, earlier sittings included and pauses left out."""
        return self.earlier_seconds + time.perf_counter() - self.started

    @property
    def fraction(self) -> float:
        """Of the run: by steps or by time, whichever is further."""
        by_steps = self.step / self.budget.steps
        if self.budget.max_seconds is None:
            return by_steps
        return min(1.0, max(by_steps, self.train_seconds / self.budget.max_seconds))

    def _take_step(self) -> None:
        outcome = self.learner.take_step(self.step, self.fraction)
        if self.step % PSNR_INTERVAL == 0:
            self._note(outcome)
        self.step += 1
        for label, poisoned in self.counts.put((self.step, outcome.num_rows), outcome.poisoned):
            self._guard(*label, poisoned)

    def _guard(self, step: int, num_rows: int, poisoned: int) -> None:
        """Rows with a non-finite gradient are left alone; many of them, again and again, end the run.

        Raises: NumericError.
        """
        self.poisoned_steps += poisoned > 0
        self.bad_in_a_row = self.bad_in_a_row + 1 if poisoned > POISONED_SHARE * num_rows else 0
        if self.bad_in_a_row >= POISONED_IN_A_ROW:
            raise NumericError(
                f"step {step}: {poisoned} of {num_rows} {self.learner.rows_are} got gradients that are not "
                "finite, ten steps in a row; the last checkpoint stands. Check the poses, or lower the learning rates"
            )

    def _note(self, outcome: StepOutcome) -> None:
        """For people: nothing that is trained depends on these two numbers."""
        for _, numbers in self.notes.put(None, torch.stack([outcome.loss, outcome.squared_error])):
            self._remember(*numbers)

    def _remember(self, loss: float, squared_error: float) -> None:
        self.loss = loss
        seen = -10 * math.log10(max(squared_error, 1e-10))
        self.psnr = seen if self.psnr is None else 0.9 * self.psnr + 0.1 * seen

    def _catch_up(self) -> None:
        """Wait for what the steps so far have left, so that nothing is said or kept that they speak against.

        Raises: NumericError.
        """
        for label, poisoned in self.counts.drain():
            self._guard(*label, poisoned)
        for _, numbers in self.notes.drain():
            self._remember(*numbers)

    def _requested(self) -> Request:
        answers = {observer.requested() for observer in self.observers}
        wishes: tuple[Request, ...] = ("stop", "save", "pause")
        return next((wish for wish in wishes if wish in answers), "run")

    def _wait(self) -> None:
        """Paused time is not training time."""
        before = time.perf_counter()
        time.sleep(0.05)
        self.started += time.perf_counter() - before

    def _tell_and_save(self) -> None:
        now = time.perf_counter()
        if now - self.told >= PROGRESS_SECONDS:
            self._tell()
        if self.run is not None and now - self.saved >= self.budget.checkpoint_seconds:
            self._save()

    def _tell(self) -> None:
        now, steps = time.perf_counter(), self.step - self.told_step
        self.steps_per_second = steps / max(now - self.told, 1e-9) if steps else self.steps_per_second
        self.told, self.told_step = now, self.step
        progress = self._progress()
        for observer in self.observers:
            observer.on_progress(progress, self.learner.snapshot)
        if self.run is not None and now - self.logged >= LOG_SECONDS:
            self.logged = now
            self.run.log(asdict(progress))

    def _progress(self) -> Progress:
        seconds, fraction = self.train_seconds, self.fraction
        left = seconds * (1 - fraction) / fraction if fraction > 0 else 0.0
        return Progress(
            step=self.step,
            total_steps=self.budget.steps,
            fraction=fraction,
            train_seconds=seconds,
            seconds_left=left,
            psnr=self.psnr,
            loss=self.loss,
            steps_per_second=self.steps_per_second,
            **self.learner.size(),
        )

    def _save_if_kept(self) -> None:
        # A state that is kept already is not written again: nothing can go wrong with it then.
        if self.run is not None and self.saved_step != self.step:
            self._save()

    def _save(self) -> None:
        self._catch_up()
        meta = {
            **self.learner.meta(),
            "train_seconds": self.train_seconds,
            "fraction": self.fraction,
            "poisoned_steps": self.poisoned_steps,
        }
        self.run.save_checkpoint(self.step, self.learner.tensors(), meta)
        self.saved, self.saved_step = time.perf_counter(), self.step


def frame_meta(capture_from_scene: Similarity) -> dict[str, Any]:
    """The way back to the capture's frame, as every checkpoint holds it."""
    return {
        "capture_from_scene": {
            "scale": capture_from_scene.scale,
            "rotation": capture_from_scene.rotation.tolist(),
            "translation": capture_from_scene.translation.tolist(),
        }
    }
