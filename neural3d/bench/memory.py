"""The memory table: what a training holds at most, the command line with everything that it loads."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from neural3d.bench.children import BOUND_TO_STDIN
from neural3d.bench.machine import provenance, rss_unit_bytes
from neural3d.bench.quality import GIB, CaptureSpec, chosen_captures
from neural3d.errors import InputError


def measure_memory(capture: str | None = None, *, seconds: float | None = None) -> dict[str, Any]:
    """Peak resident memory of `neural3d train` on a capture, by default snowmiku where it is at hand.

    Raises:
        InputError: There is no such capture, or the system cannot say (Windows).
        RuntimeError: The training failed; its last line is named.
    """
    if not hasattr(os, "wait4"):
        raise InputError("bench memory: this system does not tell what a process has held; run it on Linux or macOS")
    spec = chosen_captures(None if capture is None else [capture])[-1]
    spec = spec if seconds is None else replace(spec, seconds=seconds)
    with TemporaryDirectory() as folder:
        peak_bytes, facts = _train(spec, Path(folder))
    return {
        "table": "memory",
        "peak_rss_gib": peak_bytes / GIB,
        "capture": spec.name,
        "downscale": spec.downscale,
        "seconds": facts["train_seconds"],
        "steps": facts["step"],
        "num_gaussians": facts["num_gaussians"],
        **provenance(),
    }


def _train(spec: CaptureSpec, folder: Path) -> tuple[int, dict[str, Any]]:
    """Peak memory of the process, which on Linux is at least what this one holds now; and what it printed."""
    arguments = ["--capture", spec.path, "--output", str(folder / "run"), "--downscale", str(spec.downscale)]
    arguments += ["--background", spec.background, "--max-seconds", str(spec.seconds), "--json"]
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        command = [sys.executable, "-c", BOUND_TO_STDIN, "neural3d", "train", "splat", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
        assert process.stdin is not None
        with process.stdin:
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        lines = (folder / "stderr").read_text(encoding="utf-8").strip().splitlines()
        raise RuntimeError(f"the training ended with status {process.returncode}: {lines[-1] if lines else ''}")
    return usage.ru_maxrss * rss_unit_bytes(), json.loads((folder / "stdout").read_text(encoding="utf-8"))
