"""Numbers that the host wants to know of a device's steps, without making either wait for the other."""

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Label = TypeVar("Label")


class Letter:
    """Numbers on their way from a device to the host, in the order of the device's work."""

    def __init__(self, numbers: Tensor) -> None:
        """Send them; what the device is asked for from now on, it does behind them."""
        # Pinned memory, which torch takes for such copies by itself.
        self._copy = numbers.to("cpu", non_blocking=True)
        self._mark = None if numbers.is_cpu else _mark(numbers.device)

    def read(self) -> Any:
        """A number, or lists of them, once they have come."""
        if self._mark is not None:
            self._mark.synchronize()
        return self._copy.tolist()


class Readings(Generic[Label]):
    """What steps leave for the host, in their order, each with a label of the host's own.

    On the CPU a number is there at once. A GPU is many steps' launches behind the host, and to ask it for one number
    means to wait until it has caught up and then has nothing left to do. Here numbers travel `batch` at a time into
    memory that the device can write by itself, and are read when the next batch is sent: they come up to 2 * batch
    steps late, and all of them by `drain`.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._waiting: list[tuple[Label, Tensor]] = []
        self._travelling: tuple[list[Label], Letter] | None = None

    def put(self, label: Label, numbers: Tensor) -> list[tuple[Label, Any]]:
        """Leave a tensor, of one shape and dtype in all calls; returns, as lists or numbers, what has arrived."""
        if numbers.is_cpu:
            return [(label, numbers.tolist())]
        self._waiting.append((label, numbers))
        if len(self._waiting) < self.batch:
            return []
        arrived = self._arrived()
        self._send()
        return arrived

    def drain(self) -> list[tuple[Label, Any]]:
        """All that has not been returned yet; the host waits for it."""
        arrived = self._arrived()
        if self._waiting:
            self._send()
        return arrived + self._arrived()

    def _send(self) -> None:
        labels, tensors = zip(*self._waiting, strict=True)
        self._travelling = (list(labels), Letter(torch.stack(tensors)))
        self._waiting = []

    def _arrived(self) -> list[tuple[Label, Any]]:
        if self._travelling is None:
            return []
        (labels, letter), self._travelling = self._travelling, None
        return list(zip(labels, letter.read(), strict=True))


def _mark(device: torch.device) -> torch.cuda.Event:
    """A point in the device's work that the host can wait for."""
    mark = torch.cuda.Event()
    mark.record(torch.cuda.current_stream(device))
    return mark
