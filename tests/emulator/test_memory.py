"""No room: the error says so, and how much was asked for, in words that the command line turns into a remedy."""

from collections.abc import Callable

import pytest
import torch

from neural3d.ops.library import native

CHANNELS = 1 << 40


def blend_too_much(rasterize: Callable) -> None:
    """No Gaussians, one tile, and a picture of 2^48 numbers."""
    offsets, nothing = torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32)
    seen = [torch.zeros(0, *size) for size in ((2,), (3,), (), (CHANNELS,))]
    rasterize(*seen, torch.zeros(1), offsets, nothing, nothing, offsets[:1], 16, 16, 0.0, 0.0, False)


def test_the_cpu_says_that_it_has_no_room():
    with pytest.raises(RuntimeError, match=r"out of memory: no room for 2\.8\d*e\+14 numbers on the CPU"):
        blend_too_much(native().rasterize)


def test_a_gpu_says_that_it_has_no_room(drivers):
    with pytest.raises(RuntimeError, match=r"out of memory: no room for 2\.8\d*e\+14 numbers on the GPU"):
        blend_too_much(drivers.rasterize)
