"""Progress on stderr: one line that changes on a terminal, a line now and then elsewhere."""

import io
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from neural3d.train.observer import Progress

PLAIN_SECONDS = 5.0
"""Between two lines where nobody can see a line change."""


class ProgressLine:
    """A `TrainingObserver` that prints."""

    def __init__(self, stream: io.TextIOBase | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._next = 0.0
        self._is_open = False

    def on_progress(self, progress: Progress, snapshot: Callable[[], Any]) -> None:
        """Print, if it is time; the end is always told."""
        now = time.monotonic()
        if self._is_terminal:
            print(f"\r\x1b[K{describe(progress)}", end="", file=self._stream, flush=True)
            self._is_open = True
        elif now >= self._next or progress.fraction >= 1:
            self._next = now + PLAIN_SECONDS
            print(describe(progress), file=self._stream, flush=True)

    def requested(self) -> Literal["run", "pause", "stop"]:
        """No wishes."""
        return "run"

    def close(self) -> None:
        """Let later lines begin below."""
        if self._is_open:
            print(file=self._stream)
            self._is_open = False


def describe(progress: Progress) -> str:
    """One line, at most about 100 characters."""
    parts = [
        f"{100 * progress.fraction:3.0f} %",
        f"step {progress.step:,}/{progress.total_steps:,}",
        *([] if progress.psnr is None else [f"{progress.psnr:.2f} dB"]),
        *([] if progress.num_gaussians is None else [f"{progress.num_gaussians:,} Gaussians"]),
        f"{progress.steps_per_second:.{0 if progress.steps_per_second >= 10 else 1}f} steps/s",
        f"{clock(progress.seconds_left)} left",
    ]
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """83 -> 1:23, 3725 -> 1:02:05."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def say(text: str) -> None:
    """Tell the person; stdout is kept for answers."""
    print(text, file=sys.stderr, flush=True)
