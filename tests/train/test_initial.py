"""Where the first Gaussians stand."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.errors import InputError
from neural3d.ops.neighbors import neighbor_distances
from neural3d.scene import Points
from neural3d.train import initial
from neural3d.train.initial import initial_gaussians

from .small_scenes import SH_DC, is_finite, make_scene, same, truth


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch):
    monkeypatch.setattr(initial, "CANDIDATES", 10_000)


def start(scene, *, max_gaussians: int = 500, sh_degree: int = 1, seed: int = 0):
    gaussians = initial_gaussians(scene, max_gaussians=max_gaussians, sh_degree=sh_degree, antialiased=False, seed=seed)
    assert is_finite(gaussians)
    return gaussians


def test_points_give_places_sizes_and_colours():
    scene = make_scene(points=40)
    gaussians = start(scene)
    assert torch.equal(gaussians.means_world, scene.points.means_world)
    gaps = neighbor_distances(scene.points.means_world, 3).clamp(max=0.2)
    assert torch.allclose(gaussians.log_scales.exp(), gaps[:, None].expand(-1, 3))
    colors = 0.5 + SH_DC * gaussians.sh[:, 0]
    assert torch.allclose(colors, scene.points.colors / 255, atol=1e-6)
    assert not gaussians.sh[:, 1:].any() and gaussians.sh.shape == (40, 4, 3)
    assert torch.allclose(gaussians.logit_opacities.sigmoid(), torch.tensor(0.3))


def test_sizes_stay_within_the_scene():
    """Points on one another and points far away, as structure from motion finds them."""
    means = torch.zeros(12, 3)
    means[8:] = torch.eye(3).repeat(2, 1)[:4] * torch.tensor([[100.0], [200.0], [300.0], [400.0]])
    scene = replace(make_scene(), points=Points(means, torch.zeros(12, 3, dtype=torch.uint8)))
    sizes = start(scene).log_scales.exp()
    assert sizes[:8].max() < 1e-5 and sizes[8:].max() < 0.21


def test_the_cap_holds_and_the_choice_follows_the_seed():
    scene = make_scene(points=400)
    one, again, other = (start(scene, max_gaussians=100, seed=seed).tensors() for seed in (0, 0, 1))
    assert len(one["means_world"]) == 100
    assert same(one, again) and not same(one, other)
    assert {tuple(mean) for mean in one["means_world"].tolist()} <= {
        tuple(mean) for mean in scene.points.means_world.tolist()
    }


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_too_few_points_are_replaced_with_a_warning(count):
    scene = make_scene(points=count)
    with pytest.warns(UserWarning, match=f"only {count} points"):
        gaussians = start(scene)
    assert same(gaussians.tensors(), start(replace(scene, points=None)).tensors())


@pytest.mark.parametrize("points", [None, 0])
def test_without_points_random_ones_stand_in_the_common_view(points):
    scene = make_scene(points=points)
    gaussians = start(scene)
    assert len(gaussians) == 500
    seen = views_of(scene, gaussians.means_world)
    assert seen.min() >= 4 and gaussians.means_world.std(dim=0).min() > 0.1


def views_of(scene, points):
    """By how many photos each point is seen."""
    seen = torch.zeros(len(points))
    for pose, focal, principal in zip(
        scene.cameras.camera_from_world, scene.cameras.focal_px, scene.cameras.principal_px, strict=True
    ):
        x = points @ pose[:3, :3].T + pose[:3, 3]
        pixel = focal * x[:, :2] / x[:, 2:] + principal
        seen += ((x[:, 2] > 0) & (pixel > 0).all(dim=1) & (pixel < torch.tensor([48, 40])).all(dim=1)).float()
    return seen


def test_random_points_take_the_photos_mean_colour():
    scene = make_scene(points=None)
    for i, photo in enumerate(scene.photos):
        photo.pixels.copy_(torch.tensor([200, 10 * i, 0], dtype=torch.uint8).expand_as(photo.pixels))
    colors = 0.5 + SH_DC * start(scene).sh[:, 0]
    assert torch.allclose(colors[:, 0], torch.tensor(200 / 255)) and not colors[:, 2].round(decimals=5).any()
    assert colors[:, 1].min() >= 0 and colors[:, 1].max() <= 70 / 255


@pytest.mark.parametrize("size", [0.05, 0.2])
def test_alpha_carves_the_visual_hull(size):
    """One ball: every first Gaussian stands in it, or where all cones of vision through it meet."""
    ball = truth(1)
    ball.means_world.copy_(torch.tensor([[0.1, -0.05, 0.1]]))
    ball.log_scales.fill_(math.log(size / 2.5))
    ball.logit_opacities.fill_(5.0)
    gaussians = start(make_scene(16, has_alpha=True, points=None, gaussians=ball))
    distances = (gaussians.means_world - ball.means_world).norm(dim=1)
    assert len(gaussians) > 50
    assert distances.quantile(0.9) < 2.5 * size and distances.max() < 6 * size


def test_one_photo_is_enough():
    gaussians = start(make_scene(1, points=None))
    assert len(gaussians) == 500
    assert views_of(make_scene(1), gaussians.means_world).min() == 1


@pytest.mark.parametrize("points", [40, None])
def test_one_gaussian_is_enough(points):
    gaussians = start(make_scene(points=points), max_gaussians=1)
    assert gaussians.log_scales.exp().flatten().tolist() == pytest.approx([0.2] * 3)


def test_a_thing_too_thin_to_be_hit_starts_somewhere_all_the_same():
    scene = make_scene(points=None)
    hidden = tuple(replace(photo, alpha=torch.zeros(40, 48, dtype=torch.uint8)) for photo in scene.photos)
    gaussians = start(replace(scene, photos=hidden, has_alpha=True))
    assert len(gaussians) == 500 and views_of(scene, gaussians.means_world).min() >= 4


def outwards(scene):
    """Each camera turned round where it stands."""
    turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    return replace(scene, cameras=replace(scene.cameras, camera_from_world=turn @ scene.cameras.camera_from_world))


def test_cameras_that_look_outwards_start_around_them():
    scene = outwards(make_scene(points=None))
    gaussians = start(scene)
    assert len(gaussians) == 500 and views_of(scene, gaussians.means_world).min() >= 1
    assert gaussians.means_world.norm(dim=1).min() > 1


def test_cameras_that_see_nothing_are_named():
    scene = outwards(make_scene(points=None))
    cameras = replace(scene.cameras, focal_px=1e6 * scene.cameras.focal_px)
    with pytest.raises(InputError, match="check the poses or add points"):
        start(replace(scene, cameras=cameras))


@pytest.mark.parametrize("distance", [1e2, 1e6])
def test_a_camera_far_away_moves_nothing(distance):
    """The extent is robust (as loading a capture makes it), and so is the place that the cameras look at."""
    scene = make_scene(points=None)
    away = scene.cameras.camera_from_world.clone()
    away[3, :3, 3] = torch.tensor([0.0, distance, 0.0])
    away[3, :3, :3] = torch.eye(3)
    scene = replace(scene, cameras=replace(scene.cameras, camera_from_world=away))
    means = start(scene).means_world
    assert means.norm(dim=1).median() < 1 and means.norm(dim=1).max() < 3
