"""Work in pieces that do not depend on the number of threads, so that neither do the bytes of its results.

torch splits sums, matrix products and the rests of vectors by the number of its threads. Here a piece is computed by
one thread from beginning to end, and threads take whole pieces.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def map_pieces(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """The function of each piece, in their order; as many at a time as torch has threads in the caller.

    The function may be called from several threads at once, and torch works with one thread inside it.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(piece) for piece in pieces]
    # A single piece goes there too: the caller's own number stays as it is, which others might be working by, and
    # which threads that begin meanwhile take over.
    return list(_pool(threads).map(function, pieces))


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch has one."""
    with _lock:
        if threads not in _pools:
            _pools[threads] = _started_pool(threads)
        return _pools[threads]


def _started_pool(threads: int) -> ThreadPoolExecutor:
    """All its threads have begun: none is left to set torch's number later.

    The number is each thread's own, but threads that begin later inherit the one that was set last.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="neural3d-pieces", initializer=_work_alone)
    together = threading.Barrier(threads)
    try:
        list(pool.map(lambda _: together.wait(), range(threads)))
    finally:
        torch.set_num_threads(threads)
    return pool


def _work_alone() -> None:
    torch.get_num_threads()  # the first look takes over the number that was set last: it must not come after our own
    torch.set_num_threads(1)
