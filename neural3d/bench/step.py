"""The step table: a training step, split by operator, beside what the machine's multiply-adders could do."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from neural3d.bench.clock import fma_peak_gflops, interleaved_ms, median_ms, split_ms
from neural3d.bench.machine import provenance
from neural3d.bench.scenes import (
    STEP_14K,
    STEP_50K,
    TWIN,
    SceneSpec,
    blended_share,
    count_pairs,
    generate,
)
from neural3d.bench.twin import twin_step
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.library import native
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import splat_view, view_of
from neural3d.train.config import SplatConfig
from neural3d.train.densify import StepContext
from neural3d.train.exposure import Exposure, fresh_exposure
from neural3d.train.gradients import GradientFn
from neural3d.train.mcmc import Mcmc
from neural3d.train.photos import TrainingPhoto, background_color
from neural3d.train.planned_gradient import engine_gradient
from neural3d.train.schedule import active_sh_degree, means_rate, parameter_rates
from neural3d.train.state import SplatState, adam_update, fresh_state

CONFIG = SplatConfig()
FRACTION, STEP = 0.5, 15_001
"""In the middle of a run: all harmonics, full resolution, one step after a round of relocation."""
EXTENT = 2.0
GROWN, DEAD = 0.02, 0.01
"""Shares of the Gaussians that a round of relocation adds and moves: a run of 30,000 steps grows tenfold in 120 rounds,
and trainings of the bundled capture lose up to 1 % between two of them."""
OPERATORS = {
    "project": ("project", "visible_rows"),
    "sh": ("sh_colors",),
    "bin": ("bin_gaussians",),
    "rasterize": ("rasterize",),
    "exposure": ("color_affine", "color_affine_vjp"),
    "photometric": ("photometric",),
    "rasterize_vjp": ("rasterize_vjp",),
    "sh_vjp": ("sh_pulls",),
    "project_vjp": ("project_vjp",),
    "adam": ("adam", "adam_sh"),
    "densify": ("add_penalties", "shake"),
}
"""Lines of the table, and the native operators that they add up."""


@dataclass(frozen=True)
class Workload:
    """A training step that can be taken again and again from the same Gaussians."""

    start: Gaussians
    state: SplatState
    photo: TrainingPhoto
    exposure: Exposure
    densifier: Mcmc
    pairs: int
    blended_share: float
    gradient_of: GradientFn

    def rewind(self) -> None:
        """Back to the Gaussians that every repeat starts from; what Adam remembers stays."""
        for name, tensor in self.state.gaussians.tensors().items():
            tensor.copy_(self.start.tensors()[name])


def workload(spec: SceneSpec, device: torch.device = torch.device("cpu")) -> Workload:
    """The generated scene, and a photo of it in other colours to be fitted; the same numbers on every device."""
    native().keep_memory()  # as training does
    scene = generate(spec)
    view, black = view_of(scene.cameras, 0), torch.zeros(3)
    seen = splat_view(scene.gaussians, view, black).projected
    pairs = count_pairs(seen, view.width, view.height)
    share = blended_share(seen, bin_gaussians(seen, width=view.width, height=view.height), pairs)
    recolored = replace(scene.gaussians, sh=scene.gaussians.sh.roll(1, dims=0))
    image = splat_view(recolored, view, black).image.clamp(0, 1)
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    densifier = Mcmc(max_gaussians=round((1 + GROWN) * len(scene.gaussians)))
    photo = TrainingPhoto(view, pixels, None, None).to(device)
    start, exposure = scene.gaussians.to(device), fresh_exposure(CONFIG.exposure, 1, device)
    return Workload(start, fresh_state(start), photo, exposure, densifier, pairs, share, engine_gradient(device))


def take_step(work: Workload) -> None:
    """What training does for one photo, with the default configuration."""
    degree, device = active_sh_degree(CONFIG, FRACTION), work.state.device
    gradient = work.gradient_of(
        work.state.gaussians,
        work.photo,
        background_color("black", CONFIG.seed, STEP, device),
        sh_degree=degree,
        exposure=work.exposure.color_map(0),
        ssim_weight=CONFIG.ssim_weight,
    )
    visible = gradient.visible
    rate = means_rate(CONFIG.rates, FRACTION, EXTENT)
    context = StepContext(STEP, FRACTION, CONFIG.seed, EXTENT, rate, visible)
    work.densifier.before_update(work.state, gradient, context)
    columns = parameter_rates(CONFIG.rates, FRACTION, EXTENT, degree, work.state.gaussians.sh.shape[1], device)
    adam_update(work.state, gradient.gaussians, columns, step=STEP, visible=visible)
    work.densifier.after_update(work.state, context)
    work.exposure.update(0, gradient.exposure, rate=CONFIG.rates.exposure, step=STEP)


def measure_step(
    *, specs: tuple[SceneSpec, SceneSpec] = (STEP_14K, STEP_50K), twin: SceneSpec = TWIN, repeats: int = 200
) -> dict[str, Any]:
    """The whole table; keys that end in `_50k` belong to the second scene.

    `fma_peak_gflops` is the mean of measurements before and after everything else; `rest_over_blend` is all of a step
    but the two blend loops, the round of relocation every 100 steps included, divided by these two.
    """
    before = fma_peak_gflops()
    small, large = (_measured(spec, repeats) for spec in specs)
    ratios = {"avx2_ratio": _avx2_ratio(specs[0], repeats), "torch_twin_ratio": _twin_ratio(twin, repeats)}
    after = fma_peak_gflops()
    peak = (before + after) / 2
    for part in (small, large):
        part["forward_pairs_per_flop"] = part["forward_gpairs"] / peak
        part["backward_pairs_per_flop"] = part["backward_gpairs"] / peak
    return {
        "table": "step",
        **small,
        **{f"{key}_50k": value for key, value in large.items()},
        **ratios,
        "torch_twin_scene": twin.name,
        "fma_peak_gflops": peak,
        "fma_peak_gflops_before": before,
        "fma_peak_gflops_after": after,
        "repeats": repeats,
        **provenance(),
    }


def expected_step_ms(width: int, height: int, *, repeats: int = 3) -> float:
    """Milliseconds of a step at another size: the generated scene of 50,000 Gaussians, with as many pairs a pixel."""
    pixels = width * height
    pairs = STEP_50K.pairs * pixels // (STEP_50K.width * STEP_50K.height)
    work = workload(replace(STEP_50K, name="estimate", width=width, height=height, pairs=pairs))
    return median_ms(partial(take_step, work), repeats, between=work.rewind)


def _measured(spec: SceneSpec, repeats: int) -> dict[str, Any]:
    work = workload(spec)
    step_ms, native_ms = split_ms(partial(take_step, work), repeats, between=work.rewind)
    operators = {line: sum(native_ms[name] for name in names) for line, names in OPERATORS.items()}
    operators["other"] = step_ms - sum(operators.values())
    relocation_ms = _relocation_ms(work, max(3, repeats // 20))
    blend_ms = operators["rasterize"] + operators["rasterize_vjp"]
    rest_ms = step_ms + relocation_ms / work.densifier.config.interval - blend_ms
    return {
        "step_ms": step_ms,
        "operators": operators,
        "relocation_ms": relocation_ms,
        "rest_over_blend": rest_ms / blend_ms,
        "forward_gpairs": work.pairs / operators["rasterize"] / 1e6,
        "backward_gpairs": work.pairs / operators["rasterize_vjp"] / 1e6,
        "pairs": work.pairs,
        "blended_share": work.blended_share,
        "scene": spec.name,
    }


def _relocation_ms(work: Workload, repeats: int) -> float:
    """What a step with a round of relocation and growth takes longer in the densifier; every 100th has one."""
    visible = torch.ones(len(work.state), dtype=torch.bool)
    rate = means_rate(CONFIG.rates, FRACTION, EXTENT)
    rounds: dict[str, Callable[[], object]] = {}
    for name, step in (("plain", STEP), ("round", STEP - STEP % work.densifier.config.interval)):
        context = StepContext(step, FRACTION, CONFIG.seed, EXTENT, rate, visible)
        rounds[name] = partial(work.densifier.after_update, work.state, context)

    def before() -> None:
        work.rewind()
        work.state.gaussians.logit_opacities[: round(DEAD * len(work.state))] = -10

    taken = interleaved_ms(rounds, repeats, between=before)
    return taken["round"] - taken["plain"]


def _avx2_ratio(spec: SceneSpec, repeats: int) -> float | None:
    """Step time with AVX2 by that with AVX-512, taken in turns; None where the machine has no AVX-512."""
    usual = native().simd()
    if usual != "avx512":
        return None
    work = workload(spec)

    def step_on(instruction_set: str) -> None:
        native().set_simd(instruction_set)
        take_step(work)

    try:
        calls = {name: partial(step_on, name) for name in ("avx512", "avx2")}
        taken = interleaved_ms(calls, repeats, between=work.rewind)
    finally:
        native().set_simd(usual)
    return taken["avx2"] / taken["avx512"]


def _twin_ratio(spec: SceneSpec, repeats: int) -> float:
    """Time of a step (forward, backward, Adam) in plain torch by that of the native one, on the same scene."""
    work = workload(spec)
    native_ms = median_ms(partial(take_step, work), repeats, between=work.rewind)
    twin_ms = median_ms(partial(twin_step, work.state, work.photo), max(3, repeats // 40), between=work.rewind)
    return twin_ms / native_ms
