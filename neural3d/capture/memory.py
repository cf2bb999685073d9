"""How large the photos may be: the memory there is, and the downscale that fits it."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from neural3d.capture.lenses import Lens
from neural3d.capture.survey import Placed
from neural3d.errors import InputError

TARGET_SIDE_PX = 1600
"""Longest side that training works on unless told otherwise; more detail than splats of one room resolve."""
SHARE_OF_FREE = 0.25
"""Of the free memory that photos take unless told otherwise; the model and its optimiser need the rest."""
UNKNOWN_FREE_BYTES = 4 * 2**30
"""Where the system does not say how much is free."""


def free_memory_bytes() -> int:
    """Memory that this process may still take: the system's, or its container's where that is less.

    Limits: half of all memory where the system does not say what is free (macOS), a guess of 4 GiB on Windows.
    """
    free = [_linux_available(), *_container_limits()]
    known = [value for value in free if value is not None]
    if known:
        return min(known)
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return UNKNOWN_FREE_BYTES


def _linux_available() -> int | None:
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else None


def _container_limits() -> list[int]:
    """What is left below each cgroup limit (version 2 and 1)."""
    root = Path("/sys/fs/cgroup")
    pairs = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    left = []
    for limit, used in pairs:
        if (root / limit).is_file() and (root / used).is_file():
            words = (root / limit).read_text().strip(), (root / used).read_text().strip()
            if words[0].isdigit() and words[1].isdigit():
                left.append(max(0, int(words[0]) - int(words[1])))
    return left


def target_size(lens: Lens, downscale: float) -> tuple[int, int]:
    """Width and height of a downscaled photo, rounded to whole pixels (halves up)."""
    return max(1, math.floor(lens.width / downscale + 0.5)), max(1, math.floor(lens.height / downscale + 0.5))


def photo_bytes(placed: Sequence[Placed], downscale: float) -> int:
    """Bytes that all photos take once loaded: colours, alpha, validity, light."""
    total = 0
    for entry in placed:
        width, height = target_size(entry.frame.lens, downscale)
        masked = entry.frame.mask_path is not None or not entry.frame.lens.is_pinhole
        total += width * height * (3 + entry.has_alpha + masked + (6 if entry.light_path else 0))
    return total


def choose_downscale(placed: Sequence[Placed], budget_bytes: int) -> float:
    """The smallest whole factor that brings photos to about TARGET_SIDE_PX and into the budget."""
    longest = max(max(entry.frame.lens.width, entry.frame.lens.height) for entry in placed)
    # 10 % more is let through: a downscale of 2 would then leave little more than half of what was aimed at.
    factor = max(1, math.ceil(longest / (1.1 * TARGET_SIDE_PX)))
    while photo_bytes(placed, float(factor)) > budget_bytes and factor < longest:
        factor += 1
    return float(factor)


def require_memory(placed: Sequence[Placed], downscale: float, budget_bytes: int, source: Path) -> None:
    """Refuse photos that do not fit, before any is decoded.

    Raises: InputError that names the downscale that fits.
    """
    needed = photo_bytes(placed, downscale)
    if needed > budget_bytes:
        enough = choose_downscale(placed, budget_bytes)
        raise InputError(
            f"{source}: {len(placed)} photos at downscale {downscale:g} take {needed / 1e9:.2f} GB, "
            f"{budget_bytes / 1e9:.2f} GB may be used; choose downscale {enough:g} or more"
        )
