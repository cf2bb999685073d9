"""Frames a second of a large model at 1920x1080, ours and gsplat's, in turns."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from neural3d.bench.gpu.timing import forget_peak_memory, interleaved_device_ms, peak_memory_mib
from neural3d.bench.gpu.workloads import FULL_HD, workload
from neural3d.bench.scenes import SceneSpec
from neural3d.render.gsplat_view import gsplat_render_function
from neural3d.render.splats import render_function


def measure_frames(device: torch.device, *, spec: SceneSpec = FULL_HD, repeats: int = 100) -> dict[str, Any]:
    """Milliseconds of a frame, how far the two pictures are from each other, and the memory each takes."""
    work = workload(spec, device)
    renders = {"native": render_function(work.gaussians), "gsplat": gsplat_render_function(work.gaussians)}
    frames: dict[str, Callable[[], Any]] = {name: partial(render, work.cameras) for name, render in renders.items()}
    images = {name: frame().colors for name, frame in frames.items()}
    difference = (images["native"] - images["gsplat"]).abs()
    memory = {}
    for name, frame in frames.items():
        forget_peak_memory(device)
        frame()
        memory[name] = peak_memory_mib(device)
    frame_ms = interleaved_device_ms(frames, device, repeats=repeats)
    return {
        "scene": work.name,
        "frame_ms": frame_ms,
        "fps": {name: 1e3 / taken for name, taken in frame_ms.items()},
        "peak_memory_mib": memory,
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "repeats": repeats,
    }
