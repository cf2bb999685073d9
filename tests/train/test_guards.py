"""Numbers that are not finite, models that vanish, cameras that are wrong: always a defined result."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.errors import InputError, NumericError
from neural3d.render.splats import render_splats
from neural3d.run import Run
from neural3d.scene import Points
from neural3d.train import initial
from neural3d.train.adc import Adc, AdcConfig
from neural3d.train.mcmc import Mcmc, McmcConfig

from .small_scenes import is_finite, make_scene, psnr_of, ring, same, stop_at, train, truth


class Poisoner:
    """Another densifier, but in some steps a share of the gradients is not finite."""

    def __init__(self, inner, is_bad_step, *, share: float = 1.0, value: float = math.nan) -> None:
        self.inner, self.is_bad_step, self.share, self.value = inner, is_bad_step, share, value
        self.count = 0
        self.after_update, self.tensors, self.load = inner.after_update, inner.tensors, inner.load

    def before_update(self, state, gradient, context) -> None:
        if self.is_bad_step(context.step):
            self.count += 1
            rows = math.ceil(self.share * len(state))
            for tensor in (*gradient.gaussians.tensors().values(), gradient.means_px):
                tensor[:rows] = self.value
            context.visible[:rows] = True
        self.inner.before_update(state, gradient, context)


def ours(name: str):
    if name == "adc":
        return Adc(120, AdcConfig(interval=20, start_step=20, reset_steps=10**9))
    return Mcmc(120, McmcConfig(interval=20, start_step=20))


@pytest.mark.parametrize("name, value", [("mcmc", math.nan), ("mcmc", -math.inf), ("adc", math.nan), ("adc", math.inf)])
def test_poison_in_one_step_of_a_hundred_costs_next_to_nothing(name, value):
    scene = make_scene()
    clean = train(scene, densifier=ours(name), steps=200)
    poisoner = Poisoner(ours(name), lambda step: step % 100 == 50, value=value)
    poisoned = train(scene, densifier=poisoner, steps=200)
    assert is_finite(poisoned.gaussians)
    assert clean.poisoned_steps == 0 and poisoned.poisoned_steps == poisoner.count == 2
    assert psnr_of(poisoned.gaussians, scene) > psnr_of(clean.gaussians, scene) - 1.5


def test_ten_bad_steps_in_a_row_end_the_run_by_name(tmp_path):
    scene, poisoner = make_scene(), Poisoner(ours("mcmc"), lambda step: step > 5)
    with Run.create(tmp_path, {}) as run:
        train(scene, run=run, observers=[stop_at(3)])
    with Run.resume(tmp_path) as run, pytest.raises(NumericError, match="step 15: 40 of 40 Gaussians"):
        train(scene, densifier=poisoner, run=run)
    assert Run.open(tmp_path).latest_checkpoint().step == 3


def test_nine_bad_steps_or_ten_with_a_good_one_do_not():
    result = train(make_scene(), densifier=Poisoner(ours("mcmc"), lambda step: step % 10 != 0))
    assert (result.step, result.poisoned_steps) == (40, 36)
    assert is_finite(result.gaussians)


def test_a_row_or_two_may_stay_bad():
    """One Gaussian of a thousand and more: its row stays, the others learn."""
    scene = make_scene(points=1001)
    result = train(
        scene, densifier=Poisoner(ours("mcmc"), lambda step: True, share=0.5e-3), max_gaussians=2000, steps=20
    )
    assert (result.step, result.poisoned_steps) == (20, 20)
    start = scene.points.means_world
    assert (result.gaussians.log_scales[0] == result.gaussians.log_scales[0, 0]).all()
    assert (result.gaussians.means_world[1:1001] != start[1:]).any(dim=1).float().mean() > 0.5


def test_poison_survives_a_checkpoint(tmp_path):
    with Run.create(tmp_path, {}) as run:
        train(make_scene(), densifier=Poisoner(ours("mcmc"), lambda step: step == 2), run=run, observers=[stop_at(3)])
    with Run.resume(tmp_path) as run:
        assert train(make_scene(), densifier=ours("mcmc"), run=run).poisoned_steps == 1


def out_of_sight():
    """Behind every camera, or beside them."""
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 0.0, 50.0])
    return Points(points, torch.zeros(40, 3, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["mcmc", "adc"])
def test_a_model_that_nobody_sees_stays_what_it_is(name):
    scene = replace(make_scene(), points=out_of_sight())
    result = train(scene, densifier=ours(name))
    assert result.completed and is_finite(result.gaussians)
    assert torch.equal(result.gaussians.means_world[:40], scene.points.means_world)
    background = torch.tensor([0.1, 0.2, 0.3])
    rendered = render_splats(result.gaussians, scene.cameras, background=background)
    assert torch.equal(rendered.colors, background.expand_as(rendered.colors))


class Eraser:
    """Prunes everything at step 10; before and behind it lets another densifier do its work."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.before_update, self.tensors, self.load = inner.before_update, inner.tensors, inner.load

    def after_update(self, state, context):
        return state.select(torch.arange(0)) if context.step == 10 else self.inner.after_update(state, context)


