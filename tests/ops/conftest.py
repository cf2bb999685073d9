"""What the tests run on: the twins, the native operators on every instruction set, and the CUDA drivers.

These run on the emulator, and on the GPU where there is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from .backends import BACKENDS, DRIVERS, Backend, load_backend

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")


@dataclass(frozen=True)
class Precision:
    """The native operators as a test shall use them, and how close to the twin in double they must come."""

    native: Backend
    dtype: torch.dtype
    values: str
    grads: str


def load_native_on(instruction_set: str) -> Iterator[Backend]:
    """The native operators, for the length of a test on one instruction set."""
    native = load_backend("native")
    usual = torch.ops.neural3d.simd()
    try:
        torch.ops.neural3d.set_simd(instruction_set)
    except RuntimeError as error:
        pytest.skip(str(error).splitlines()[0])
    yield native
    torch.ops.neural3d.set_simd(usual)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The twins, the native operators, the CUDA drivers."""
    return load_backend(request.param)


@pytest.fixture
def reference() -> Backend:
    """The plain-torch twins."""
    return load_backend("reference")


@pytest.fixture(params=["native", *DRIVERS])
def native(request: pytest.FixtureRequest) -> Backend:
    """The native operators on the best instruction set that this machine has; the CUDA drivers."""
    return load_backend(request.param)


@pytest.fixture(params=[*INSTRUCTION_SETS, *DRIVERS])
def each_native(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The native operators on each instruction set; the CUDA drivers."""
    if request.param in DRIVERS:
        yield load_backend(request.param)
    else:
        yield from load_native_on(request.param)


@pytest.fixture(params=[*(f"{name} double" for name in ("native", *DRIVERS)), *INSTRUCTION_SETS, *DRIVERS])
def precision(request: pytest.FixtureRequest) -> Iterator[Precision]:
    """In double, where loops are the same on every instruction set, and in single on each; the CUDA drivers in both."""
    name, _, double = request.param.partition(" ")
    if double:
        yield Precision(load_backend(name), torch.float64, "float64 twin", "float64 twin")
    else:
        natives = [load_backend(name)] if name in DRIVERS else load_native_on(name)
        for native in natives:
            yield Precision(native, torch.float32, "float32 twin", "float32 gradient")
