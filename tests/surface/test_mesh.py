"""Surfaces found in models, against shapes that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from open3d_or_skip import open3d_or_skip
from surface_ball import RADIUS, ball, cameras_around, color_of, exact_view

from neural3d.errors import InputError
from neural3d.export.gltf_reader import accessor_column, open_gltf
from neural3d.export.mesh_files import write_mesh
from neural3d.scene import Similarity
from neural3d.srgb import decode_srgb
from neural3d.surface import open3d_library
from neural3d.surface.cleaning import connected_parts, decimated, without_scraps
from neural3d.surface.fusion import Fusion, fuse, fuse_depths
from neural3d.surface.mesh import Mesh

VOXEL = 0.04


@pytest.fixture(scope="module")
def needs_open3d() -> None:
    open3d_or_skip()


@pytest.fixture(scope="module")
def surface() -> Mesh:
    """Of the exact ball."""
    cameras = cameras_around()
    views = (exact_view(cameras[i]) for i in range(len(cameras)))
    return fuse_depths(views, voxel=VOXEL, truncation=4.0, farthest=9.0)


def corners(mesh: Mesh) -> torch.Tensor:
    return mesh.vertices[mesh.triangles]


def normals(mesh: Mesh) -> torch.Tensor:
    """Twice the triangles' areas long."""
    a, b, c = corners(mesh).unbind(1)
    return torch.linalg.cross(b - a, c - a)


def square(at: float = 0.0) -> Mesh:
    """Two triangles."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) + at
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.rand(4, 3))


def together(first: Mesh, second: Mesh) -> Mesh:
    triangles = torch.cat([first.triangles, second.triangles + len(first.vertices)])
    return Mesh(torch.cat([first.vertices, second.vertices]), triangles, torch.cat([first.colors, second.colors]))


@pytest.mark.usefixtures("needs_open3d")
def test_a_balls_surface_is_its_sphere(surface):
    distance = surface.vertices.norm(dim=1)
    assert (distance - RADIUS).abs().median() < 0.15 * VOXEL
    assert (distance - RADIUS).abs().max() < 0.5 * VOXEL
    area = normals(surface).norm(dim=1).sum() / 2
    assert abs(area / (4 * math.pi) - 1) < 0.02


@pytest.mark.usefixtures("needs_open3d")
def test_pixels_are_where_the_camera_has_them():
    """A ball in the middle of the image lies on the camera's axis; a pixel is 0.045 wide, so half of one would show."""
    camera = cameras_around()[3].scaled(40, 40)
    cap = fuse_depths([exact_view(camera)] * 3, voxel=VOXEL, truncation=4.0, farthest=9.0)
    pose = camera.camera_from_world[0]
    in_camera = cap.vertices @ pose[:3, :3].T + pose[:3, 3]
    center = (in_camera.amax(0) + in_camera.amin(0))[:2] / 2
    assert len(cap) > 500 and center.abs().max() < 0.01


@pytest.mark.usefixtures("needs_open3d")
def test_splats_on_a_sphere_become_that_sphere():
    told = []
    mesh = fuse(ball(), cameras_around(), Fusion(voxel=VOXEL), progress=lambda done, views: told.append((done, views)))
    assert told == [(i + 1, 24) for i in range(24)]
    error = mesh.vertices.norm(dim=1) - RADIUS
    assert error.abs().median() < VOXEL and error.abs().max() < 2 * VOXEL
    assert ((normals(mesh) * corners(mesh).mean(1)).sum(1) > 0).float().mean() > 0.99
    colors = color_of(torch.nn.functional.normalize(mesh.vertices, dim=1))
    assert (mesh.colors - colors).abs().mean() < 0.03


@pytest.mark.usefixtures("needs_open3d")
def test_triangles_wind_anticlockwise_seen_from_outside(surface):
    outward = (normals(surface) * corners(surface).mean(1)).sum(1)
    assert (outward > 0).all()


@pytest.mark.usefixtures("needs_open3d")
def test_vertices_have_the_colours_of_the_views(surface):
    error = (surface.colors - color_of(torch.nn.functional.normalize(surface.vertices, dim=1))).abs()
    assert error.mean() < 0.02 and error.max() < 0.1


@pytest.mark.usefixtures("needs_open3d")
def test_decimating_keeps_the_shape(surface):
    small = decimated(surface, 1000)
    assert 900 < len(small) <= 1000 < len(surface)
    assert (small.vertices.norm(dim=1) - RADIUS).abs().max() < VOXEL
    assert decimated(surface, len(surface)) is surface


