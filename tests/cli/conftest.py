"""The capture of the command line's tests."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from surface_ball import ball, cameras_around

from neural3d.checkpoints import Checkpoint
from neural3d.cli import main
from neural3d.cli.runs import Trained, Views
from neural3d.scene import Similarity

from .captures import BALL_AT, SMALL, write_capture


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


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture
def ball_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run whose model is a ball: in the capture's frame of radius 2, around `BALL_AT`."""
    cameras = cameras_around(count=16, side=48)
    trained, names = object.__new__(Trained), tuple(str(i) for i in range(len(cameras)))
    frame = Similarity(2.0, torch.eye(3, dtype=torch.float64), BALL_AT)
    views = Views(cameras, names, torch.tensor([0]), torch.tensor([0.0, 0, 1]), frame, True)
    object.__setattr__(trained, "model", ball(1500))
    object.__setattr__(trained, "views", views)
    object.__setattr__(trained, "checkpoint", Checkpoint(1, {}, {}))
    object.__setattr__(trained, "settings", SimpleNamespace(capture=tmp_path))
    for command in ("mesh_exports", "point_exports"):
        monkeypatch.setattr(f"neural3d.cli.{command}.load_trained", lambda path: trained)
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
