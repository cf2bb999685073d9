"""Training on each device that this machine has: where there is a GPU, it learns what the CPU learns."""

from dataclasses import replace

import pytest
import torch

from neural3d.evaluation import evaluate
from neural3d.render.splats import render_function
from neural3d.run import Run
from neural3d.train.splats import TrainResult

from .small_scenes import is_finite, make_scene, psnr_of, same, stop_at, train

STEPS = 60


def trained(device: torch.device, **options) -> TrainResult:
    """On the small scene, its Gaussians brought back to the host."""
    scene = make_scene(gains=[1.0, 0.8, 1.2, 1.0, 0.9, 1.1, 1.0, 1.0])
    result = train(scene, steps=STEPS, device=device, **options)
    assert result.gaussians.device.type == device.type
    return replace(result, gaussians=result.gaussians.to("cpu"))


@pytest.mark.parametrize("exposure", ["none", "affine", "bilateral"])
@pytest.mark.parametrize("densify", ["mcmc", "adc"])
def test_it_learns_what_the_cpu_learns(device, densify, exposure):
    options = {"densify": densify, "exposure": exposure, "sh_degree": 2}
    result, expected = (trained(where, **options) for where in (device, torch.device("cpu")))
    assert result.completed and result.poisoned_steps == 0 and is_finite(result.gaussians)
    found, wanted = psnr_of(result.gaussians, make_scene()), psnr_of(expected.gaussians, make_scene())
    assert found == pytest.approx(wanted, abs=0.3)
    assert abs(len(result.gaussians) - len(expected.gaussians)) <= 0.05 * len(expected.gaussians)


@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("antialiased", [False, True])
def test_every_mode_runs(device, antialiased, has_alpha):
    result = train(make_scene(has_alpha=has_alpha), steps=12, antialiased=antialiased, device=device)
    assert is_finite(result.gaussians) and result.gaussians.antialiased == antialiased


def test_a_resumed_run_has_the_same_bytes(device, tmp_path):
    straight = train(make_scene(), steps=STEPS, device=device).gaussians
    with Run.create(tmp_path / "run", {}) as run:
        train(make_scene(), steps=STEPS, device=device, run=run, observers=[stop_at(STEPS // 2)])
    with Run.resume(tmp_path / "run") as run:
        resumed = train(make_scene(), steps=STEPS, device=device, run=run).gaussians
    assert same(resumed.tensors(), straight.tensors())


def test_a_model_is_judged_where_it_lies(device):
    scene = replace(make_scene(), test_indices=torch.tensor([0, 3]))
    gaussians = train(scene, steps=STEPS, device=device).gaussians
    there, here = (evaluate(render_function(model), scene) for model in (gaussians, gaussians.to("cpu")))
    assert there.mean("psnr") == pytest.approx(here.mean("psnr"), abs=0.01)
    assert there.mean("ssim") == pytest.approx(here.mean("ssim"), abs=1e-3)