@pytest.mark.parametrize("name", ["mcmc", "adc"])
def test_a_model_without_gaussians_is_the_background(name, tmp_path):
    scene = make_scene()
    with Run.create(tmp_path, {}) as run:
        result = train(scene, densifier=Eraser(ours(name)), run=run, exposure="affine")
    assert result.completed and len(result.gaussians) == 0 and result.poisoned_steps == 0
    background = torch.tensor([0.1, 0.2, 0.3])
    rendered = render_splats(result.gaussians, scene.cameras, background=background, with_depth=True)
    assert torch.equal(rendered.colors, background.expand_as(rendered.colors))
    assert not rendered.alphas.any() and not rendered.depths.any()
    with Run.resume(tmp_path) as run:
        again = train(scene, densifier=Eraser(ours(name)), run=run, exposure="affine", steps=45)
    assert (again.step, len(again.gaussians)) == (45, 0)


@pytest.mark.parametrize("points", [40, None])
def test_a_camera_far_away_breaks_nothing(points, monkeypatch):
    """The seven others learn what they do without it."""
    monkeypatch.setattr(initial, "CANDIDATES", 10_000)
    scene = make_scene(points=points)
    without = replace(scene, train_indices=torch.tensor([0, 1, 2, 4, 5, 6, 7]))
    away = scene.cameras.camera_from_world.clone()
    away[3, :3, 3] *= 1e6
    outlier = replace(scene, cameras=replace(scene.cameras, camera_from_world=away))
    scores = []
    for given in (without, outlier):
        result = train(given, densifier=ours("mcmc"), steps=200, max_gaussians=300)
        assert is_finite(result.gaussians) and result.poisoned_steps == 0
        assert result.gaussians.means_world.norm(dim=1).max() < 10
        scores.append(psnr_of(result.gaussians, without))
    assert scores[1] > scores[0] - 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("points", [40, None])
def test_a_photo_or_two_are_enough(count, points, monkeypatch):
    monkeypatch.setattr(initial, "CANDIDATES", 10_000)
    scene = make_scene(count, points=points)
    result = train(scene, steps=100, max_gaussians=300)
    assert result.completed and is_finite(result.gaussians)
    assert psnr_of(result.gaussians, scene) > 18


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (5, 3)])
def test_photos_of_a_few_pixels_are_enough(size):
    width, height = size
    scene = make_scene(cameras=ring(4).scaled(width, height))
    assert is_finite(train(scene).gaussians)


def test_one_gaussian_is_enough():
    result = train(make_scene(), max_gaussians=1)
    assert len(result.gaussians) == 1 and is_finite(result.gaussians)


def test_points_on_the_cameras_are_harmless():
    scene = make_scene(points=None)
    centers = scene.cameras.centers_world.repeat(3, 1)
    colors = torch.full((24, 3), 128, dtype=torch.uint8)
    result = train(replace(scene, points=Points(centers, colors)), steps=100)
    assert is_finite(result.gaussians) and result.poisoned_steps == 0


def test_photos_where_nothing_is_valid_teach_nothing():
    scene = make_scene()
    nothing = torch.zeros(40, 48, dtype=torch.bool)
    scene = replace(scene, photos=tuple(replace(photo, valid=nothing) for photo in scene.photos))
    result = train(scene, densifier=Mcmc(120, McmcConfig(noise=0.0, opacity_weight=0.0, scale_weight=0.0)))
    assert torch.equal(result.gaussians.means_world, scene.points.means_world)


def test_no_training_photo_is_named():
    scene = replace(make_scene(), train_indices=torch.arange(0), test_indices=torch.arange(8))
    with pytest.raises(InputError, match="no training photos"):
        train(scene)


def test_the_scene_is_left_as_it_came():
    scene = make_scene()
    points, photos = scene.points.means_world.clone(), [photo.pixels.clone() for photo in scene.photos]
    train(scene)
    assert same({"points": points}, {"points": scene.points.means_world})
    assert all(torch.equal(now.pixels, before) for now, before in zip(scene.photos, photos, strict=True))


def test_truth_is_as_the_photos_show_it():
    """The yardstick of the tests above."""
    assert psnr_of(truth(), make_scene()) > 50
