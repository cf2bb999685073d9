"""Work in pieces that do not depend on the number of threads, so that neither do the bytes of its results.

torch splits sums, matrix products and the rests of vectors by the number of its threads. Here a piece is computed by
one thread from beginning to end, and threads take whole pieces.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_lock = threading.Lock()
_users, _threads_before = 0, 1
_pools: dict[int, ThreadPoolExecutor] = {}


def map_pieces(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """The function of each piece, in their order; as many at a time as torch has threads.

    The function may be called from several threads at once, and torch works with one thread inside it.
    """
    with _single_threaded() as threads:
        if threads == 1 or len(pieces) == 1:
            return [function(piece) for piece in pieces]
        return list(_pool(threads).map(function, pieces))


@contextmanager
def _single_threaded() -> Iterator[int]:
    """One thread for torch while anybody is inside; yields how many there were before."""
    global _users, _threads_before
    with _lock:
        if _users == 0:
            _threads_before = torch.get_num_threads()
            torch.set_num_threads(1)
        _users += 1
        threads = _threads_before
    try:
        yield threads
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.set_num_threads(_threads_before)


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="neural3d-pieces")
        return _pools[threads]
