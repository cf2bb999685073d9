"""The capture of the command line's tests."""

from pathlib import Path

import pytest

from .captures import write_capture


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, under a name that breaks careless programs."""
    return write_capture(tmp_path_factory.mktemp("ünï 数据 x'y") / "capture")
