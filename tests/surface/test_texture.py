"""A surface laid out flat, and what cameras see of it in its picture."""

from dataclasses import replace

import pytest
import torch
from open3d_or_skip import open3d_or_skip
from surface_ball import cameras_around, color_of, directions, exact_view

from neural3d.errors import InputError
from neural3d.scene import Photo
from neural3d.surface.bake import Texture, bake
from neural3d.surface.closing import closed
from neural3d.surface.depth_views import DepthView
from neural3d.surface.fusion import fuse_depths
from neural3d.surface.hidden import Hidden, looked_at, looked_over
from neural3d.surface.membrane import bonds, relaxed
from neural3d.surface.mesh import Mesh
from neural3d.surface.photo_views import photo_view, unhidden
from neural3d.surface.texels import texels_of
from neural3d.surface.unwrap import Unwrapped, unwrap

pytest.importorskip("xatlas")
open3d_or_skip()
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


def test_one_closer_camera_decides_what_varies_fast(flat: Unwrapped):
    """Two cameras that disagree: the details are the nearer one's, the shade is between both."""
    far, near = cameras_around(24, 96)[0], cameras_around(24, 192)[0]
    stripes = [0.5 + 0.4 * (torch.arange(view.size_px[0, 0]) // 3 % 2 * 2 - 1)[:, None, None] for view in (far, near)]
    grey, striped = (exact_view(camera) for camera in (far, near))
    grey = replace(grey, colors=torch.full_like(grey.colors, 0.5))
    striped = replace(striped, colors=stripes[1].expand_as(striped.colors))
    facing = middles(flat.mesh.vertices, flat.mesh.triangles) @ directions(24)[0] > 0.8
    uvs = middles(flat.uvs, flat.mesh.triangles)[facing]
    spread = [looked_up(bake(flat, views, SIDE), uvs).std() for views in ([striped], [grey, striped], [grey])]
    assert spread[1] > 0.85 * spread[0] > 0.2 and spread[2] < 0.01


def test_where_one_camera_takes_over_from_another_there_is_no_step(flat: Unwrapped):
    """Exposures that differ by 0.2: neighbours on the surface differ by far less."""
    cameras = cameras_around(12, 64)
    generator = torch.Generator().manual_seed(2)
    views = [exact_view(cameras[i]) for i in range(12)]
    offsets = 0.2 * (torch.rand(12, generator=generator) - 0.5)
    views = [replace(v, colors=(0.5 + o).expand_as(v.colors)) for v, o in zip(views, offsets, strict=True)]
    texture = bake(flat, views, SIDE)
    points, normals = texels_of(flat, SIDE).points, texture.colors[texture.covered][:, 0]
    near = torch.cdist(points[::37], points[::41]) < 0.03
    steps = (normals[::37][:, None] - normals[::41][None])[near].abs()
    assert near.sum() > 200 and steps.mean() < 0.01 and steps.max() < 0.05


def test_a_photo_stands_in_for_the_render(flat: Unwrapped):
    """Its own exposure taken out, its mask kept, and what it alone shows left out."""
    camera = cameras_around(24, 96)[0]
    view = exact_view(camera)
    pixels = (view.colors * 255 * 0.8).round().byte()
    pixels[:20, 40:60] = 255
    photo = Photo("a.png", pixels, alpha=torch.full((96, 96), 255, dtype=torch.uint8), valid=torch.ones(96, 96) > 0)
    photo.valid[:, :30] = False
    found = photo_view(view, photo, lambda image, render: image / 0.8)
    assert (found.colors - view.colors)[40:, 40:].abs().max() < 0.01
    assert found.depths[:, :30].max() == 0 and torch.equal(found.depths[:, 30:], view.depths[:, 30:])
    assert found.trust[5:15, 45:55].max() < 0.5 * found.trust[50:60, 45:55].min()
    with pytest.raises(ValueError, match="same size"):
        photo_view(exact_view(cameras_around(24, 48)[0]), photo)


def test_a_blurred_photo_counts_less():
    view = exact_view(cameras_around(24, 96)[0])
    noise = torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(1)) * 0.2
    view = replace(view, colors=(view.colors * 0.8 + noise).clamp(0, 1))
    sharp = Photo("a.png", (view.colors * 255).round().byte())
    blurred = torch.nn.functional.avg_pool2d(view.colors.permute(2, 0, 1)[None], 5, 1, 2)[0].permute(1, 2, 0)
    trusts = [photo_view(view, p).trust.mean() for p in (sharp, Photo("b.png", (blurred * 255).round().byte()))]
    assert trusts[0] > 0.9 and trusts[1] < 0.5 * trusts[0]


Closed = tuple[list[DepthView], Mesh, Mesh]


@pytest.fixture(scope="module")
def closed_ball() -> Closed:
    """Views of a ball from above, of few pixels, what they agree on, and that closed."""
    cameras = cameras_around(24, 64)
    above = [exact_view(cameras[i]) for i in (cameras.centers_world[:, 2] > 0.5).nonzero()[:, 0].tolist()]
    above = [replace(view, empty=view.depths == 0) for view in above]
    mesh = fuse_depths(above, voxel=0.08, truncation=4.0, farthest=9.0)
    return above, mesh, closed(mesh, above, triangles=6_000, reach=0.3)


def test_a_ball_seen_from_above_is_closed_below_by_a_bowl_and_not_by_its_whole_shadow(closed_ball: Closed):
    above, mesh, whole = closed_ball
    lowest = [float(m.vertices[:, 2].min()) for m in (mesh, whole)]
    assert lowest[0] - 0.25 < lowest[1] < lowest[0] - 0.05, "nobody saw the cone below to be empty: it ends at -2"
    assert (whole.vertices.norm(dim=1)[whole.vertices[:, 2] > 0.2] - 1).abs().max() < 0.1
    edges = whole.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(dim=1).values
    assert (edges.unique(dim=0, return_counts=True)[1] == 2).float().mean() > 0.97
    with pytest.raises(InputError, match="too few"):
        closed(Mesh(torch.rand(9, 3), torch.zeros(0, 3, dtype=torch.long), torch.rand(9, 3)), above, triangles=99)


def test_what_is_closed_lies_nowhere_that_a_view_saw_to_be_empty(closed_ball: Closed):
    above, _, whole = closed_ball
    cell = 2 / 48
    low, high = whole.vertices.amin(0) - 4 * cell, whole.vertices.amax(0) + 4 * cell
    hidden = looked_over(low, high, cell, above)
    assert hidden.is_seen_through(torch.tensor([[0, 0, 1.12], [1.12, 0, 0.4]])).all()
    below = whole.vertices[:, 2] < -0.3
    assert below.sum() > 300 and hidden.is_seen_through(whole.vertices[below]).float().mean() < 0.01


def test_a_membrane_is_linear_on_a_plane_and_lies_between_what_holds_it():
    x, y = (t.flatten() for t in torch.meshgrid(torch.arange(12.0), torch.arange(12.0) * 0.7, indexing="ij"))
    first = (torch.arange(11)[:, None] * 12 + torch.arange(11)).flatten()
    triangles = torch.cat([first[:, None] + torch.tensor([0, 12, 1]), first[:, None] + torch.tensor([12, 13, 1])])
    edges, weights = bonds(torch.stack([x, y, torch.zeros(144)], dim=1), triangles)
    rim = (x == 0) | (x == 11) | (y == 0) | (y == y.max())
    slope = 0.3 * x - 0.7 * y
    heights = torch.where(rim, slope, torch.rand(144))[:, None]
    found = relaxed(heights, rim, edges, weights)
    assert torch.equal(found[rim], heights[rim]) and (found[:, 0] - slope).abs().max() < 1e-3
    rough = torch.where(rim, torch.rand(144), torch.tensor(5.0))[:, None]
    between = relaxed(rough, rim, edges, weights)[~rim]
    assert rough[rim].min() - 1e-3 < between.min() and between.max() < rough[rim].max() + 1e-3


def test_a_cell_is_seen_through_where_its_neighbours_are_too():
    empty = torch.zeros(5, 5, 5, dtype=torch.bool)
    empty[1:, :, :] = True
    hidden = Hidden(torch.zeros(3), 0.5, empty, ~empty)
    points = torch.tensor([[0.2, 1, 1], [0.7, 1, 1], [1.2, 1, 1], [2.4, 2.4, 2.4], [9, 1, 1]])
    assert hidden.is_seen_through(points).tolist() == [False, False, True, True, True]
    points, normals = hidden.border()
    assert torch.equal(points[:, 0], torch.full((25,), 0.25)) and (normals[:, 0] > 0.9).all()


def test_what_stands_before_a_part_is_none_of_its_surface():
    part = exact_view(cameras_around(24, 96)[0])
    whole = replace(part, depths=part.depths * 1.01)
    whole.depths[:40] *= 0.8
    whole.depths[60:, :10] = 0
    found = unhidden(part, whole).depths
    assert found[:40].max() == 0 and found[60:, :10].max() == 0
    inner = torch.nn.functional.max_pool2d((part.depths[..., 0] == 0).float()[None], 5, 1, 2)[0] == 0
    assert inner[43:57].sum() > 100 and torch.equal(
        found[43:57, :, 0], torch.where(inner, part.depths[..., 0], 0)[43:57]
    )
    assert found[40:42].max() == 0, "what stands before it is blended into its rim"


def test_a_view_sees_through_what_lies_before_its_depth_or_where_nothing_is_and_hides_what_lies_behind():
    camera = cameras_around(24, 96)[0]
    view, center = exact_view(camera), camera.centers_world[0]
    aside = torch.linalg.cross(center, torch.tensor([0.3, 0.5, 0.8]))
    points = torch.stack([0.6 * center, 0.1 * center, -2 * center, 1.4 * aside / aside.norm(), 9 * aside, 2 * center])
    nowhere = 2 * [False]
    through, hidden = looked_at(points, view)
    assert through.tolist() == [True, False, False, False, *nowhere]
    assert hidden.tolist() == [False, True, True, False, *nowhere]
    through, hidden = looked_at(points, replace(view, empty=view.depths == 0))
    assert through.tolist() == [True, False, False, True, *nowhere]


def test_what_no_frame_shows_is_not_solid():
    """Narrow frames from above: their borders, beyond which nobody looked, are no surface over the ball."""
    cameras = cameras_around(24, 64)
    narrow = replace(cameras, focal_px=1.3 * cameras.focal_px)
    views = [exact_view(narrow[i]) for i in (cameras.centers_world[:, 2] > 0.5).nonzero()[:, 0].tolist()]
    views = [replace(view, empty=view.depths == 0) for view in views]
    points, normals = looked_over(torch.full((3,), -1.6), torch.full((3,), 1.6), 0.1, views).border()
    assert points[:, 2].max() < 1.15
    top = points[:, 2] > 0.7
    assert top.sum() > 100 and (points * normals)[top].sum(1).div(points[top].norm(dim=1)).median() > 0.9
