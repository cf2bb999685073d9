"""Each test that asks for `backend` runs on the native operators and on their twins."""

import pytest

from .backends import PACKAGES, Backend, load_backend


@pytest.fixture(params=PACKAGES)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The reference, then the native operators."""
    return load_backend(request.param)


@pytest.fixture
def native() -> Backend:
    """The native operators."""
    return load_backend("native")


@pytest.fixture
def reference() -> Backend:
    """The plain-torch twins."""
    return load_backend("reference")
