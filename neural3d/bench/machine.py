"""Where, when and of what something was measured."""

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import neural3d
from neural3d.ops.library import native


def provenance() -> dict[str, Any]:
    """What a number must not be quoted without."""
    return {
        "command": command(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "simd": native().simd(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "neural3d": neural3d.__version__,
        "torch": torch.__version__,
        "commit": commit(),
    }


def command() -> str:
    """As it is typed in the checkout; of an absolute path its last name: where things lie helps nobody else."""
    program = Path(sys.argv[0])
    arguments = [Path(each).name if Path(each).is_absolute() else each for each in sys.argv[1:]]
    if program.suffix != ".py":
        return shlex.join([program.name, *arguments])
    checkout = Path(neural3d.__file__).parents[1]
    shown = program.resolve()
    shown = shown.relative_to(checkout) if shown.is_relative_to(checkout) else program
    return shlex.join(["python", str(shown), *arguments])


def machine() -> str:
    """Processor, cores, memory and system in one line."""
    parts = [_processor(), f"{os.cpu_count()} cores"]
    memory = _read("/proc/meminfo", r"MemTotal:\s+(\d+) kB")
    if memory is not None:
        parts.append(f"{int(memory) / 2**20:.0f} GiB")
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}"])


def commit() -> str | None:
    """Of the checkout that the package lies in, with "+changes" where files differ from it; None outside of one."""
    folder = Path(neural3d.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    revision = _git(folder, "rev-parse", "--short=12", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if revision is None else revision + ("+changes" if changes else "")


def peak_memory_bytes() -> int | None:
    """The most memory this process has held since it started; None where the system does not say.

    Limits: outside Linux it counts what the process held before it became this program, too.
    """
    peak = _read("/proc/self/status", r"VmHWM:\s+(\d+) kB")
    if peak is not None:
        return int(peak) * 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * rss_unit_bytes()


def rss_unit_bytes() -> int:
    """Of `ru_maxrss`, which is in KiB but on macOS."""
    return 1 if sys.platform == "darwin" else 1024


def _processor() -> str:
    """The model's name, with family and model numbers where virtual machines hide which one it is."""
    name = _read("/proc/cpuinfo", r"model name\s*: (.+)")
    if name is None:
        return platform.processor() or platform.machine()
    numbers = [_read("/proc/cpuinfo", rf"{key}\s*: (\d+)") for key in ("cpu family", r"model\b")]
    return f"{name} (family {numbers[0]}, model {numbers[1]})"


def _read(path: str, pattern: str) -> str | None:
    """What the pattern finds in a file of the system's, None where there is no such file or line."""
    file = Path(path)
    found = re.search(pattern, file.read_text(encoding="utf-8")) if file.exists() else None
    return None if found is None else found[1].strip()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
