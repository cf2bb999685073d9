"""A surface laid out flat, and what cameras see of it in its picture."""

from dataclasses import replace

import pytest
import torch
from surface_ball import cameras_around, color_of, directions, exact_view

from neural3d.surface.bake import Texture, bake
from neural3d.surface.mesh import Mesh
from neural3d.surface.unwrap import Unwrapped, unwrap

pytest.importorskip("xatlas")
pytest.importorskip("open3d", exc_type=ImportError)
SIDE = 256


def polyhedron() -> Mesh:
    """A cube cut twice towards the sphere: 24 * 16 triangles that wind anticlockwise; grey."""
    faces = []
    steps = torch.linspace(-1, 1, 9)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = torch.meshgrid(steps, steps, indexing="ij")
            corners = torch.stack([torch.full_like(u, sign), u, v], dim=-1).roll(axis, dims=-1)
            for i in range(8):
                for j in range(8):
                    quad = [corners[i, j], corners[i + 1, j], corners[i + 1, j + 1], corners[i, j + 1]]
                    quad = quad if sign > 0 else quad[::-1]
                    faces += [torch.stack([quad[0], quad[1], quad[2]]), torch.stack([quad[0], quad[2], quad[3]])]
    points = torch.nn.functional.normalize(torch.cat(faces), dim=-1)
    vertices, numbers = (1e4 * points).round().unique(dim=0, return_inverse=True)
    vertices = torch.nn.functional.normalize(vertices, dim=-1)
    return Mesh(vertices, numbers.reshape(-1, 3), torch.full_like(vertices, 0.5))


@pytest.fixture(scope="module")
def flat() -> Unwrapped:
    return unwrap(polyhedron(), SIDE)


@pytest.fixture(scope="module")
def texture(flat: Unwrapped) -> Texture:
    cameras = cameras_around(24, 96)
    return bake(flat, [exact_view(cameras[i]) for i in range(24)], SIDE)


def looked_up(texture: Texture, uvs: torch.Tensor) -> torch.Tensor:
    """The texels at places, v up."""
    column = (uvs[:, 0] * SIDE).long().clamp(0, SIDE - 1)
    row = ((1 - uvs[:, 1]) * SIDE).long().clamp(0, SIDE - 1)
    return texture.colors[row, column]


def middles(values: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    return values[triangles].mean(dim=1)


def areas(corners: torch.Tensor) -> torch.Tensor:
    a, b, c = corners.unbind(1)
    ab, ac = b - a, c - a
    if corners.shape[-1] == 3:
        return torch.linalg.cross(ab, ac).norm(dim=1) / 2
    return (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2


def test_a_cut_mesh_is_the_same_surface(flat: Unwrapped):
    mesh = polyhedron()
    weights = torch.rand(9, generator=torch.Generator().manual_seed(1)).double()

    def in_order(surface: Mesh) -> torch.Tensor:
        corners = surface.vertices[surface.triangles].flatten(1).double()
        return corners[torch.argsort(corners @ weights)]

    assert torch.allclose(in_order(flat.mesh), in_order(mesh))
    assert flat.uvs.min() >= 0 and flat.uvs.max() <= 1


def test_charts_do_not_overlap_and_have_the_surfaces_proportions(flat: Unwrapped, texture: Texture):
    in_picture, on_surface = areas(flat.uvs[flat.mesh.triangles]).abs(), areas(flat.mesh.vertices[flat.mesh.triangles])
    # With their borders they cover more than their areas, were they one upon another it would be less.
    assert 0.3 < in_picture.sum() < texture.covered.float().mean() < 1
    ratio = in_picture / on_surface
    assert ratio.max() / ratio.min() < 4


def test_a_texel_has_the_colour_of_its_place(flat: Unwrapped, texture: Texture):
    triangles = flat.mesh.triangles
    found = looked_up(texture, middles(flat.uvs, triangles))
    true = color_of(torch.nn.functional.normalize(middles(flat.mesh.vertices, triangles), dim=-1))
    assert (found - true).abs().max() < 0.05 and (found - true).abs().mean() < 0.012


def test_what_no_camera_saw_is_known_and_keeps_the_meshs_colour(flat: Unwrapped):
    cameras = cameras_around(24, 96)
    above = (cameras.centers_world[:, 2] > 2.2).nonzero()[:, 0].tolist()
    texture = bake(flat, [exact_view(cameras[i]) for i in above], SIDE)
    assert (texture.seen <= texture.covered).all()
    unseen = texture.covered & ~texture.seen
    assert unseen.any() and (texture.colors[unseen] - 0.5).abs().max() < 1e-6
    uvs, heights = middles(flat.uvs, flat.mesh.triangles), middles(flat.mesh.vertices, flat.mesh.triangles)[:, 2]
    low = looked_up(replace(texture, colors=texture.seen[..., None].float().expand(-1, -1, 3)), uvs)[:, 0]
    assert low[heights > 0.5].min() == 1 and low[heights < -0.5].max() == 0


def test_what_stands_before_a_surface_hides_it(flat: Unwrapped):
    """A second, larger ball's far wall between the camera and the ball: no texel of the inner one is seen."""
    inner = polyhedron()
    wall = Mesh(1.3 * inner.vertices, inner.triangles.flip(1), inner.colors)
    both = Mesh(
        torch.cat([inner.vertices, wall.vertices]),
        torch.cat([inner.triangles, wall.triangles + len(inner.vertices)]),
        torch.cat([inner.colors, wall.colors]),
    )
    laid = unwrap(both, SIDE)
    cameras = cameras_around(6, 96)
    texture = bake(laid, [exact_view(cameras[i]) for i in range(6)], SIDE)
    uvs = middles(laid.uvs, laid.mesh.triangles)
    inside = middles(laid.mesh.vertices, laid.mesh.triangles).norm(dim=1) < 1.1
    seen = looked_up(replace(texture, colors=texture.seen[..., None].float().expand(-1, -1, 3)), uvs)[:, 0]
    assert seen[inside].max() == 0


def test_one_closer_camera_decides(flat: Unwrapped):
    """Two cameras that disagree: the texel says what the nearer one saw."""
    far, near = cameras_around(24, 96)[0], cameras_around(24, 192)[0]
    red, blue = exact_view(far), exact_view(near)
    red = replace(red, colors=torch.tensor([1.0, 0, 0]).expand_as(red.colors))
    blue = replace(blue, colors=torch.tensor([0.0, 0, 1]).expand_as(blue.colors))
    texture = bake(flat, [red, blue], SIDE)
    facing = torch.argmax(directions(24)[0] @ middles(flat.mesh.vertices, flat.mesh.triangles).T)
    found = looked_up(texture, middles(flat.uvs, flat.mesh.triangles)[facing : facing + 1])[0]
    assert found[2] > 0.9 and found[0] < 0.1
