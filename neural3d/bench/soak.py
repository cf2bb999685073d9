"""The soak: a training that is killed, paused and looked at, beside one that is left alone.

Both run in processes of their own, from the same seed to the same number of steps; the bytes that they end with must be
the same. Memory, threads and open files are read from outside, over time.
"""

import hashlib
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import linear_regression
from tempfile import TemporaryDirectory
from typing import Any

from neural3d.bench.crowd import Mix
from neural3d.bench.machine import provenance
from neural3d.bench.quality import chosen_captures
from neural3d.bench.watched import Kill, Part, Plan, train_part
from neural3d.errors import InputError
from neural3d.run import Run
from neural3d.train.config import SplatConfig

SLOPE_STEPS = 5000
"""Fewer say nothing about memory over time."""


def measure_soak(
    *,
    seconds: float = 3600.0,
    steps: int | None = None,
    kills: int | None = None,
    clients: int = 8,
    capture: str | None = None,
    downscale: float = 1.0,
    config: SplatConfig = SplatConfig(),
) -> dict[str, Any]:
    """Train a capture, by default the bundled one, twice for half of the time; or for so many `steps`.

    `kills` is by default one in two minutes of the second training. Checkpoints are kept once a minute, or twenty times
    in a shorter training.

    Raises:
        InputError: There is no such capture, or this is not Linux.
        RuntimeError: A training ended by itself.
    """
    if sys.platform != "linux":
        raise InputError("bench soak: the processes are watched through /proc; run it on Linux")
    (spec,) = chosen_captures([capture or "bundled"])
    each = seconds / 2
    config = replace(config, max_seconds=None, background=spec.background, checkpoint_seconds=min(60.0, each / 20))
    kills = max(1, round(each / 120)) if kills is None else kills
    plan = Plan(spec.path, downscale * spec.downscale, config, each, kills, clients)
    with TemporaryDirectory() as folder:
        total = _steps_in(plan, Path(folder) / "pace") if steps is None else steps
        plan = replace(plan, config=replace(config, steps=total))
        calm = _calm(plan, Path(folder) / "calm")
        rough = _rough(plan, Path(folder) / "rough")
        ends = [_sha256(Path(folder) / name) for name in ("calm", "rough")]
    return {
        "table": "soak",
        "capture": spec.name,
        "steps": total,
        "same_bytes": ends[0] == ends[1],
        "sha256": ends,
        "undisturbed": _summary([calm]),
        "disturbed": _summary(rough),
        "clients": vars(Mix.of(clients)),
        "checkpoint_seconds": config.checkpoint_seconds,
        **provenance(),
    }


def _steps_in(plan: Plan, folder: Path) -> int:
    """How many steps fill the plan's time, from a short run through all of the schedule."""
    seconds = max(5.0, plan.seconds / 30)
    part = train_part(replace(plan, config=replace(plan.config, steps=10**7, max_seconds=seconds)), folder, 0)
    return max(100, round(part.to_step * plan.seconds / seconds))


def _calm(plan: Plan, folder: Path) -> Part:
    return train_part(replace(plan, clients=0, pause_seconds=0.0), folder, 0)


def _rough(plan: Plan, folder: Path) -> list[Part]:
    """Kill it a little after steps that chance chooses, resume what is there each time, and let it end."""
    chance, began = random.Random(0), time.monotonic()
    kill_steps = sorted(chance.randrange(plan.config.steps) for _ in range(plan.kills))
    parts: list[Part] = []
    while not parts or parts[-1].killed:
        index = len(parts)
        kill = Kill(kill_steps[index], chance.uniform(0, 0.5)) if index < plan.kills else None
        parts.append(train_part(plan, folder, index, kill=kill, began=began))
    return parts


def _sha256(folder: Path) -> str:
    """Of all tensors of a run's last state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(Run.open(folder).latest_checkpoint().tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _summary(parts: Sequence[Part]) -> dict[str, Any]:
    """What a training did, and what it held."""
    samples = [sample for part in parts for sample in part.samples]
    lost = [max(0, before.to_step - after.from_step) for before, after in zip(parts, parts[1:], strict=False)]
    return {
        "seconds": samples[-1].seconds,
        "num_gaussians": samples[-1].num_gaussians,
        "kills": sum(part.killed for part in parts),
        "pauses": sum(part.pauses for part in parts),
        "steps_lost": lost,
        "rss_mib_max": max(sample.rss_mib for sample in samples),
        "rss_mib_per_10k_steps": [_slope(part) for part in parts],
        "threads_max": max(sample.threads for sample in samples),
        "files_max": max(sample.files for sample in samples),
        "parts": [{**vars(part), "samples": [asdict(sample) for sample in part.samples]} for part in parts],
    }


def _slope(part: Part) -> float | None:
    """Of the memory, once the model has its last size and a tenth of the part is over; None where that is too short."""
    settled = [sample for sample in part.samples if sample.num_gaussians == part.samples[-1].num_gaussians]
    settled = settled[len(part.samples) // 10 :]
    if len(settled) < 10 or settled[-1].step - settled[0].step < SLOPE_STEPS:
        return None
    return linear_regression([s.step for s in settled], [s.rss_mib for s in settled]).slope * 1e4
