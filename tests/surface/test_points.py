"""Clouds of points of models, against shapes that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from open3d_or_skip import open3d_or_skip
from surface_ball import RADIUS, ball, cameras_around, color_of
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.point_files import write_points
from neural3d.fields.field import RadianceField, Shaded
from neural3d.fields.rays import Rays
from neural3d.scene import Similarity
from neural3d.surface import thinning
from neural3d.surface.points import SurfacePoints, sized_for, surface_points
from neural3d.surface.thinning import thinned_rows


class BallField:
    """A hard ball; what rays from one camera see may be haze before it, which no other camera sees."""

    num_parameters = 1

    def __init__(self, hazy: Float[Tensor, "3"] | None = None) -> None:
        self.hazy = hazy

    def shade(self, rays: Rays) -> Shaded:
        b = (rays.origins * rays.directions).sum(dim=1)
        inside = b * b - rays.origins.square().sum(dim=1) + RADIUS**2
        distances = torch.where(inside > 0, -b - inside.clamp(min=0).sqrt(), 0)
        if self.hazy is not None:
            distances = torch.where((rays.origins - self.hazy).norm(dim=1) < 1e-4, 0.8 * distances, distances)
        outward = torch.nn.functional.normalize(rays.origins + distances[:, None] * rays.directions, dim=1)
        there = (inside > 0).float()
        return Shaded(there[:, None] * color_of(outward), there, distances)

    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        return torch.where(positions.norm(dim=1) < RADIUS, 1e3, 0.0)


def angles_deg(found: SurfacePoints) -> Float[Tensor, "P"]:
    """Between normals and the way outwards."""
    outward = torch.nn.functional.normalize(found.places, dim=1)
    return torch.rad2deg((outward * found.normals).sum(dim=1).clamp(-1, 1).acos())


def test_points_of_a_field_lie_on_its_surface():
    """Places, normals and colours, on all sides of it."""
    assert isinstance(BallField(), RadianceField)
    told = []
    found = surface_points(
        BallField(), cameras_around(side=80), 3000, progress=lambda done, views: told.append((done, views))
    )
    assert told == [(i + 1, 24) for i in range(24)]
    assert 2000 < len(found) <= 3000
    assert (found.places.norm(dim=1) - RADIUS).abs().max() < 0.01 * RADIUS
    assert angles_deg(found).median() < 2 and angles_deg(found).max() < 15
    outward = torch.nn.functional.normalize(found.places, dim=1)
    assert (found.colors - color_of(outward)).abs().max() < 0.02
    octants = (found.places > 0).long() @ torch.tensor([4, 2, 1])
    assert torch.bincount(octants, minlength=8).min() > 0.7 * len(found) / 8


def test_points_are_evenly_spread():
    places = surface_points(BallField(), cameras_around(side=80), 2000).places
    nearest = (torch.cdist(places, places) + 9 * torch.eye(len(places))).amin(dim=1)
    assert nearest.quantile(0.95) < 2 * nearest.median() and nearest.quantile(0.05) > 0.3 * nearest.median()


def test_points_of_splats_lie_on_their_surface():
    found = surface_points(ball(), cameras_around(side=80), 3000)
    error = (found.places.norm(dim=1) - RADIUS).abs()
    assert error.median() < 0.02 and error.max() < 0.08
    assert angles_deg(found).median() < 5 and angles_deg(found).max() < 40


def test_what_one_view_alone_shows_is_left_out():
    """Haze before one camera has a depth there; the others see through the place."""
    cameras = cameras_around(side=80)
    field = BallField(hazy=cameras.centers_world[5])
    found = surface_points(field, cameras, 3000)
    assert found.places.norm(dim=1).max() < 1.01 * RADIUS
    alone = surface_points(field, cameras[5], 3000)
    assert (alone.places.norm(dim=1) - RADIUS).abs().median() > 0.1, "the haze was not there: the test shows nothing"


def test_few_points_are_made_of_few_pixels():
    """Views are rendered smaller, or some are left out: a field takes seconds for a large picture."""
    cameras = cameras_around(60, side=300)
    many, few, whole = (sized_for(cameras, most) for most in (150_000, 3000, 10_000_000))
    assert len(many) == 60 and int(many.size_px.prod(dim=1).sum()) == pytest.approx(8 * 150_000, rel=0.05)
    assert few.size_px.tolist() == [[128, 128]] * 30, "every second view, as small as they may be"
    assert torch.equal(whole.size_px, cameras.size_px)


def test_a_box_is_filled_with_all_points_that_may_be():
    cameras = cameras_around(side=80)
    whole = surface_points(BallField(), cameras, 1000)
    part = surface_points(BallField(), cameras, 1000, within=lambda places: places[:, 2] > 0.5)
    assert part.places[:, 2].min() >= 0.49
    assert len(part) > 2 * int((whole.places[:, 2] > 0.5).sum())


def test_where_there_is_no_surface_there_are_no_points():
    clear = replace(ball(200), logit_opacities=torch.full((200,), -9.0))
    with pytest.raises(InputError, match="no view of the model shows a surface"):
        surface_points(clear, cameras_around(4), 100)
    with pytest.raises(InputError, match="agree on no surface"):
        far = cameras_around(2, 60)
        surface_points(BallField(hazy=far.centers_world[0]), far, 100)


def test_points_move_with_their_frame():
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    found = SurfacePoints(*torch.eye(3)[[0, 1, 2]].view(3, 1, 3)).moved(
        Similarity(2.0, turn, torch.tensor([0.0, 0, 5]).double())
    )
    assert found.places.tolist() == [[0, 2, 5]] and found.normals.tolist() == [[-1, 0, 0]]


def test_thinned_rows_keep_what_belongs_together():
    """Two cells of three points, in which the means of all columns stand; too few points in a cell are left out."""
    rows = torch.tensor([[0.1, 0.1, 0.1, 1], [5.1, 0, 0, 7], [0.3, 0.1, 0.1, 3], [5.3, 0, 0, 9], [9.0, 9, 9, 0]])
    found = thinned_rows(rows, 10, finest=1.0, fewest=2)
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.1, 0.1, 2], [5.2, 0, 0, 8]]))
    assert len(thinned_rows(rows, 1, finest=1.0, fewest=1)) == 1
    assert thinned_rows(rows[:0], 1, finest=1.0, fewest=1).shape == (0, 4)


@pytest.mark.parametrize("most", range(1, 8))
def test_few_rows_around_the_origin_are_soon_found(monkeypatch, most):
    """Cells that meet at the origin part what lies around it, however large they are."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    rounds, by_cells = [], thinning._by_cells
    monkeypatch.setattr(thinning, "_by_cells", lambda *given: rounds.append(given) or by_cells(*given))
    assert 1 <= len(thinned_rows(corners, most, finest=0.5, fewest=1)) <= most
    assert len(rounds) < 40


@pytest.mark.parametrize("reader", ["open3d", "trimesh"])
def test_other_programs_read_the_file(tmp_path, reader):
    count = 50
    normals = torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
    points = SurfacePoints(torch.randn(count, 3), normals, torch.rand(count, 3))
    write_points(tmp_path / "points.ply", points)
    if reader == "open3d":
        o3d = open3d_or_skip()
        cloud = o3d.io.read_point_cloud(str(tmp_path / "points.ply"))
        places, colors = np.asarray(cloud.points), np.asarray(cloud.colors)
        assert np.allclose(np.asarray(cloud.normals), normals.numpy(), atol=1e-6)
    else:
        cloud = pytest.importorskip("trimesh").load(tmp_path / "points.ply")
        places, colors = np.asarray(cloud.vertices), np.asarray(cloud.colors)[:, :3] / 255
    assert np.allclose(places, points.places.numpy(), atol=1e-6)
    assert np.allclose(colors, points.colors.numpy(), atol=0.51 / 255)
    assert not math.isclose(float(colors.std()), 0)
