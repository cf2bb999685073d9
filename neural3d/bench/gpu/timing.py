"""How long work takes on a device: between two of its own events, or by the clock where the device is the CPU."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch

Call = Callable[[], object]
WARM_UP = 5


def device_ms(call: Call, device: torch.device, *, repeats: int) -> float:
    """The median of `repeats` calls, after a few that are not counted."""
    return interleaved_device_ms({"call": call}, device, repeats=repeats)["call"]


def interleaved_device_ms(calls: Mapping[str, Call], device: torch.device, *, repeats: int) -> dict[str, float]:
    """The median of each, taken in turns so that what disturbs one disturbs the others, too."""
    taken: dict[str, list[float]] = defaultdict(list)
    once = _by_events if device.type == "cuda" else _by_clock
    for _ in range(repeats + WARM_UP):
        for name, call in calls.items():
            taken[name].append(once(call))
    return {name: statistics.median(times[WARM_UP:]) for name, times in taken.items()}


def wait_for(device: torch.device) -> None:
    """Return when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak_memory(device: torch.device) -> None:
    """Begin to watch anew how much memory is held."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> float | None:
    """The most that tensors have held on the device since it was forgotten; None on the CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def _by_events(call: Call) -> float:
    """The device is idle before, so that the time counts what the host takes to feed it."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def _by_clock(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)
