"""Training, checkpoints, rendering and evaluation as on a GPU: on a device whose tensors do not mix with the host's."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from emulator.pretended import ELSEWHERE, PretendedDevice, on_host, pretended_device

from neural3d.errors import NumericError
from neural3d.evaluation import evaluate
from neural3d.export.ply import read_ply, write_ply
from neural3d.render.splats import render_function
from neural3d.run import Run
from neural3d.train import loop, planned_gradient
from neural3d.train.adc import Adc, AdcConfig
from neural3d.train.gradients import photo_gradient
from neural3d.train.mcmc import Mcmc, McmcConfig
from neural3d.train.planned_gradient import PlannedGradient
from neural3d.train.readings import Readings
from neural3d.train.splats import TrainResult

from .small_scenes import Watcher, make_scene, ring, same, stop_at, train, truth

EVERY = 3
ADC = AdcConfig(interval=EVERY, start_step=EVERY, until=0.9, reset_interval=0.2, reset_steps=2, gradient_threshold=1e-5)
DENSIFIERS = {
    "mcmc": lambda: Mcmc(60, McmcConfig(interval=EVERY, start_step=EVERY, grown_by=0.9, opacity_weight=0.5)),
    "adc": lambda: Adc(60, ADC),
}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedDevice]:
    with pretended_device(monkeypatch) as device:
        yield device


@dataclass(frozen=True)
class Watched:
    """What the host did in one step."""

    waits: list[str]
    """What it waited for while the device had nothing to do."""
    reads: list[list[str]]
    """For each look at a letter: what had been launched since it was sent."""


@pytest.fixture
def watched_steps(there: PretendedDevice, monkeypatch: pytest.MonkeyPatch) -> dict[int, Watched]:
    """By step, from 1."""
    steps: dict[int, Watched] = {}
    take_step: Callable = loop.TrainingLoop._take_step

    def watched(training: loop.TrainingLoop) -> None:
        waits, reads = len(there.waits), len(there.reads)
        take_step(training)
        steps[training.step] = Watched(there.waits[waits:], there.reads[reads:])

    monkeypatch.setattr(loop.TrainingLoop, "_take_step", watched)
    return steps


def off_by(one: TrainResult, other: TrainResult) -> float:
    """The largest difference of two models of one size, in positions, colours and opacities."""
    models = [on_host(result.gaussians.tensors()) for result in (one, other)]
    assert len(models[0]["sh"]) == len(models[1]["sh"])
    return max(
        float((models[0][name] - models[1][name]).abs().max()) for name in ("means_world", "sh", "logit_opacities")
    )


@pytest.mark.parametrize("densifier, exposure", [("mcmc", "affine"), ("mcmc", "none"), ("adc", "bilateral")])
def test_a_run_elsewhere_is_the_run_here_and_no_step_waits(densifier, exposure, watched_steps):
    """The same photos, backgrounds and choices; drivers differ in the last bits, which Adam's first steps enlarge."""
    scene = make_scene(has_alpha=True)
    options = {
        "steps": 7,
        "exposure": exposure,
        "sh_degree": 1,
        "coarse_levels": 0,
        "ignore_moving": exposure == "bilateral",
    }
    expected = train(scene, densifier=DENSIFIERS[densifier](), **options)
    watched_steps.clear()
    result = train(scene, densifier=DENSIFIERS[densifier](), device=ELSEWHERE, **options)
    assert result.gaussians.device == ELSEWHERE
    assert len(result.gaussians) > 40
    assert off_by(expected, result) < 0.02
    waits = {step: watched.waits for step, watched in watched_steps.items() if watched.waits}
    # The first step of an image size has no plan; the densifier chooses on the host.
    assert len(watched_steps) == 7 and set(waits) <= {1, 3, 6} and waits[1] == ["bin_gaussians"], waits
    for step in (2, 4, 5, 7):
        (launched,) = watched_steps[step].reads
        assert launched[0] == "rasterize" and launched[-2:] == ["project_vjp", "visible_rows"]


