"""Processes of measurements: what computes in one of them does not outlive the one that started it."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from neural3d.bench.children import BOUND_TO_STDIN

STARTER = Path(__file__).parent / "scripts" / "starter.py"
WAYS = ("pool", "process", "stdin")


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """As long as a busy machine may take."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def is_computing(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_starter_that_is_killed_leaves_nobody_behind(tmp_path):
    starter = subprocess.Popen([sys.executable, STARTER, tmp_path])
    pids: dict[str, int] = {}
    try:
        wait_until(lambda: all((tmp_path / way).exists() for way in WAYS), "not all have begun")
        pids = {way: int((tmp_path / way).read_text()) for way in WAYS}
        assert all(map(is_computing, pids.values()))
        starter.kill()
        for way, pid in pids.items():
            wait_until(lambda pid=pid: not is_computing(pid), f"{way} is left behind")
    finally:
        starter.kill()
        starter.wait()
        for pid in filter(is_computing, pids.values()):
            psutil.Process(pid).kill()


def test_a_module_that_is_bound_gets_its_arguments_and_keeps_its_status(tmp_path):
    (tmp_path / "told.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    command = [sys.executable, "-c", BOUND_TO_STDIN, "told", "a b", "--c"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout.read() == "['a b', '--c']\n"
        assert process.wait() == 7
