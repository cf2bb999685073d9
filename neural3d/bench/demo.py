"""The demo table: how long a stranger waits from a bare clone to a scene, downloads and compiler included."""

import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from neural3d.bench.machine import provenance

_LOOK_SECONDS = 0.1
_LAST_LINES = 5


def measure_demo(repository: Path) -> dict[str, Any]:
    """Clone, `make demo VIEWER=0`, and when its parts were done.

    Raises:
        RuntimeError: It failed; its last lines are named.
    """
    with TemporaryDirectory() as folder:
        clone = Path(folder) / "neural3d"
        begun = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
        installed, done = _run(["make", "demo", "VIEWER=0"], clone, clone / "runs" / "demo")
        metrics = json.loads((clone / "runs" / "demo" / "metrics.json").read_text(encoding="utf-8"))
    return {
        "table": "demo",
        "seconds": done - begun,
        "setup_seconds": installed - begun,
        "train_seconds": metrics["train_seconds"],
        "psnr": metrics["psnr"],
        **provenance(),
    }


def _run(command: list[str], folder: Path, sign: Path) -> tuple[float, float]:
    """When the sign of the program's own beginning appeared, and when all was over."""
    log = folder / "make.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        seen = None
        while process.poll() is None:
            seen = seen or (time.perf_counter() if sign.exists() else None)
            time.sleep(_LOOK_SECONDS)
    ended = time.perf_counter()
    if process.returncode != 0 or seen is None:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = " / ".join(lines[-_LAST_LINES:])
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {last}")
    return seen, ended
