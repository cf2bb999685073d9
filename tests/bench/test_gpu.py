"""What is timed on a GPU, on the CPU: the same calls on small scenes, with a stand-in for gsplat's kernels."""

import importlib.util
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from emulator.build import ORDERS, emulated_operators, unordered_operators
from train.gsplat_stand_in import front_of_gsplat, front_of_twins, gsplat_replaced

from neural3d.bench.gpu import determinism
from neural3d.bench.gpu.determinism import measure_determinism
from neural3d.bench.gpu.frames import measure_frames
from neural3d.bench.gpu.gsplat_trainer import PRESETS, train_with_gsplat
from neural3d.bench.gpu.operators import STAGES, gsplat_stages, measure_gradients, measure_operators, our_stages
from neural3d.bench.gpu.pace import measure_device_render, measure_device_step
from neural3d.bench.gpu.training import TRAINERS, measure_training
from neural3d.bench.gpu.workloads import workload
from neural3d.bench.quality import CaptureSpec
from neural3d.bench.scenes import SceneSpec
from neural3d.bench.tables import text_of
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.ops.records import HashLevels
from neural3d.scene import Points, Scene
from neural3d.train.config import SplatConfig
from neural3d.train.gradients import photo_gradient
from neural3d.train.initial import initial_gaussians
from neural3d.train.mcmc import shared_opacity

CPU = torch.device("cpu")
TINY = SceneSpec("60 Gaussians at 48x32", 48, 32, 60, 30_000, logit_opacity=-1.0, logit_spread=0.8, axis_spread=0.8)
needs_gsplat = pytest.mark.skipif(
    importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed; the extra [cuda] has it"
)


