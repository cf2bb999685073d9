"""Long runs need no more memory than short ones."""

import os
import sys

import pytest

from neural3d.run import Run

from .small_scenes import make_scene, train

WARM_STEPS, STEPS = 2_000, 20_000


class Memory:
    """An observer that reads what this process holds, every hundred steps."""

    def __init__(self) -> None:
        self.mib: dict[int, float] = {}
        self.step = 0

    def on_progress(self, progress, snapshot) -> None:
        snapshot()

    def requested(self):
        if self.step % 100 == 0:
            with open("/proc/self/statm") as file:
                self.mib[self.step] = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
        self.step += 1
        return "run"


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process holds")
@pytest.mark.parametrize("densify, exposure", [("mcmc", "affine"), ("adc", "bilateral")])
def test_memory_does_not_grow_with_the_steps(densify, exposure, tmp_path):
    memory = Memory()
    with Run.create(tmp_path, {}) as run:
        options = {"densify": densify, "exposure": exposure, "checkpoint_seconds": 1.0}
        assert train(make_scene(), run=run, observers=[memory], steps=STEPS, **options).completed
    assert memory.step == STEPS
    grown = max(mib for step, mib in memory.mib.items() if step >= WARM_STEPS) - memory.mib[WARM_STEPS]
    assert grown < 3
