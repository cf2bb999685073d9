"""How long calls take: medians of many, because other programs and the machine's clock disturb single ones."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from torch.utils._python_dispatch import TorchDispatchMode

from neural3d.ops.library import native

PEAK_ROUNDS = 20_000_000
"""Of the multiply-add loop: some 50 ms."""
_WARM_UP, _PEAKS = 3, 5

Call = Callable[[], object]


def nothing() -> None:
    """To be done between two calls."""


def median_ms(call: Call, repeats: int, *, between: Call = nothing) -> float:
    """Of `repeats` calls, after a few that are not counted; `between` runs before each and is not timed either."""
    return interleaved_ms({"call": call}, repeats, between=between)["call"]


def interleaved_ms(calls: Mapping[str, Call], repeats: int, *, between: Call = nothing) -> dict[str, float]:
    """The median of each, taken in turns so that what disturbs one disturbs the others, too."""
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats + _WARM_UP):
        for name, call in calls.items():
            between()
            start = time.perf_counter()
            call()
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times[_WARM_UP:]) for name, times in taken.items()}


def split_ms(call: Call, repeats: int, *, between: Call = nothing) -> tuple[float, dict[str, float]]:
    """The median time of a call, and what it spends in each native operator, by the operator's name.

    Calls with the stopwatch, which itself takes time between the operators, and without it take turns.
    """
    watch = _Stopwatch()

    def watched() -> None:
        with watch:
            call()

    whole_ms = interleaved_ms({"plain": call, "watched": watched}, repeats, between=between)["plain"]
    calls = repeats + _WARM_UP
    return whole_ms, {name: _median_per_call(times, calls) for name, times in watch.taken_ms.items()}


def fma_peak_gflops() -> float:
    """Multiply-adds (two operations each) a second, in billions, of the threads and the instruction set in use."""
    return statistics.median(native().fma_peak_gflops(PEAK_ROUNDS) for _ in range(_PEAKS))


def _median_per_call(times: list[float], calls: int) -> float:
    """An operator may run several times in a call; the first calls are not counted."""
    each = len(times) // calls
    return statistics.median(sum(times[i * each : (i + 1) * each]) for i in range(_WARM_UP, calls))


class _Stopwatch(TorchDispatchMode):
    """While it is entered, notes how long each native operator takes."""

    def __init__(self) -> None:
        super().__init__()
        self.taken_ms: dict[str, list[float]] = defaultdict(list)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = operator(*args, **(kwargs or {}))
        library, _, name = operator.name().partition("::")
        if library == "neural3d":
            self.taken_ms[name].append(1e3 * (time.perf_counter() - start))
        return result
