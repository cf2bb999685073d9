"""The step and render tables of another device than the CPU: pace as in a run, and milliseconds of each operator."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch

from neural3d.bench.gpu.operators import STAGES, our_stages
from neural3d.bench.gpu.timing import WARM_UP, device_ms, forget_peak_memory, peak_memory_mib, wait_for
from neural3d.bench.gpu.workloads import workload as render_workload
from neural3d.bench.machine import provenance
from neural3d.bench.scenes import RENDER_200K, STEP_14K, STEP_50K, SceneSpec
from neural3d.bench.step import take_step, workload
from neural3d.render.splats import render_function

RENDER_STAGES = ("project", "sh", "bin", "rasterize")


def measure_device_step(
    device: torch.device, *, specs: tuple[SceneSpec, ...] = (STEP_14K, STEP_50K), repeats: int = 200
) -> dict[str, Any]:
    """A training step on a device, one after the other without a look at the clock between them."""
    return {
        "table": "device_step",
        "device": device_name(device),
        "scenes": {spec.name: _step(spec, device, repeats) for spec in specs},
        "repeats": repeats,
        **provenance(),
    }


def measure_device_render(device: torch.device, *, spec: SceneSpec = RENDER_200K, repeats: int = 100) -> dict[str, Any]:
    """Frames on a device, likewise."""
    work = render_workload(spec, device)
    frame = partial(render_function(work.gaussians), work.cameras)
    frame_ms, memory = _pace_ms(frame, device, repeats)
    stages = our_stages(work)
    return {
        "table": "device_render",
        "device": device_name(device),
        "scene": spec.name,
        "fps": 1e3 / frame_ms,
        "frame_ms": frame_ms,
        "operators": {name: device_ms(stages[name], device, repeats=repeats) for name in RENDER_STAGES},
        "peak_memory_mib": memory,
        "repeats": repeats,
        **provenance(),
    }


def device_name(device: torch.device) -> str:
    """As its driver calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _step(spec: SceneSpec, device: torch.device, repeats: int) -> dict[str, Any]:
    work = workload(spec, device)
    step_ms, memory = _pace_ms(partial(take_step, work), device, repeats)
    stages = our_stages(render_workload(spec, device))
    return {
        "step_ms": step_ms,
        "operators": {name: device_ms(stages[name], device, repeats=repeats) for name in STAGES},
        "pairs": work.pairs,
        "peak_memory_mib": memory,
    }


def _pace_ms(call: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float | None]:
    """Milliseconds of each of many calls in a row, and the most memory that they held."""
    for _ in range(WARM_UP):
        call()
    wait_for(device)
    forget_peak_memory(device)
    begun = perf_counter()
    for _ in range(repeats):
        call()
    wait_for(device)
    return 1e3 * (perf_counter() - begun) / repeats, peak_memory_mib(device)