@pytest.fixture
def gsplat(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """The installed gsplat, with its reference or our formulas in the place of each kernel that is called here."""
    real, reference = import_module("gsplat"), import_module("gsplat.cuda._torch_impl")
    with gsplat_replaced(front_of_gsplat):
        rasterization = import_module("gsplat").rasterization
    monkeypatch.setattr(real, "rasterization", rasterization)
    monkeypatch.setattr("gsplat.strategy.ops.quat_scale_to_covar_preci", reference._quat_scale_to_covar_preci)
    monkeypatch.setattr("gsplat.strategy.ops.compute_relocation", relocated)
    yield real


def relocated(opacities, scales, ratios, binoms):
    """By our formula."""
    new, factor = shared_opacity(opacities.double().numpy(), ratios.clamp(1, 50).long().numpy())
    return torch.from_numpy(new).float(), scales * torch.from_numpy(factor).float()[:, None]


def test_every_stage_of_ours_is_timed():
    found = measure_operators(CPU, specs=(TINY,), repeats=2)[TINY.name]
    assert list(found) == list(STAGES)
    assert all(taken > 0 for taken in found.values())


def test_the_tables_of_a_device():
    step = measure_device_step(CPU, specs=(TINY,), repeats=2)
    assert step["scenes"][TINY.name]["step_ms"] > 0 and set(step["scenes"][TINY.name]["operators"]) == set(STAGES)
    assert "training step on cpu" in text_of(step) and "rasterize_vjp" in text_of(step)
    render = measure_device_render(CPU, spec=TINY, repeats=2)
    assert render["fps"] == pytest.approx(1e3 / render["frame_ms"]) and "memory" not in text_of(render)


@pytest.mark.long  # it compiles drivers that nothing else uses
def test_the_cost_of_a_fixed_order_is_measured_on_the_same_numbers(monkeypatch):
    """The emulated drivers in the place of a GPU's; in another order of threads atomics add otherwise."""
    ordered, unordered = emulated_operators(), unordered_operators()
    monkeypatch.setattr("neural3d.bench.gpu.operators.native", emulated_operators)
    orders = itertools.cycle(ORDERS[:2])

    def in_turns(operators, name):
        def call(*arguments):
            operators.set_order(next(orders))
            return getattr(operators, name)(*arguments)

        return call

    pulls = ("rasterize_vjp", "hash_encode_vjp")
    ways = [
        SimpleNamespace(**{name: in_turns(operators, name) for name in pulls}) for operators in (ordered, unordered)
    ]
    small = {"specs": (TINY,), "points": 500, "levels": HashLevels(2, 4, 8, 8), "repeats": 1}
    found = measure_determinism(CPU, ways[1], ordered=ways[0], **small)
    ordered.set_order(ORDERS[0]), unordered.set_order(ORDERS[0])
    assert len(found) == 2
    for both in found.values():
        assert both["ordered"]["apart"] == 0 < both["unordered"]["apart"] < 1e-4
        assert both["ordered"]["ms"] > 0 < both["unordered"]["ms"]


def test_a_library_that_was_not_built_is_named(tmp_path):
    with pytest.raises(InputError, match="build it with: benchmarks/unordered_sums.py"):
        determinism.unordered_operators(tmp_path / "unordered.so")


def test_gradients_and_frames_of_both_are_timed():
    with gsplat_replaced(front_of_twins):
        gradients = measure_gradients(CPU, specs=(TINY,), repeats=2)[TINY.name]
        frames = measure_frames(CPU, spec=TINY, repeats=2)
    assert set(gradients) == set(frames["fps"]) == {"native", "gsplat"}
    assert frames["mean_difference"] < 1e-3 and frames["largest_difference"] < 0.05
    assert frames["fps"]["native"] == pytest.approx(1e3 / frames["frame_ms"]["native"])
    assert frames["peak_memory_mib"] == {"native": None, "gsplat": None}


@needs_gsplat
def test_gsplats_stages_are_called_as_gsplat_wants_them(gsplat, monkeypatch):
    """Each call is bound to the real function's signature, and answered by gsplat's reference."""
    reference = import_module("gsplat.cuda._torch_impl")
    called = []

    def answers(name, answer):
        signature = inspect.signature(getattr(gsplat, name))

        def call(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            called.append(name)
            return answer(**bound.arguments)

        monkeypatch.setattr(gsplat, name, call)

    def projected(means, covars, quats, scales, viewmats, Ks, width, height, opacities, **_):
        covars, _ = reference._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
        return reference._fully_fused_projection(means, covars, viewmats, Ks, width, height)

    def rasterized(means2d, conics, colors, opacities, image_width, image_height, backgrounds, **_):
        assert means2d.shape[0] == conics.shape[0] == colors.shape[0] == opacities.shape[0] == 1
        pull = means2d.sum() + conics.sum() + colors.sum() + opacities.sum()
        return pull + torch.zeros(1, image_height, image_width, 3), torch.zeros(1, image_height, image_width, 1)

    def harmonics(degrees_to_use, dirs, coeffs, masks):
        return reference._spherical_harmonics(degrees_to_use, dirs, coeffs)

    def listed(means2d, radii, depths, tile_size, tile_width, tile_height, **_):
        return reference._isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height)

    def offsets(isect_ids, n_images, tile_width, tile_height):
        return reference._isect_offset_encode(isect_ids, n_images, tile_width, tile_height)

    answers("fully_fused_projection", projected)
    answers("spherical_harmonics", harmonics)
    answers("isect_tiles", listed)
    answers("isect_offset_encode", offsets)
    answers("rasterize_to_pixels", rasterized)
    stages = gsplat_stages(workload(TINY, CPU))
    assert set(stages) == {*STAGES} - {"photometric"}
    for stage in stages.values():
        stage()
    assert all(called.count(name) >= 2 for name in set(called)) and len(set(called)) == 5


def with_few_points(capture: Path, **options) -> Scene:
    """Random ones: gsplat's reference takes a second a step for as many as training would begin with."""
    scene = load_capture(capture, **options)
    random = initial_gaussians(scene, max_gaussians=30, sh_degree=0, antialiased=False, seed=0)
    return replace(scene, points=Points(random.means_world, torch.full((30, 3), 128, dtype=torch.uint8)))


@needs_gsplat
@pytest.mark.parametrize("preset", PRESETS)
def test_gsplats_own_trainer_learns(gsplat, small_capture, preset):
    scene = with_few_points(small_capture)
    config = SplatConfig(steps=10, max_seconds=None, max_gaussians=40)
    told = []
    result = train_with_gsplat(
        scene,
        config,
        PRESETS[preset],
        device=CPU,
        watcher=lambda seconds, step, snapshot: told.append((step, snapshot)),
    )
    assert [step for step, _ in told] == list(range(1, 11)) and result.seconds > 0
    assert 30 < len(result.gaussians) <= 40 or preset == "default"
    assert all(tensor.isfinite().all() for tensor in result.gaussians.tensors().values())


@needs_gsplat
@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_is_measured(gsplat, small_capture, trainer, monkeypatch):
    spec = CaptureSpec("small", str(small_capture), 1.0, "auto", 1.0)
    monkeypatch.setattr("neural3d.bench.gpu.training.WARM_UP_STEPS", 1)
    monkeypatch.setattr("neural3d.bench.gpu.training.load_capture", with_few_points)
    found = measure_training(trainer, spec, steps=6, device=CPU)
    assert found["trainer"] == trainer and found["steps"] == 6 and found["num_views"] == 2
    assert [point["step"] for point in found["curve"]][-1] == 6
    assert found["curve"][-1]["psnr"] == found["psnr"] > found["curve"][0]["psnr"] - 1
    seconds = [point["seconds"] for point in found["curve"]]
    assert seconds == sorted(seconds) and found["steps_per_second"] == pytest.approx(6 / found["seconds"])


def test_the_engines_pieces_of_a_step_give_its_gradient():
    """What is timed as stages is what training does: the same gradient comes out."""
    work = workload(TINY, CPU)
    stages = our_stages(work)
    given = {"sh_degree": 3, "exposure": None, "ssim_weight": 0.2}
    expected = photo_gradient(work.gaussians, work.photo, work.background, **given)
    d_means, d_quats, d_scales, d_logits = stages["project_vjp"]()
    assert torch.equal(d_means, expected.gaussians.means_world)
    assert torch.equal(d_scales, expected.gaussians.log_scales)
