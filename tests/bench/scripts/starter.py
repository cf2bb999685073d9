"""Starts a process in each of the ways in which measurements do; each computes for ever: python starter.py FOLDER.

As a module it is one of them.
"""

import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "neural3d" / "bench"))  # alone: the whole package takes seconds
from children import BOUND_TO_STDIN, call_in_new_process, end_with_parent


def compute_for_ever(path: str) -> None:
    """Tells who it is first."""
    Path(path).with_suffix(".new").write_text(str(os.getpid()))
    Path(path).with_suffix(".new").rename(path)
    while True:
        sum(range(1000))


def bound(path: str) -> None:
    """As the processes that a soak watches."""
    end_with_parent()
    compute_for_ever(path)


if __name__ == "__main__" and sys.argv[2:] == ["by stdin"]:
    compute_for_ever(sys.argv[1])
if __name__ == "__main__":
    folder = sys.argv[1]
    get_context("spawn").Process(target=bound, args=(f"{folder}/process",)).start()
    command = [sys.executable, "-c", BOUND_TO_STDIN, "starter", f"{folder}/stdin", "by stdin"]
    subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parent)
    call_in_new_process(compute_for_ever, f"{folder}/pool")
