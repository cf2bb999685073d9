"""One measurement in a process of its own: `python -m neural3d.bench.gpu PART --output FILE`; used by gpu_check.py.

PART is operators, gsplat-operators, gradients, frames, determinism, or train/CAPTURE/TRAINER.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from neural3d.bench.gpu.determinism import measure_determinism, unordered_operators
from neural3d.bench.gpu.frames import measure_frames
from neural3d.bench.gpu.operators import measure_gradients, measure_gsplat_operators, measure_operators
from neural3d.bench.gpu.training import measure_training
from neural3d.bench.quality import chosen_captures
from neural3d.devices import choose_device, require_kernels
from neural3d.run import finite_json
from neural3d.storage import atomic_write_text

TABLES = {
    "operators": measure_operators,
    "gsplat-operators": measure_gsplat_operators,
    "gradients": measure_gradients,
    "frames": measure_frames,
}
WITHOUT_GSPLAT = ("operators", "determinism", "native", "native-exact")


def measure(part: str, *, device: torch.device, steps: int, downscale: float | None, unordered: Path) -> dict[str, Any]:
    """What a part measures.

    Raises: InputError where the capture, gsplat, or the library `unordered` is not at hand.
    """
    if part.split("/")[-1] not in WITHOUT_GSPLAT:
        require_kernels("gsplat")
    if part in TABLES:
        return TABLES[part](device)
    if part == "determinism":
        return measure_determinism(device, unordered_operators(unordered))
    _, capture, trainer = part.split("/")
    (spec,) = chosen_captures([capture])
    spec = spec if downscale is None else replace(spec, downscale=downscale)
    return measure_training(trainer, spec, steps=steps, device=device)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--downscale", type=float)
    parser.add_argument("--unordered", type=Path, default=Path("unordered.so"), help="see benchmarks/unordered_sums.py")
    given = parser.parse_args()
    options = {"steps": given.steps, "downscale": given.downscale, "unordered": given.unordered}
    found = measure(given.part, device=choose_device(given.device), **options)
    atomic_write_text(given.output, json.dumps(finite_json(found), allow_nan=False))
