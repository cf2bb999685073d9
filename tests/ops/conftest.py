"""Each test that asks for `backend` runs on the twins and on the native operators with every instruction set."""

from collections.abc import Iterator

import pytest
import torch

from .backends import Backend, load_backend

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")


def native_with(instruction_set: str) -> Iterator[Backend]:
    """The native operators, for the length of a test on one instruction set."""
    native = load_backend("native")
    usual = torch.ops.neural3d.simd()
    try:
        torch.ops.neural3d.set_simd(instruction_set)
    except RuntimeError as error:
        pytest.skip(str(error).splitlines()[0])
    yield native
    torch.ops.neural3d.set_simd(usual)


@pytest.fixture(params=["reference", *INSTRUCTION_SETS])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The reference, then the native operators."""
    if request.param == "reference":
        yield load_backend("reference")
    else:
        yield from native_with(request.param)


@pytest.fixture(params=INSTRUCTION_SETS)
def native(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The native operators."""
    yield from native_with(request.param)


@pytest.fixture
def reference() -> Backend:
    """The plain-torch twins."""
    return load_backend("reference")
