"""Runs tasks of `colmap_worker` in a process of their own, and passes their progress on."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neural3d.errors import InputError

LOG_FILE = "colmap.log"
_START = """
import sys
sys.path.append({root!r})
from neural3d.capture.ingest.colmap_worker import main
main()
"""
"""The package is found last, so that it hides no module of others where it is not installed."""


def require_colmap() -> None:
    """Say at once where the library is missing.

    Raises: InputError with the command that installs it.
    """
    if importlib.util.find_spec("pycolmap") is None:
        raise InputError("finding poses needs pycolmap, which is not installed: pip install pycolmap")


def run_task(name: str, work: Path, task: dict[str, Any], report: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Run one task; `report` is told what is done, of how many, and how. The process ends with this call, always.

    Raises: RuntimeError when COLMAP fails, with the end of its log.
    """
    log = work / LOG_FILE
    environment = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": str(max(1, task["threads"]) if task["threads"] > 0 else os.cpu_count()),
    }
    with log.open("ab") as stderr:
        # -P: the folder that we are in must not hide modules of others. A session of its own: Ctrl-C is ours.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START.format(root=str(Path(__file__).parents[3]))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        try:
            return _converse(process, {**task, "name": name, "work": str(work)}, report) or _failed(process, name, log)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _converse(
    process: subprocess.Popen, task: dict[str, Any], report: Callable[[int, int, str], None]
) -> dict[str, Any] | None:
    """Hand over the task and listen to its end; None where the process ended without a result."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(task).encode())
        process.stdin.close()
    except BrokenPipeError:
        return None  # it ended before it read; its log says why
    for line in process.stdout:
        content = json.loads(line)
        if "result" in content:
            return content["result"]
        report(content["done"], content["total"], content.get("note", ""))
    return None


def _failed(process: subprocess.Popen, name: str, log: Path) -> dict[str, Any]:
    status = process.wait()
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = lines[-1][:200] if lines else "it said nothing"
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    memory = "; perhaps the memory was too small" if status == -9 else ""
    raise RuntimeError(f"COLMAP's {name} {how} ({said}){memory}; all it said is in {log}")
