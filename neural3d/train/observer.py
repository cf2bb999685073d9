"""What training tells whoever watches, and what they may ask of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Request = Literal["run", "pause", "save", "stop"]
"""save: keep a checkpoint now, and go on asking."""


@dataclass(frozen=True)
class Progress:
    """Where training stands."""

    step: int
    total_steps: int
    fraction: float
    """Of the run, in [0, 1]: by steps or by time, whichever is further."""
    train_seconds: float
    seconds_left: float
    psnr: float | None
    """Of recent training photos, smoothed; None before the first."""
    loss: float
    steps_per_second: float
    num_gaussians: int | None = None
    """None for a field."""
    num_parameters: int | None = None
    """None for splats, whose number says more."""


@runtime_checkable
class TrainingObserver(Protocol):
    """Watches training from its own thread; both methods must return at once."""

    def on_progress(self, progress: Progress, snapshot: Callable[[], Any]) -> None:
        """About four times a second, and at the end.

        `snapshot()` copies the model, Gaussians or a radiance field; call it only when needed.
        """

    def requested(self) -> Request:
        """Asked before every step."""
