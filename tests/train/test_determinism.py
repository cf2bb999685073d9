"""A seed gives one result: at any number of threads, interrupted, killed, and with each way of densifying."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neural3d.errors import InputError
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.train import initial
from neural3d.train.adc import Adc, AdcConfig
from neural3d.train.densify import Densifier
from neural3d.train.mcmc import Mcmc, McmcConfig
from neural3d.train.photos import background_color, photo_index

from .small_scenes import Watcher, make_scene, same, stop_at, train, truth

STEPS = 40
# Every ten steps something happens: three densifications, and with adc two resets.
ADC = AdcConfig(interval=10, start_step=10, until=0.8, reset_interval=0.2, reset_steps=9, gradient_threshold=1e-5)
DENSIFIERS = {
    "mcmc": lambda: Mcmc(120, McmcConfig(interval=10, start_step=10, grown_by=0.9, opacity_weight=0.5)),
    "adc": lambda: Adc(120, ADC),
}


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each that this machine has."""
    usual = torch.ops.neural3d.simd()
    try:
        torch.ops.neural3d.set_simd(request.param)
    except RuntimeError as error:
        pytest.skip(str(error).splitlines()[0])
    yield request.param
    torch.ops.neural3d.set_simd(usual)


def scene_with_everything(points: int | None = 40) -> Scene:
    """Alpha, so that backgrounds are random; colours that depend on the direction."""
    gaussians = truth(sh_degree=1)
    gaussians.sh[:, 1:] = 0.2
    return make_scene(has_alpha=True, gaussians=gaussians, points=points)


def trained(scene: Scene, densifier: Densifier, **options) -> dict[str, Tensor]:
    return train(scene, densifier=densifier, exposure="affine", **options).gaussians.tensors()


@pytest.mark.parametrize("name", DENSIFIERS)
def test_threads_change_no_byte(name, instruction_set):
    scene = scene_with_everything()
    torch.set_num_threads(1)
    expected = trained(scene, DENSIFIERS[name]())
    assert len(expected["means_world"]) > 40, "the run should have densified"
    torch.set_num_threads(2)
    assert same(expected, trained(scene, DENSIFIERS[name]()))


def test_threads_change_no_random_start(monkeypatch):
    monkeypatch.setattr(initial, "CANDIDATES", 10_000)
    scene, results = scene_with_everything(points=None), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(trained(scene, DENSIFIERS["mcmc"](), steps=5, max_gaussians=3000))
    assert same(*results)


def test_another_seed_is_another_run():
    scene = scene_with_everything()
    one, other = (trained(scene, DENSIFIERS["mcmc"](), steps=5, seed=seed) for seed in (0, 1))
    assert not same(one, other)


def complete(path: Path) -> tuple[int, dict[str, Tensor]]:
    """All that is kept of a run's last step."""
    checkpoint = Run.open(path).latest_checkpoint()
    assert checkpoint is not None
    return checkpoint.step, checkpoint.tensors


def one_go(path: Path, name: str) -> dict[str, Tensor]:
    with Run.create(path, {}) as run:
        train(scene_with_everything(), densifier=DENSIFIERS[name](), run=run, exposure="affine")
    step, tensors = complete(path)
    assert step == STEPS
    return tensors


@pytest.mark.parametrize("name", DENSIFIERS)
def test_a_run_in_parts_is_the_run_in_one_go(name, tmp_path):
    """Stopped in every phase: before the first densification, at one, behind one, late, at the end."""
    expected = one_go(tmp_path / "one", name)
    options = {"exposure": "affine"}
    with Run.create(tmp_path / "parts", {}):
        pass
    for stop in (1, 9, 20, 21, 35, STEPS):
        with Run.resume(tmp_path / "parts") as run:
            watchers = [stop_at(stop - _step(run))] if stop < STEPS else []
            result = train(
                scene_with_everything(), densifier=DENSIFIERS[name](), run=run, observers=watchers, **options
            )
        assert (result.step, result.completed) == (stop, stop == STEPS)
    assert same(complete(tmp_path / "parts")[1], expected)
    assert result.train_seconds > 0


def _step(run: Run) -> int:
    checkpoint = run.latest_checkpoint()
    return checkpoint.step if checkpoint else 0


KILLED = """
import os, signal, sys
from neural3d.run import Run
from tests.train.small_scenes import Watcher, train
from tests.train.test_determinism import DENSIFIERS, scene_with_everything

def request(asked):
    if asked == 23:
        os.kill(os.getpid(), signal.SIGKILL)
    return "run"

run = Run.create(sys.argv[1], {})
options = {"exposure": "affine", "checkpoint_seconds": 1e-9}
train(scene_with_everything(), densifier=DENSIFIERS["adc"](), run=run, observers=[Watcher(request)], **options)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, repository):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    assert subprocess.run(command, env=environment, cwd=repository).returncode == -signal.SIGKILL
    assert complete(tmp_path / "killed")[0] == 23
    with Run.resume(tmp_path / "killed") as run:
        train(scene_with_everything(), densifier=DENSIFIERS["adc"](), run=run, exposure="affine")
    assert same(complete(tmp_path / "killed")[1], one_go(tmp_path / "one", "adc"))


def test_a_run_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    with Run.create(tmp_path, {}):
        pass
    watcher = Watcher()
    with Run.resume(tmp_path) as run:
        assert run.latest_checkpoint() is None
        result = train(make_scene(), run=run, observers=[watcher], steps=3)
    assert (result.step, watcher.asked) == (3, 3)


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    with Run.create(tmp_path, {}) as run:
        first = train(make_scene(), run=run, steps=3)
    watcher = Watcher()
    with Run.resume(tmp_path) as run:
        again = train(make_scene(), run=run, observers=[watcher], steps=3)
    assert watcher.asked == 0 and again.completed
    assert same(first.gaussians.tensors(), again.gaussians.tensors())


def test_a_run_that_was_trained_without_exposure_says_so(tmp_path):
    with Run.create(tmp_path, {}) as run:
        train(make_scene(), run=run, steps=3, exposure="none")
    with Run.resume(tmp_path) as run, pytest.raises(InputError, match="--exposure none"):
        train(make_scene(), run=run, steps=6, exposure="affine")


def test_time_spent_before_counts(tmp_path):
    """A run whose time is used up takes no further step."""
    with Run.create(tmp_path, {}) as run:
        train(make_scene(), run=run, steps=5)
        spent = run.latest_checkpoint().meta["train_seconds"]
    watcher = Watcher()
    with Run.resume(tmp_path) as run:
        result = train(make_scene(), run=run, observers=[watcher], steps=1000, max_seconds=spent / 2)
    assert (watcher.asked, result.step, result.completed) == (0, 5, True)


def test_backgrounds_and_order_follow_the_seed_alone():
    assert torch.equal(background_color("random", 3, 17), background_color("random", 3, 17))
    assert len({tuple(background_color("random", 3, step).tolist()) for step in range(50)}) == 50
    for epoch in range(3):
        order = [photo_index(3, 7 * epoch + i, 7) for i in range(7)]
        assert sorted(order) == list(range(7))
    assert [photo_index(3, i, 7) for i in range(7)] != [photo_index(3, i, 7) for i in range(7, 14)]
