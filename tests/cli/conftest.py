"""The capture of the command line's tests."""

from pathlib import Path

import pytest

from neural3d.cli import main

from .captures import SMALL, write_capture


@pytest.fixture(scope="session")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, under a name that breaks careless programs."""
    return write_capture(tmp_path_factory.mktemp("ünï 数据 x'y") / "capture")


@pytest.fixture(scope="session")
def trained(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("runs") / "ünï run"
    assert main(["train", "splat", "--capture", str(capture), "--output", str(path), *SMALL]) == 0
    return path
