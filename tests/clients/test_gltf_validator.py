"""Khronos's validator has nothing against our glTF files."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.export.camera_formats import write_cameras
from neural3d.export.formats import write_splats
from neural3d.export.mesh_files import write_mesh
from neural3d.render.camera_files import CameraPath
from neural3d.scene import Similarity
from neural3d.surface.mesh import Mesh

from .splat_transform import VARIABLE
from .test_splat_transform import scene_gaussians

HERE, SAME = Path(__file__).parent, Similarity.identity()
UNKNOWN_TO_IT = {"MESH_PRIMITIVE_INVALID_ATTRIBUTE", "UNSUPPORTED_EXTENSION"}
"""It does not know KHR_gaussian_splatting, whose attributes have colons in their names."""


def issues(path: Path) -> list[dict]:
    """Errors and warnings, and what it did not look at."""
    modules = Path(os.environ.get(VARIABLE, HERE / "node_modules")).resolve()
    if shutil.which("node") is None or not (modules / "gltf-validator").exists():
        pytest.skip(f"gltf-validator is not in {modules}: run `npm install` in tests/clients, or set {VARIABLE}")
    called = ["node", str(HERE / "gltf_validator.js"), str(modules), str(path)]
    done = subprocess.run(called, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [found for found in json.loads(done.stdout)["messages"] if found["severity"] <= 1]


def test_a_mesh(tmp_path: Path):
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.rand(4, 3))
    write_mesh(tmp_path / "a.glb", mesh)
    assert issues(tmp_path / "a.glb") == []


@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_cameras(tmp_path: Path, suffix: str):
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.arange(3.0)
    size = torch.tensor([[64, 48]]).repeat(3, 1)
    move = CameraPath(Cameras(poses, torch.full((3, 2), 60.0), size / 2, size), 24.0, (1, 2, 3))
    write_cameras(tmp_path / f"a.{suffix}", move, capture_from_scene=SAME)
    assert issues(tmp_path / f"a.{suffix}") == []


def test_splats_but_for_what_it_does_not_know(tmp_path: Path):
    write_splats(tmp_path / "a.glb", scene_gaussians(), capture_from_scene=SAME)
    assert {found["code"] for found in issues(tmp_path / "a.glb")} <= UNKNOWN_TO_IT


def test_a_broken_file_is_found(tmp_path: Path):
    write_splats(tmp_path / "a.glb", scene_gaussians(), capture_from_scene=SAME)
    content = bytearray((tmp_path / "a.glb").read_bytes())
    content[8] ^= 1  # the length of the file
    (tmp_path / "a.glb").write_bytes(content)
    assert {found["code"] for found in issues(tmp_path / "a.glb")} - UNKNOWN_TO_IT
