"""What is on show, for all threads: read at any time, changed by one at a time, and each change can be taken back."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from neural3d.viewer.models import History, Models

Change = Callable[[Models], Models]

log = logging.getLogger("neural3d.viewer")


class Document:
    """The models on show, and who wants to hear when they change."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called after each change, from the thread that made it; it must return at once."""
        self._models, self._history, self._lock = Models(), History(), threading.Lock()
        self._on_change = on_change
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="neural3d-edits")
        self.is_training = False
        """While it is, the main model is replaced all the time, and nothing of it can be selected."""

    @property
    def models(self) -> Models:
        """As they are now."""
        return self._models

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return len(self._history) > 0

    def change(self, change: Change, *, undoable: bool = True, step: str | None = None) -> Models:
        """Change what is on show; what is there then. Changes in a row that bear one name are one step back."""
        with self._lock:
            before, self._models = self._models, change(self._models)
            if self._models is before:
                return before
            if undoable:
                self._history.note(before, step)
        self._on_change()
        return self._models

    def later(self, change: Change, *, undoable: bool = True, step: str | None = None) -> None:
        """The same on a thread of its own, one change after another, for who must not wait: the page's event loop."""
        self.run(lambda: self.change(change, undoable=undoable, step=step))

    def run(self, action: Callable[[], object]) -> None:
        """Do something on that thread, once all that was asked for before is done."""
        self._worker.submit(action).add_done_callback(_log_failure)

    def close(self) -> None:
        """Forget what has not begun."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def replace_main(self, change: Change) -> None:
        """Put another main model on show: there is no way back to one that is trained no more."""
        with self._lock:
            before, self._models = self._models, change(self._models)
            if before.names and before.entries[0].model is not self._models.entries[0].model:
                self._history.clear()
        self._on_change()

    def undo(self) -> bool:
        """Take the last change back, all but the crop and what is hidden; False where there was none."""
        with self._lock:
            before = self._history.back()
            if before is None:
                return False
            self._models = before.seen_as(self._models)
        self._on_change()
        return True


def _log_failure(done: Future) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.warning("viewer: a change failed", exc_info=done.exception())
