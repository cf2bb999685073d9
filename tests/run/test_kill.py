"""SIGKILL at any moment costs at most the steps since the last checkpoint."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from neural3d.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

WRITER = """
import sys, torch
from neural3d.run import Run
run = Run.create(sys.argv[1], {"steps": 10**9})
print("ready", flush=True)
step = 0
while True:
    step += 1
    run.log({"step": step})
    run.save_checkpoint(step, {"x": torch.full((50_000,), float(step))}, {"step": step})
    print(step, flush=True)
"""


def kill_after(path: Path, seconds: float) -> int:
    """Run the writer, kill it `seconds` after its first checkpoint, and return the last step it announced."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    while writer.stdout.readline().strip() != "1":
        assert writer.poll() is None
    time.sleep(seconds)
    os.kill(writer.pid, signal.SIGKILL)
    announced = [line for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    writer.wait()
    writer.stdout.close()
    return int(announced[-1]) if announced else 1


def check_after_kill(path: Path, announced: int) -> None:
    with Run.resume(path) as run:
        found = run.latest_checkpoint()
        assert found is not None and found.skipped == ()
        assert announced <= found.step <= announced + 1
        assert torch.equal(found.tensors["x"], torch.full((50_000,), float(found.step)))
        assert [record["step"] for record in run.read_log()] == list(range(1, found.step + 1))
        run.save_checkpoint(found.step + 1, found.tensors, {})
    assert not [entry for entry in path.rglob(".tmp-*")]


def soak(tmp_path: Path, kills: int) -> None:
    moments = random.Random(0)
    for index in range(kills):
        path = tmp_path / f"run {index}"
        check_after_kill(path, kill_after(path, moments.uniform(0, 0.05)))


def test_a_handful_of_kills(tmp_path: Path) -> None:
    soak(tmp_path, 4)


@pytest.mark.long
def test_two_hundred_kills(tmp_path: Path) -> None:
    soak(tmp_path, 200)
