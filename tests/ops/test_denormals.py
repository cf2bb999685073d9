"""Results below 1e-38 are zero in the loops of the CPU, where each would cost a hundred cycles, and nowhere else."""

import platform

import pytest
import torch

from .backends import load_backend

TINY = 1e-39
"""A denormal float."""


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="only on x86 they cost anything")
@pytest.mark.parametrize("threads", [1, 2])
def test_loops_flush_them_and_give_the_mode_back(threads):
    torch.set_num_threads(threads)
    # Columns as they are in training; enough rows for every thread.
    param, grad, first, second = (torch.full((20_000, 4), value) for value in (1.0, 0.0, TINY, TINY))
    load_backend("native").adam_step(param, grad, first, second, torch.full((4,), 0.1), step=5)
    assert (first == 0).all() and (second == 0).all()
    assert (torch.full((20_000,), 2 * TINY) * 0.5 != 0).all(), "torch must still know denormal numbers"
