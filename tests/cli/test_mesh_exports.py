"""export --format mesh: in the capture's frame, in parts, and what cannot be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from open3d_or_skip import open3d_or_skip
from surface_ball import color_of

from neural3d.cli import main

from .captures import BALL_AT as AT

trimesh = pytest.importorskip("trimesh")
open3d_or_skip()


def exported(run: Path, name: str, *options: str):
    path = run.parent / name
    assert main(["export", str(run), "--output", str(path), "--voxel", "0.16", *options]) == 0
    return trimesh.load(path, force="mesh", process=False)


def test_a_mesh_lies_in_the_frame_of_the_capture(ball_run: Path):
    mesh = exported(ball_run, "a.obj")
    distance = np.linalg.norm(np.asarray(mesh.vertices) - AT.numpy(), axis=1)
    assert abs(np.median(distance) - 2) < 0.16 and np.abs(distance - 2).max() < 0.4


def test_a_glb_stands_upright(ball_run: Path):
    """+z is up in the capture, +y in a glb."""
    center = np.asarray(exported(ball_run, "a.glb", "--format", "mesh").bounds).mean(axis=0)
    assert np.allclose(center, [5, 2, 1], atol=0.1)


def test_a_part_of_the_surface_with_few_triangles(ball_run: Path):
    mesh = exported(ball_run, "a.ply", "--format", "mesh", *"--crop 5 -9 -9 9 9 9".split(), "--triangles", "300")
    assert np.asarray(mesh.vertices)[:, 0].min() > 4.9
    assert 200 < len(mesh.faces) <= 300


@pytest.mark.parametrize("name", ["a.obj", "a.glb"])
def test_a_texture_shows_what_the_cameras_see(ball_run: Path, name: str):
    pytest.importorskip("xatlas")
    mesh = exported(
        ball_run, name, "--format", "mesh", *"--texture 128 --texture-from renders --up keep --triangles 800".split()
    )
    assert len(mesh.visual.uv) == len(mesh.vertices) and len(mesh.faces) <= 800
    found = mesh.visual.to_color().vertex_colors[:, :3] / 255.0
    outward = torch.from_numpy(np.asarray(mesh.vertices) - AT.numpy()).float()
    error = np.abs(found - color_of(torch.nn.functional.normalize(outward, dim=1)).numpy())
    assert error.mean() < 0.04 and np.quantile(error, 0.95) < 0.15
    names = {path.name for path in ball_run.parent.iterdir()} - {"a.unseen.png"}
    assert names == {"run", name} | ({"a.mtl", "a.png"} if name == "a.obj" else set())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "{tmp}/a.stl", "--format", "mesh"], "expected a mesh that ends in .ply"),
        (["--output", "{tmp}/a.obj", "--triangles", "0"], "--triangles 0"),
        (["--output", "{tmp}/a.obj", "--voxel", "0"], "--voxel 0"),
        (["--output", "{tmp}/a.obj", "--texture", "0"], "--texture 0"),
        (["--output", "{tmp}/a.ply", "--format", "mesh", "--texture", "256"], "ends in .obj, .glb"),
        (["--output", "{tmp}/a.obj", "--voxel", "nan"], "--voxel nan"),
        (["--output", "{tmp}/a.obj", "--voxel", "1e-9"], "too small"),
        (["--output", "{tmp}/a.obj", *"--crop 90 90 90 91 91 91".split()], "no surface lies in the box"),
        (["--output", "{tmp}/a.obj", "--spz-version", "4"], "--spz-version"),
        (["--output", "{tmp}/a.obj", "--fps", "4"], "--fps"),
        (["--output", "{tmp}/a.ply", "--voxel", "0.1"], "--voxel: this is for --format mesh"),
    ],
)
def test_what_cannot_be_is_one_line(ball_run: Path, capsys: pytest.CaptureFixture[str], options, message: str):
    tmp = ball_run.parent
    capsys.readouterr()
    assert main(["export", str(ball_run), *(word.format(tmp=tmp) for word in options)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if " views " not in line]
    assert len(lines) == 1 and message in lines[0]
    assert [path.name for path in tmp.iterdir()] == ["run"]
