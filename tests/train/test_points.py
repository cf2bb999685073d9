"""Training neural points: they improve, come and go; where the first ones lie."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.errors import InputError
from neural3d.ops.point_index import index_points
from neural3d.render.fields import render_field
from neural3d.scene import Points
from neural3d.train.fields import field_config_from_json, field_of, require_field_place, train_field
from neural3d.train.points import PointsLearner
from neural3d.train.points_changes import cells_near, kept_rows
from neural3d.train.points_start import PointCloud, first_points, spacing, starts_from_capture, thinned

from .field_runs import SMALL_POINTS as SMALL
from .field_runs import field_psnr, trained
from .small_scenes import make_scene, same, truth


def test_a_fit_improves():
    """From surfaces of a fit of splats to blobs that one recognises; depth and alpha are as the truth's."""
    scene = make_scene(has_alpha=True, points=None)
    config = replace(
        SMALL,
        points_from="auto",
        steps=150,
        samples=12_000,
        splat_steps=100,
        features=32,
        change_steps=50,
        prune_below=0.1,
    )
    learner = PointsLearner(scene, config)
    learner.begin()
    found, first = train_field(scene, config).field, learner.snapshot()
    white = torch.ones(3)
    assert field_psnr(found, scene, white) > max(16.5, field_psnr(first, scene, white) + 5)
    seen = render_field(found, scene.cameras[0])
    solid = scene.photos[0].alpha > 200
    empty = scene.photos[0].alpha == 0
    alphas = seen.alphas[0, ..., 0]
    assert float(alphas[solid].mean()) > float(alphas[empty].mean()) + 0.4
    assert 0.5 < float(seen.depths[0, ..., 0][solid].median()) < 1.3, "the blobs lie around 1 from the camera"


def test_threads_change_no_byte_of_what_begins_with_splats(tmp_path):
    """In a run in which points come and go."""
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(trained(tmp_path / str(threads), replace(SMALL, points_from="splats")).tensors)
    assert same(*results)
    without = trained(tmp_path / "all", replace(SMALL, points_from="splats", change_from=1.0)).tensors
    assert len(without["points.places"]) != len(results[0]["points.places"]), "no point has come or gone"


def test_what_splats_take_is_training_time():
    """A run whose time they use up takes no step of the field's."""
    slow = replace(SMALL, points_from="splats", max_seconds=0.1, splat_share=0.9)
    result = train_field(make_scene(has_alpha=True), slow)
    assert result.train_seconds > 0.09 and result.completed
    assert result.step < 0.5 * train_field(make_scene(has_alpha=True), replace(SMALL, points_from="splats")).step


def test_the_captures_points_are_taken_where_they_are_dense():
    scene = make_scene(has_alpha=True, points=200)
    assert not starts_from_capture(scene, replace(SMALL, points_from="auto", max_points=201))
    assert starts_from_capture(scene, replace(SMALL, points_from="auto", max_points=200))
    learner = PointsLearner(scene, SMALL)
    learner.begin()
    distance = torch.cdist(learner.index.points, learner.place.grid_places(scene.points.means_world)).amin(dim=1)
    assert len(learner.index) <= 200 and float(distance.median()) < learner.index.radius / 2


def test_points_come_where_something_is_and_go_where_nothing_is():
    """Half of the points are missing and come back; some hang in empty space and go."""
    scene = make_scene(has_alpha=True, points=400)
    config = replace(SMALL, samples=16_000, change_steps=40, change_from=0.0, prune_below=0.2)
    some = scene.points.means_world[scene.points.means_world[:, 0] < 0.1]
    astray = torch.tensor([[0.3, 0.3, 0.36]]) + 0.005 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    means = torch.cat([some, astray])
    learner = PointsLearner(replace(scene, points=Points(means, torch.full((len(means), 3), 128).byte())), config)
    learner.begin()
    before = learner.index.points
    for step in range(130):
        learner.take_step(step, step / 200)
    new = torch.cdist(learner.index.points, before).amin(dim=1) > 0
    gone = torch.cdist(before, learner.index.points).amin(dim=1) > 0
    assert int(new.sum()) > 10 and int(gone.sum()) > 5
    assert len(learner.weights.embeddings) == len(learner.moments["embeddings.first_moments"]) == len(learner.index)


