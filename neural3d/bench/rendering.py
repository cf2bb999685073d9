"""The render table: frames a second of a large model."""

from functools import partial
from typing import Any

import torch

from neural3d.bench.clock import fma_peak_gflops, split_ms
from neural3d.bench.machine import provenance
from neural3d.bench.scenes import RENDER_200K, SceneSpec, blended_share, count_pairs, generate
from neural3d.ops.bin import bin_gaussians
from neural3d.render.splats import render_function
from neural3d.splats.view import splat_view, view_of

OPERATORS = {"project": "project", "sh": "sh_colors", "bin": "bin_gaussians", "rasterize": "rasterize"}


def measure_render(*, spec: SceneSpec = RENDER_200K, repeats: int = 60) -> dict[str, Any]:
    """The whole table: cameras in, pictures out, as viewers and evaluation see the engine."""
    scene = generate(spec)
    view = view_of(scene.cameras, 0)
    seen = splat_view(scene.gaussians, view, torch.zeros(3)).projected
    pairs = count_pairs(seen, view.width, view.height)
    frame = partial(render_function(scene.gaussians), scene.cameras)
    before = fma_peak_gflops()
    frame_ms, native_ms = split_ms(frame, repeats)
    after = fma_peak_gflops()
    operators = {line: native_ms[name] for line, name in OPERATORS.items()}
    operators["other"] = frame_ms - sum(operators.values())
    forward_gpairs, peak = pairs / operators["rasterize"] / 1e6, (before + after) / 2
    return {
        "table": "render",
        "fps": 1e3 / frame_ms,
        "frame_ms": frame_ms,
        "operators": operators,
        "forward_gpairs": forward_gpairs,
        "forward_pairs_per_flop": forward_gpairs / peak,
        "pairs": pairs,
        "blended_share": blended_share(seen, bin_gaussians(seen, width=view.width, height=view.height), pairs),
        "scene": spec.name,
        "fma_peak_gflops": peak,
        "fma_peak_gflops_before": before,
        "fma_peak_gflops_after": after,
        "repeats": repeats,
        **provenance(),
    }
