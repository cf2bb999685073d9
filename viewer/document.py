"""What is on show, for all threads: read at any time, changed by one at a time, and each change can be taken back."""

import threading
from collections.abc import Callable
from dataclasses import replace

from neural3d.viewer.models import History, Models

Change = Callable[[Models], Models]


class Document:
    """The models on show, and who wants to hear when they change."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called after each change, from the thread that made it; it must return at once."""
        self._models, self._history, self._lock = Models(), History(), threading.Lock()
        self._on_change = on_change
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

    def change(self, change: Change, *, undoable: bool = True) -> Models:
        """Change what is on show; what is there then."""
        with self._lock:
            before, self._models = self._models, change(self._models)
            if undoable:
                self._history.note(before)
        self._on_change()
        return self._models

    def replace_main(self, change: Change) -> None:
        """Put another main model on show: there is no way back to one that is trained no more."""
        with self._lock:
            before, self._models = self._models, change(self._models)
            if before.names and before.entries[0].model is not self._models.entries[0].model:
                self._history.clear()
        self._on_change()

    def undo(self) -> bool:
        """Take the last change back, all but the crop; False where there was none."""
        with self._lock:
            before = self._history.back()
            if before is None:
                return False
            self._models = replace(before, crop=self._models.crop)
        self._on_change()
        return True