@pytest.mark.usefixtures("needs_open3d")
def test_scraps_go_and_what_hangs_together_stays(surface):
    with_scrap = together(surface, square(at=3.0))
    assert len(connected_parts(with_scrap).unique()) == 2
    cleaned = without_scraps(with_scrap)
    assert len(cleaned) == len(surface) and cleaned.vertices.abs().max() < 2
    assert len(without_scraps(together(square(), square(at=3.0)))) == 4


@pytest.mark.usefixtures("needs_open3d")
def test_without_a_surface_there_is_no_mesh():
    clear = replace(ball(200), logit_opacities=torch.full((200,), -9.0))
    with pytest.raises(InputError, match="no view of the model shows a surface"):
        fuse(clear, cameras_around(4))
    with pytest.raises(InputError, match="agree on no surface"):
        fuse(ball(), cameras_around(2), Fusion(voxel=VOXEL))
    with pytest.raises(InputError, match="too small"):
        fuse(ball(), cameras_around(4), Fusion(voxel=1e-5))


def test_a_missing_open3d_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "open3d", None)
    with pytest.raises(InputError, match=r"pip install open3d"):
        open3d_library.require_open3d()


def test_the_box_keeps_what_lies_in_it_with_all_corners():
    mesh = together(square(), square(at=3.0))
    kept = mesh.of_triangles(mesh.inside(torch.tensor([-0.5, -0.5, -0.5]), torch.tensor([1.5, 1.5, 0.5])))
    assert torch.equal(kept.vertices, mesh.vertices[:4]) and torch.equal(kept.triangles, mesh.triangles[:2])
    assert torch.equal(kept.colors, mesh.colors[:4])
    half = mesh.of_triangles(mesh.inside(torch.tensor([-0.5, -0.5, -0.5]), torch.tensor([1.5, 0.5, 0.5])))
    assert len(half) == 0 and len(half.vertices) == 0


def test_a_mesh_moves_with_its_frame():
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    moved = square().moved(Similarity(2.0, turn, torch.tensor([0.0, 0, 5]).double()))
    assert torch.allclose(moved.vertices[1], torch.tensor([0.0, 2, 5]))


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_files_come_back(tmp_path, suffix):
    trimesh = pytest.importorskip("trimesh")
    mesh = together(square(), square(at=3.0))
    write_mesh(tmp_path / f"mesh{suffix}", mesh)
    back = trimesh.load(tmp_path / f"mesh{suffix}", force="mesh", process=False, maintain_order=True)
    found = np.asarray(back.vertices)[np.asarray(back.faces)]
    assert np.allclose(found, corners(mesh).numpy(), atol=1e-6)
    if suffix == ".glb":  # trimesh makes bytes of its colours: another test looks at these
        return
    colors = np.asarray(back.visual.vertex_colors)[np.asarray(back.faces)][..., :3] / 255
    assert np.allclose(colors, mesh.colors[mesh.triangles].numpy(), atol=0.51 / 255)


@pytest.mark.parametrize("suffix", [".usda", ".usdc", ".usdz"])
def test_usd_holds_the_mesh_and_says_what_is_up(tmp_path, suffix):
    pxr = pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom  # noqa: F401

    mesh = square()
    write_mesh(tmp_path / f"mesh{suffix}", mesh, up_axis="Z")
    stage = pxr.Usd.Stage.Open(str(tmp_path / f"mesh{suffix}"))
    assert pxr.UsdGeom.GetStageUpAxis(stage) == "Z"
    prim = pxr.UsdGeom.Mesh(stage.GetPrimAtPath("/World/mesh"))
    assert np.allclose(np.asarray(prim.GetPointsAttr().Get()), mesh.vertices.numpy())
    assert list(prim.GetFaceVertexIndicesAttr().Get()) == mesh.triangles.reshape(-1).tolist()
    light = decode_srgb(mesh.colors).numpy()  # of which USD's colours are
    assert np.allclose(np.asarray(prim.GetDisplayColorPrimvar().Get()), light, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"mesh{suffix}"]


def test_glb_says_what_it_holds(tmp_path):
    """Colours are linear light there, in steps that do not show; the material is no metal, which would be black."""
    mesh = square()
    write_mesh(tmp_path / "mesh.glb", mesh)
    file = open_gltf(tmp_path / "mesh.glb")
    primitive = file.content["meshes"][0]["primitives"][0]
    assert {"POSITION", "COLOR_0"} <= set(primitive["attributes"])
    assert file.content["accessors"][primitive["indices"]]["count"] == 6
    light = accessor_column(file, primitive["attributes"]["COLOR_0"]).values(0, 4)
    assert np.allclose(light[:, :3], decode_srgb(mesh.colors).numpy(), atol=0.51 / 65535) and (light[:, 3] == 1).all()
    assert file.content["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


@pytest.mark.parametrize("name", ["mesh.stl", "mesh", "mesh.png"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="expected a mesh that ends in .ply"):
        write_mesh(tmp_path / name, square())
