"""Training from end to end: what it reaches, what it tells, when it ends."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from neural3d.errors import InputError
from neural3d.evaluation import evaluate
from neural3d.render.splats import render_function, render_splats
from neural3d.run import Run
from neural3d.train import initial, loop
from neural3d.train.config import LearningRates, SplatConfig
from neural3d.train.observer import TrainingObserver
from neural3d.train.photos import build_pyramid
from neural3d.train.schedule import active_sh_degree, means_rate, parameter_rates, resolution_level
from neural3d.train.splats import gaussian_cap

from .small_scenes import Watcher, is_finite, make_scene, psnr_of, same, stop_at, train, truth


@pytest.mark.parametrize("densify, psnr", [("mcmc", 27), ("adc", 23)])
def test_a_short_fit_shows_the_photos(densify, psnr):
    scene = replace(make_scene(12), train_indices=torch.arange(1, 12), test_indices=torch.tensor([0]))
    result = train(scene, steps=500, densify=densify, max_gaussians=300)
    assert psnr_of(result.gaussians, scene) > psnr
    assert evaluate(render_function(result.gaussians), scene).mean("psnr") > psnr - 5
    assert len(result.gaussians) <= 300 and result.completed and result.step == 500


def test_a_fit_from_random_points_shows_the_photos(monkeypatch):
    monkeypatch.setattr(initial, "CANDIDATES", 10_000)
    scene = make_scene(points=None)
    assert psnr_of(train(scene, steps=400, max_gaussians=400).gaussians, scene) > 25


def test_view_dependence_is_learnt():
    """A scene whose colours depend on the direction is fit better with harmonics than without."""
    gaussians = truth(sh_degree=1)
    gaussians.sh[:, 1:] = 0.5 * torch.randn(30, 3, 3)
    scene = make_scene(gaussians=gaussians)
    rates = LearningRates(sh_rest=2e-3)
    flat, curved = (train(scene, steps=300, sh_degree=degree, rates=rates).gaussians for degree in (0, 2))
    assert curved.sh.shape[1:] == (9, 3) and curved.sh[:, 1:].abs().max() > 0.02
    assert psnr_of(curved, scene) > psnr_of(flat, scene) + 1


@pytest.mark.parametrize("background, color", [("white", 1.0), ("black", 0.0)])
def test_backgrounds_of_a_scene_with_alpha(background, color):
    """Trained on one background, shown on it: the photo over that background."""
    scene = make_scene(has_alpha=True)
    result = train(scene, steps=300, background=background)
    shown = evaluate(
        render_function(result.gaussians, background=torch.full((3,), color)),
        scene,
        indices=scene.train_indices,
        background=torch.full((3,), color),
    )
    assert shown.mean("psnr") > 24


def test_auto_is_random_with_alpha_so_that_nothing_stands_in_for_the_background():
    scene = make_scene(has_alpha=True)
    auto, random = (train(scene, steps=300, background=kind).gaussians for kind in ("auto", "random"))
    assert same(auto.tensors(), random.tensors())
    alphas = render_splats(auto, scene.cameras).alphas[..., 0]
    photos = torch.stack([photo.alpha for photo in scene.photos]) / 255
    assert (alphas - photos).abs().mean() < 0.06


def test_auto_is_black_without_alpha():
    scene = make_scene()
    auto, black = (train(scene, steps=10, background=kind).gaussians for kind in ("auto", "black"))
    assert same(auto.tensors(), black.tensors())


def test_gains_of_photos_are_recovered_and_left_out_of_renders(tmp_path):
    gains = [0.7, 1.0, 0.8, 1.1, 0.9, 1.2, 1.3, 1.0]
    dark = truth()
    dark.sh.mul_(0.25)  # no photo is cut off at white
    clean, scene = make_scene(gaussians=dark), make_scene(gaussians=dark, gains=gains)
    options = {"steps": 500, "max_gaussians": 50, "rates": LearningRates(exposure=0.02)}
    with Run.create(tmp_path, {}) as run:
        result = train(scene, run=run, exposure="affine", **options)
    matrices = Run.open(tmp_path).latest_checkpoint().tensors["exposure.matrices"].view(8, 3, 4)
    found = matrices[:, :, :3].sum(dim=2).mean(dim=1)  # what grey becomes
    assert (found - torch.tensor(gains)).abs().max() < 0.03
    assert matrices[:, :, 3].abs().max() < 0.05
    plain = train(scene, exposure="none", **options).gaussians
    assert psnr_of(result.gaussians, clean) > max(30, psnr_of(plain, clean) + 10)


class Clock:
    """Time as the tests want it: every look at it takes 10 ms."""

    def __init__(self) -> None:
        self.now, self.slept, self.tick = 0.0, 0.0, 0.01

    def perf_counter(self) -> float:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=clock.perf_counter, sleep=clock.sleep))
    return clock


def test_time_ends_a_run(clock):
    result = train(make_scene(), steps=10**6, max_seconds=3.0)
    assert result.completed and 1 < result.step < 300
    assert 3.0 <= result.train_seconds < 3.2


def test_steps_end_a_run_that_has_time_left(clock):
    result = train(make_scene(), steps=7, max_seconds=1e6)
    assert (result.step, result.completed) == (7, True)


def test_paused_time_is_no_training_time(clock):
    watcher = Watcher(lambda asked: "pause" if 5 <= asked < 105 else "run")
    result = train(make_scene(), steps=20, max_seconds=4.0, observers=[watcher])
    assert clock.slept == pytest.approx(5.0)
    assert result.completed and result.step == 20 and result.train_seconds < 4.0


def test_a_pause_changes_no_byte():
    scene = make_scene()
    paused = train(scene, observers=[Watcher(lambda asked: "pause" if 5 <= asked < 7 else "run")])
    assert same(paused.gaussians.tensors(), train(scene).gaussians.tensors())


def test_a_checkpoint_is_kept_when_somebody_asks_and_changes_no_byte(tmp_path):
    found = []

    def ask(asked: int) -> str:
        checkpoint = Run.open(tmp_path / "run").latest_checkpoint()
        found.append(None if checkpoint is None else checkpoint.step)
        return "save" if asked == 4 else "run"

    scene = make_scene()
    with Run.create(tmp_path / "run", {}) as run:
        saved = train(scene, run=run, observers=[Watcher(ask)])
        run.set_status("completed")
    assert found[:6] == [None] * 5 + [4], "the state after four steps, before the fifth"
    assert same(saved.gaussians.tensors(), train(scene).gaussians.tensors())
    assert train(scene, steps=5, observers=[Watcher(lambda asked: "save" if asked == 2 else "run")]).completed


def test_a_state_that_is_kept_is_not_written_again(tmp_path, monkeypatch):
    """So that a second Ctrl-C, or a kill, finds nothing to break off."""
    saved = []
    usual = Run.save_checkpoint
    monkeypatch.setattr(Run, "save_checkpoint", lambda run, step, *rest: saved.append(step) or usual(run, step, *rest))
    scene = make_scene()
    with Run.create(tmp_path / "run", {}) as run:
        train(scene, run=run, steps=4, observers=[Watcher(lambda asked: "save" if asked in (2, 3) else "run")])
        run.set_status("completed")
    with Run.resume(tmp_path / "run") as run:
        train(scene, run=run, steps=4, observers=[Watcher(lambda asked: "save" if asked == 0 else "stop")])
        run.set_status("completed")
    assert saved == [2, 4]


def test_stop_ends_a_run_that_pauses():
    watcher = Watcher(lambda asked: ["run", "pause", "pause", "stop"][min(asked, 3)])
    result = train(make_scene(), observers=[watcher, Watcher(lambda asked: "pause" if asked > 0 else "run")])
    assert (result.step, result.completed) == (1, False)


def test_any_observer_may_stop():
    result = train(make_scene(), observers=[Watcher(), stop_at(4), Watcher()])
    assert (result.step, result.completed) == (4, False)


def test_progress_is_told_in_order_and_at_the_end(clock):
    watcher = Watcher()
    assert isinstance(watcher, TrainingObserver)
    result = train(make_scene(), observers=[watcher], steps=200)
    told = [progress for progress, _ in watcher.told]
    assert len(told) > 3 and told[-1].step == 200 and told[-1].fraction == 1.0 and told[-1].seconds_left == 0.0
    assert [p.step for p in told] == sorted({p.step for p in told})
    assert all(p.total_steps == 200 and p.num_gaussians >= 40 and p.steps_per_second > 0 for p in told)
    assert all(p.seconds_left > 0 and p.fraction < 1 for p in told[:-1])
    assert told[-1].psnr > told[0].psnr > 5 and told[-1].loss < told[0].loss
    assert same(watcher.told[-1][1].tensors(), result.gaussians.tensors())


def test_snapshots_are_copies(clock):
    watcher = Watcher()
    train(make_scene(), observers=[watcher], steps=60)
    early, late = watcher.told[0][1], watcher.told[-1][1]
    assert not torch.equal(early.means_world, late.means_world)
    assert is_finite(early) and early.means_world.data_ptr() != late.means_world.data_ptr()


def test_the_log_has_a_line_a_second(clock, tmp_path):
    clock.tick = 0.04
    with Run.create(tmp_path, {}) as run:
        train(make_scene(), run=run, steps=200)
        lines = run.read_log()
    assert len(lines) > 2 and [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert {"step", "psnr", "num_gaussians", "seconds_left"} <= lines[0].keys()


def test_checkpoints_come_by_time(clock, tmp_path):
    clock.tick = 0.1
    saved = []

    class Recording(Run):
        def save_checkpoint(self, step, tensors, meta) -> None:
            saved.append((step, meta["train_seconds"]))
            super().save_checkpoint(step, tensors, meta)

    with Recording.create(tmp_path, {}) as run:
        train(make_scene(), run=run, steps=100, checkpoint_seconds=2.0)
    assert len(saved) >= 3 and saved[-1][0] == 100
    assert all(2.0 <= later - sooner < 3.0 for (_, sooner), (_, later) in zip(saved, saved[1:-1], strict=False))


def test_the_cap_follows_the_photos_unless_it_is_given():
    assert gaussian_cap(make_scene(), SplatConfig()) == 20_000
    assert gaussian_cap(make_scene(), SplatConfig(max_gaussians=7)) == 7


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"max_seconds": 0.0}, {"sh_degree": 4}, {"ssim_weight": 1.5}, {"coarse_levels": -1}, {"seed": -1}],
)
def test_what_cannot_be_trained_is_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        SplatConfig(**options)


def test_schedules_begin_and_end_where_they_should():
    config, fractions = SplatConfig(), [i / 100 for i in range(100)]
    degrees = [active_sh_degree(config, f) for f in fractions]
    levels = [resolution_level(config, f, 3) for f in fractions]
    assert degrees == sorted(degrees) and (degrees[0], degrees[-1]) == (0, 3)
    assert levels == sorted(levels, reverse=True) and (levels[0], levels[-1]) == (2, 0)
    assert all(level == 0 for level, f in zip(levels, fractions, strict=True) if f >= config.coarse_until)
    assert resolution_level(config, 0.0, 1) == 0
    ends = [means_rate(config.rates, f, 2.0) for f in (0.0, 1.0)]
    assert ends == pytest.approx([2 * config.rates.means_start, 2 * config.rates.means_end])


def test_harmonics_that_are_not_in_use_stand_still():
    rates = parameter_rates(LearningRates(), 0.5, 1.0, 1, 16)["sh"].view(16, 3)
    assert (rates[:4] > 0).all() and not rates[4:].any()


@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_halved_photo_is_the_mean_of_its_pixels_seen_by_a_halved_camera(has_alpha):
    scene = make_scene(has_alpha=has_alpha)
    scene = replace(scene, cameras=scene.cameras.scaled(128, 96))
    pixels = torch.randint(0, 256, (96, 128, 3), dtype=torch.uint8)
    alpha = torch.randint(0, 256, (96, 128), dtype=torch.uint8) if has_alpha else None
    scene = replace(scene, photos=tuple(replace(photo, pixels=pixels, alpha=alpha) for photo in scene.photos))
    levels = build_pyramid(scene, 4).levels
    assert [photo[0].pixels.shape for photo in levels] == [(96, 128, 3), (48, 64, 3)]
    weight = torch.ones(96, 128) if alpha is None else alpha / 255
    mean = lambda x: x.reshape(48, 2, 64, 2, -1).mean(dim=(1, 3))  # noqa: E731
    expected = mean(pixels * weight[..., None]) / mean(weight)
    small = levels[1][0]
    assert (small.pixels - expected).abs().max() <= 0.51
    assert torch.allclose(small.view.focal_px, levels[0][0].view.focal_px / 2)
    assert (small.view.width, small.view.height) == (64, 48)
    if has_alpha:
        assert (small.alpha - 255 * mean(weight)[..., 0]).abs().max() <= 0.51


def test_a_halved_pixel_is_valid_where_all_of_its_four_are():
    scene = make_scene()
    valid = torch.ones(96, 128, dtype=torch.bool)
    valid[11, 20] = False
    photos = tuple(replace(p, pixels=torch.zeros(96, 128, 3, dtype=torch.uint8), valid=valid) for p in scene.photos)
    small = build_pyramid(replace(scene, cameras=scene.cameras.scaled(128, 96), photos=photos), 1).levels[1][0]
    assert (~small.valid).nonzero().tolist() == [[5, 10]]


@pytest.mark.parametrize("columns, ssim_weight", [(16, 0.0), (11, 0.2)])
def test_masked_pixels_teach_nothing(columns, ssim_weight):
    """Sixteen columns are masked; rubbish there is not seen, but by SSIM's windows, which reach five pixels."""
    scene = make_scene()
    valid, rubbish = torch.ones(40, 48, dtype=torch.bool), torch.zeros(40, 48, 1, dtype=torch.bool)
    valid[:, :16], rubbish[:, :columns] = False, True
    masked = tuple(replace(photo, valid=valid) for photo in scene.photos)
    worse = tuple(replace(photo, pixels=torch.where(rubbish, 77, photo.pixels).to(torch.uint8)) for photo in masked)
    one, other = (train(replace(scene, photos=photos), ssim_weight=ssim_weight).gaussians for photos in (masked, worse))
    assert same(one.tensors(), other.tensors())


def test_a_real_clock_runs():
    """The one test without a clock of its own: half a second of training is about that."""
    before = time.perf_counter()
    result = train(make_scene(), steps=10**7, max_seconds=0.5)
    assert result.completed and 0.5 <= result.train_seconds <= time.perf_counter() - before
    assert math.isfinite(psnr_of(result.gaussians, make_scene()))


def test_antialiasing_travels_with_the_model(tmp_path):
    with Run.create(tmp_path, {}) as run:
        assert train(make_scene(), run=run, steps=3, antialiased=True).gaussians.antialiased
    with Run.resume(tmp_path) as run:
        assert train(make_scene(), run=run, steps=6, antialiased=True).gaussians.antialiased
