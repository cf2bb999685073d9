"""The raw CUDA drivers: on the emulator, and on the GPU where tests are to run on one."""

from typing import Any

import pytest
from device_operators import operators_on
from ops.backends import DRIVERS

from neural3d.ops.library import native

from .build import emulated_operators


@pytest.fixture(params=DRIVERS)
def drivers(request: pytest.FixtureRequest) -> Any:
    """A namespace of raw operators that take tensors of the CPU."""
    return emulated_operators() if request.param == "emulated" else operators_on("cuda", native())
