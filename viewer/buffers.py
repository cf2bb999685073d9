"""What waits to be sent to a page: viser's buffer of messages, written by many threads, also to pages that are gone.

viser wakes a page's sender from whichever thread writes, which asyncio does not allow: now and then the write fails,
and an update of the page is lost. It wakes it from the sender's own thread, too, a moment later, and that is enough.
It also warns of what is written to a page that is gone; here visitors come and go, and nobody misses it.
"""

import asyncio
from dataclasses import dataclass

from viser.infra import _async_message_buffer as infra


class Signal(asyncio.Event):
    """An event that is set in its loop's own thread alone; elsewhere `set` does nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._home = loop

    def set(self) -> None:
        """Wake who waits, where this is the loop's thread."""
        try:
            is_home = asyncio.get_running_loop() is self._home
        except RuntimeError:  # no loop runs in this thread
            is_home = False
        if is_home:
            super().set()


@dataclass
class Buffer(infra.AsyncMessageBuffer):
    """viser's, which any thread may write to, and which says nothing of pages that are gone."""

    def __post_init__(self) -> None:
        self.message_event = Signal(self.event_loop)
        self._warned_push_after_done = True