def test_where_no_point_is_sure_all_stay():
    assert kept_rows(torch.tensor([0.3, 0.05, 0.2]), 0.1).tolist() == [0, 2]
    assert kept_rows(torch.tensor([0.03, 0.05]), 0.1).tolist() == [0, 1]


def test_thinned_points_are_means_of_cells():
    places = torch.tensor([[0.11, 0.1, 0.1], [0.13, 0.1, 0.1], [0.5, 0.5, 0.5]])
    cloud = PointCloud(places, torch.tensor([[0.0, 0, 0], [1.0, 1, 1], [1, 0, 0]]))
    found = thinned(cloud, 10, finest=0.1, fewest=1)
    torch.testing.assert_close(found.places, torch.tensor([[0.12, 0.1, 0.1], [0.5, 0.5, 0.5]]))
    assert found.colors[0].tolist() == [0.5, 0.5, 0.5]
    assert len(thinned(cloud, 10, finest=0.1, fewest=2)) == 1 and len(thinned(cloud, 1, finest=0.1, fewest=1)) == 1


def test_cells_near_points_hold_all_that_is_near():
    """Every place within the radius of a point lies in such a cell; most cells are none."""
    learner = PointsLearner(make_scene(has_alpha=True), SMALL)
    learner.begin()
    index = index_points(learner.index.points, 0.03)
    near = cells_near(index, 64)
    aside = torch.nn.functional.normalize(torch.randn(len(learner.index), 50, 3), dim=2)
    places = (index.points[:, None] + 0.03 * aside).view(-1, 3)
    inside = places[((places >= 0) & (places < 1)).all(dim=1)]
    x, y, z = (inside * 64).long().unbind(1)
    assert near[z, y, x].all() and near.float().mean() < 0.5


def test_points_that_are_not_finite_are_left_out():
    scene = make_scene(has_alpha=True, points=200)
    means = scene.points.means_world.clone()
    means[::10] = math.nan
    broken = replace(scene, points=Points(means, scene.points.colors))
    learner = PointsLearner(broken, SMALL)
    with pytest.warns(UserWarning, match="left out 20 of the capture's points, which are not finite"):
        learner.begin()
    assert learner.index.points.isfinite().all()
    nothing = replace(scene, points=Points(torch.full_like(means, math.nan), scene.points.colors))
    with pytest.raises(InputError, match="points_from: the capture has 0 points, neural points need 10"):
        require_field_place(nothing, replace(SMALL, points_from="capture"))


def test_a_fit_of_splats_that_shows_nothing():
    """Photos of nothing: transparent everywhere, but for a few pixels, so that there is a place to look at."""
    scene = make_scene(has_alpha=True, points=None, gaussians=truth(count=2))
    with pytest.raises(InputError, match="a fit of splats found no surface that neural points could lie on"):
        first_points(scene, _place(), replace(SMALL, points_from="splats", splat_steps=1, max_points=10))


def _place():
    learner = PointsLearner(make_scene(has_alpha=True), SMALL)
    learner.begin()
    return learner.place


def test_spacing_is_the_distance_between_neighbours():
    axis = torch.arange(6.0)
    assert spacing(0.1 * torch.cartesian_prod(axis, axis, axis)) == pytest.approx(0.1)


def test_what_another_training_left_is_refused(tmp_path):
    checkpoint = trained(tmp_path / "run", replace(SMALL, steps=1)).checkpoint
    assert field_of(checkpoint, SMALL).shape == SMALL.shape
    with pytest.raises(InputError, match=r"points.embeddings: expected a tensor of"):
        field_of(checkpoint, replace(SMALL, features=32))


@pytest.mark.parametrize(
    "name, value",
    [("features", 17), ("neighbors", 17), ("max_points", 3), ("splat_share", 0.0), ("reach", 0.0)],
)
def test_what_cannot_be_trained_is_refused(name, value):
    with pytest.raises(InputError, match=name):
        replace(SMALL, **{name: value})
    with pytest.raises(InputError, match=name):
        field_config_from_json("points", vars(SMALL) | {name: value})
