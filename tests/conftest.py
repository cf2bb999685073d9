"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from device_operators import devices_to_test

REPOSITORY = Path(__file__).parents[1]
DATA_VARIABLE = "NEURAL3D_DATA"

# Users' pipes are buffered; programs that the tests start must cope with that even where this shell asks for none.
os.environ.pop("PYTHONUNBUFFERED", None)


def _data_dir() -> Path:
    return Path(os.environ.get(DATA_VARIABLE, REPOSITORY.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `early` come first."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real captures; a test that asks for it is skipped where it is absent."""
    folder = _data_dir()
    if not folder.is_dir():
        pytest.skip(f"no real captures at {folder}; set {DATA_VARIABLE} to the folder that holds them")
    return folder


@pytest.fixture(params=devices_to_test())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that this machine has, or the one that NEURAL3D_TEST_DEVICE names."""
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def _same_state_for_every_test() -> Iterator[None]:
    """Seed torch, and give the number of threads back: a test's result depends on no other test."""
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
