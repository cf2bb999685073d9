"""What the tests run on: the twins, the native operators, and these in every precision and on every instruction set."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from .backends import PACKAGES, Backend, load_backend

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


@pytest.fixture(params=PACKAGES)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The twins, then the native operators."""
    return load_backend(request.param)


@pytest.fixture
def reference() -> Backend:
    """The plain-torch twins."""
    return load_backend("reference")


@pytest.fixture
def native() -> Backend:
    """The native operators on the best instruction set that this machine has."""
    return load_backend("native")


@pytest.fixture(params=INSTRUCTION_SETS)
def each_native(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The native operators on each instruction set."""
    yield from load_native_on(request.param)


@pytest.fixture(params=["double", *INSTRUCTION_SETS])
def precision(request: pytest.FixtureRequest) -> Iterator[Precision]:
    """Native in double, whose loops are the same everywhere, and in single on each instruction set."""
    if request.param == "double":
        yield Precision(load_backend("native"), torch.float64, "float64 twin", "float64 twin")
    else:
        for native in load_native_on(request.param):
            yield Precision(native, torch.float32, "float32 twin", "float32 gradient")
