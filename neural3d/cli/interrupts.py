"""Ctrl-C and SIGTERM: end at once, except where work is saved first."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

if TYPE_CHECKING:
    from neural3d.train.observer import Progress

SLICE_SECONDS = 0.5
"""Longest wait for a signal to be noticed."""


class Interrupted(KeyboardInterrupt):
    """A signal asked to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def wait_for_signal() -> NoReturn:
    """Stay until a signal ends it; in slices, because a wait without an end hears no Ctrl-C on Windows.

    Raises: Interrupted, from the signal's handler.
    """
    while True:
        time.sleep(SLICE_SECONDS)


class Interrupts:
    """Takes the signals while it is entered; also a `TrainingObserver` that passes them on as a wish to stop.

    Inside `graceful` the first signal is only noted, so that training can save itself; a second one ends at once.

    Limits: to be entered in the main thread.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._is_graceful = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """Where whoever works here asks `requested`, saves and returns."""
        self._is_graceful = True
        try:
            yield
        finally:
            self._is_graceful = False

    def raise_if_requested(self) -> None:
        """End now, after a signal that was only noted.

        Raises: Interrupted.
        """
        if self.signal_number is not None:
            raise Interrupted(self.signal_number)

    def on_progress(self, progress: "Progress", snapshot: Callable[[], Any]) -> None:
        """Nothing to show."""

    def requested(self) -> Literal["run", "pause", "stop"]:
        """Stop once a signal has come."""
        return "run" if self.signal_number is None else "stop"

    def _take(self, number: int, frame: FrameType | None) -> None:
        is_first = self.signal_number is None
        self.signal_number = number
        if not (self._is_graceful and is_first):
            raise Interrupted(number)
