"""Our GLB meshes before real clients: gltf-validator finds no fault with them, Blender opens them where they lie."""

from pathlib import Path

import numpy as np
import pytest
import torch
from surface_ball import color_of, directions

from neural3d.export.mesh_files import write_mesh, write_textured
from neural3d.srgb import decode_srgb
from neural3d.surface.bake import Texture
from neural3d.surface.mesh import Mesh
from neural3d.surface.unwrap import Unwrapped, unwrap

from .blender import probe
from .test_gltf_validator import issues

pytest.importorskip("trimesh")
SIDE = 48


def cap() -> Mesh:
    """An open shell of a ball, of some hundred triangles, away from the origin."""
    rings, sectors = 6, 24
    tilt = torch.linspace(0.2, 1.4, rings)[:, None]
    turn = torch.linspace(0, 2 * torch.pi, sectors + 1)[None, :-1]
    x, y, z = tilt.sin() * turn.cos(), tilt.sin() * turn.sin(), tilt.cos().expand(rings, sectors)
    outward = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    numbers = torch.arange(rings * sectors).view(rings, sectors)
    near, far = numbers[:-1].reshape(-1), numbers[1:].reshape(-1)
    beside, beyond = numbers[:-1].roll(-1, 1).reshape(-1), numbers[1:].roll(-1, 1).reshape(-1)
    triangles = torch.cat([torch.stack([near, far, beyond], 1), torch.stack([near, beyond, beside], 1)])
    return Mesh(outward + torch.tensor([2.0, -1.0, 0.5]), triangles, color_of(outward))


@pytest.fixture(scope="module")
def surface() -> Unwrapped:
    pytest.importorskip("xatlas")
    return unwrap(cap(), SIDE)


@pytest.fixture(scope="module")
def texture() -> Texture:
    everywhere = torch.ones(SIDE, SIDE, dtype=torch.bool)
    colors = (directions(SIDE * SIDE).view(SIDE, SIDE, 3) + 1) / 2
    return Texture(colors, everywhere, everywhere)


def test_the_validator_finds_no_fault_with_a_textured_mesh(tmp_path: Path, surface: Unwrapped, texture: Texture):
    write_textured(tmp_path / "painted.glb", surface, texture)
    assert issues(tmp_path / "painted.glb") == []


def test_blender_opens_them_where_they_lie(tmp_path: Path, surface: Unwrapped, texture: Texture):
    """Blender's +z is up, glTF's +y: it turns by a quarter about x."""
    write_mesh(tmp_path / "plain.glb", cap())
    write_textured(tmp_path / "painted.glb", surface, texture)
    for name, mesh in (("plain.glb", cap()), ("painted.glb", surface.mesh)):
        found = probe("glb", tmp_path / name)
        assert found["triangles"] == len(mesh)
        there = np.array(found["places"]) @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=float)
        ours = mesh.vertices.numpy()
        assert np.abs(np.sort(there, axis=0) - np.sort(ours, axis=0)).max() < 1e-4
        assert found["uv_layers"] == (name == "painted.glb") and len(found["light"]) == (name == "plain.glb")
        for light in found["light"]:
            # Of the corners of triangles, in Blender's order; it keeps them as bytes of display sRGB.
            away = torch.cdist(torch.tensor(light), decode_srgb(mesh.colors))
            assert away.amin(1).max() < 0.01 and away.amin(0).max() < 0.01
        assert found["images"] == ([[SIDE, SIDE]] if name == "painted.glb" else [])