def test_a_plan_that_was_too_small_changes_no_bit(there, monkeypatch):
    """Every second gradient is made twice, in a run in which all learns that can."""
    options = {"steps": 7, "exposure": "bilateral", "sh_degree": 1, "coarse_levels": 0, "ignore_moving": True}
    small, scene, models = itertools.cycle([True, False]), make_scene(has_alpha=True), []
    monkeypatch.setattr(planned_gradient, "planned_capacity", lambda pairs: pairs // 2 if next(small) else 2 * pairs)
    # 7 exact gradients; 1 that has no plan yet, and 3 that had too small a one.
    for gradient_of, exact in ((photo_gradient, 7), (planned := PlannedGradient(), 1 + 3)):
        begun, seams = len(there.launched), {"densifier": DENSIFIERS["adc"](), "gradient_of": gradient_of}
        result = train(scene, device=ELSEWHERE, **seams, **options)
        launched = there.launched[begun:]
        assert (launched.count("bin_gaussians"), launched.count("adam_sh")) == (exact, 7)
        models.append(on_host(result.gaussians.tensors()))
    assert planned.repeated == 3 and same(*models)


def test_a_densifier_that_keeps_its_memory_on_the_host_is_told(there):
    class Forgetful(Mcmc):
        def before_update(self, state, gradient, context) -> None:
            torch.zeros(len(state)).add_(gradient.means_px.norm(dim=1))

    with pytest.raises(RuntimeError, match="lies on the host"):
        train(make_scene(), densifier=Forgetful(60), device=ELSEWHERE)


@pytest.mark.parametrize("densifier", DENSIFIERS)
@pytest.mark.parametrize("devices", [("cpu", ELSEWHERE), (ELSEWHERE, "cpu")], ids=["from the CPU", "to the CPU"])
def test_a_run_goes_on_on_another_device(densifier, devices, there, tmp_path):
    scene, options = make_scene(views=4), {"steps": 8, "exposure": "affine"}
    uninterrupted = train(scene, densifier=DENSIFIERS[densifier](), **options)
    with Run.create(tmp_path, {}) as run:
        first = {"observers": [stop_at(4)], "device": devices[0]}
        begun = train(scene, densifier=DENSIFIERS[densifier](), run=run, **first, **options)
        kept = run.latest_checkpoint()
        parameters = {name: kept.tensors[f"gaussians.{name}"] for name in begun.gaussians.tensors()}
        assert kept.step == 4 and all(tensor.device.type == "cpu" for tensor in kept.tensors.values())
        assert same(parameters, on_host(begun.gaussians.tensors()))
        result = train(scene, densifier=DENSIFIERS[densifier](), run=run, device=devices[1], **options)
    assert result.step == 8 and result.gaussians.device == torch.device(devices[1])
    assert off_by(uninterrupted, result) < 0.02


class Poisoner(Mcmc):
    """Makes every gradient NaN in some steps."""

    def __init__(self, is_bad_step: Callable[[int], bool]) -> None:
        super().__init__(60, McmcConfig(interval=1000))
        self.is_bad_step = is_bad_step

    def before_update(self, state, gradient, context) -> None:
        if self.is_bad_step(context.step):
            gradient.gaussians.means_world.fill_(math.nan)
            context.visible.fill_(True)
        super().before_update(state, gradient, context)


def test_counts_that_come_late_end_a_run_all_the_same(there, monkeypatch, tmp_path):
    """Ten bad steps, read a few steps later, but before anything of them is kept."""
    monkeypatch.setattr(loop, "COUNTS_BATCH", 4)
    scene = make_scene(views=4)
    with Run.create(tmp_path, {}) as run:
        train(scene, run=run, observers=[stop_at(3)], device=ELSEWHERE)
    watcher = Watcher()
    with Run.resume(tmp_path) as run, pytest.raises(NumericError, match="step 15: 40 of 40 Gaussians"):
        train(scene, densifier=Poisoner(lambda step: step > 5), run=run, observers=[watcher], device=ELSEWHERE)
    assert 15 - 3 <= watcher.asked <= 15 - 3 + 8
    assert Run.open(tmp_path).latest_checkpoint().step == 3


def test_counts_of_the_last_steps_are_waited_for(there):
    result = train(make_scene(views=4), densifier=Poisoner(lambda step: step in (2, 6)), steps=7, device=ELSEWHERE)
    assert (result.step, result.poisoned_steps) == (7, 2)


def test_progress_comes_from_elsewhere_too(there):
    watcher = Watcher()
    train(make_scene(views=4), steps=12, observers=[watcher], device=ELSEWHERE)
    progress, snapshot = watcher.told[-1]
    assert progress.psnr > 5 and progress.loss > 0
    assert snapshot.device == ELSEWHERE


def test_readings_come_in_order_late_and_all(there):
    readings = Readings(batch=3)
    put = [readings.put(step, torch.full((2,), float(step), device=ELSEWHERE)) for step in range(8)]
    late = {step: numbers for step, numbers in enumerate(put) if numbers}
    assert late == {5: [(step, [float(step)] * 2) for step in range(3)]}
    assert readings.drain() == [(step, [float(step)] * 2) for step in range(3, 8)]
    assert readings.drain() == [] and there.waits == []


def test_pictures_and_scores_are_the_same_elsewhere(there, tmp_path):
    gaussians, scene = truth(sh_degree=1), replace(make_scene(views=3, has_alpha=True), test_indices=torch.arange(2))
    white = torch.ones(3)
    here = render_function(gaussians, background=white)
    render = render_function(gaussians.to(ELSEWHERE), background=white)
    rendering = render(ring(1))
    assert rendering.colors.device == ELSEWHERE
    difference = rendering.colors.cpu() - here(ring(1)).colors
    assert float(difference.abs().max()) < 1e-5
    expected, found = (evaluate(function, scene, background=white) for function in (here, render))
    assert found.mean("psnr") == pytest.approx(expected.mean("psnr"), abs=1e-3)
    write_ply(tmp_path / "a.ply", gaussians.to(ELSEWHERE), capture_from_scene=scene.capture_from_scene)
    assert same(read_ply(tmp_path / "a.ply").tensors(), gaussians.tensors())
