"""export --format points: in the capture's frame, in parts, and what cannot be."""

from pathlib import Path

import numpy as np
import pytest

from neural3d.cli import main

from .captures import BALL_AT

trimesh = pytest.importorskip("trimesh")


def exported(run: Path, *options: str) -> np.ndarray:
    path = run.parent / "points.ply"
    assert main(["export", str(run), "--format", "points", "--output", str(path), *options]) == 0
    return np.asarray(trimesh.load(path).vertices)


def test_points_lie_in_the_frame_of_the_capture(ball_run: Path):
    found = exported(ball_run, "--max-points", "2000")
    distance = np.linalg.norm(found - BALL_AT.numpy(), axis=1)
    assert 1000 < len(found) <= 2000 and abs(np.median(distance) - 2) < 0.1 and np.abs(distance - 2).max() < 0.4
    assert np.allclose(np.median(exported(ball_run, "--up", "y"), axis=0), [5, 2, 1], atol=0.2)
    assert exported(ball_run, *"--crop 5 -9 -9 9 9 9".split())[:, 0].min() > 4.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "{tmp}/a.obj"], "expected a file of points that ends in .ply"),
        (["--output", "{tmp}/a.ply", "--max-points", "0"], "--max-points 0: expected 1 to"),
        (["--output", "{tmp}/a.ply", *"--crop 90 90 90 91 91 91".split()], "no surface lies in the box"),
        (["--output", "{tmp}/a.ply", *"--crop 9 9 9 1 1 1".split()], "expected the least x y z"),
        (["--output", "{tmp}/a.ply", "--voxel", "1"], "--voxel: this is for other formats"),
        (["--output", "{tmp}/a.ply", "--fps", "4"], "--fps: this is for other formats"),
        (["--output", "{tmp}/a.ply", "--format", "mesh", "--max-points", "9"], "this is for --format points"),
    ],
)
def test_what_cannot_be_is_one_line(ball_run: Path, capsys, options, message: str):
    tmp = ball_run.parent
    capsys.readouterr()
    words = ["export", str(ball_run), "--format", "points", *(word.format(tmp=tmp) for word in options)]
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if " views " not in line]
    assert len(lines) == 1 and message in lines[0]
    assert [path.name for path in tmp.iterdir()] == ["run"]
