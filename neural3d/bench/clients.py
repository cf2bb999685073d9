"""The clients table: how fast training goes while browsers look, some of them stalled or hostile."""

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from statistics import harmonic_mean
from typing import Any

from neural3d.bench.crowd import Crowd, Mix
from neural3d.bench.machine import provenance
from neural3d.bench.quality import chosen_captures
from neural3d.capture import load_capture
from neural3d.errors import InputError
from neural3d.render.splats import render_function
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.observer import Progress, Request
from neural3d.train.splats import train_splats
from neural3d.viewer import Viewer

COUNTS = (0, 1, 8, 32)
ENGINE_COUNTS = (0, 1, 8)
STEPS = 800
ROUNDS = 2
NO_VIEWER = -1
"""In the place of a number of clients."""
SETTLE_SECONDS = 2.0
"""For the page and the photos to arrive before training begins."""


class Pulse:
    """A `TrainingObserver` that notes when each step begins."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    def on_progress(self, progress: Progress, snapshot: Callable[[], Gaussians]) -> None:
        """Nothing to show."""

    def requested(self) -> Request:
        """Asked before each step."""
        self.times_s.append(time.perf_counter())
        return "run"

    def longest_ms(self) -> float:
        """From one step to the next."""
        return 1e3 * max(after - before for before, after in zip(self.times_s, self.times_s[1:], strict=False))


@dataclass(frozen=True)
class Training:
    """The same training, once for each crowd."""

    scene: Scene
    config: SplatConfig
    by_engine: bool = False
    """Everybody moves, and looks at the engine's pictures; else nobody does, and some misbehave."""

    def mix(self, count: int) -> Mix:
        """So many clients."""
        return Mix(live=count) if self.by_engine else Mix.of(count)


def measure_clients(
    *,
    counts: Sequence[int] | None = None,
    by_engine: bool = False,
    steps: int = STEPS,
    rounds: int = ROUNDS,
    capture: str | None = None,
    downscale: float = 1.0,
) -> dict[str, Any]:
    """Steps a second of one training on a capture, by default the bundled one, with each number of clients.

    It is held against the pace without a viewer.
    The number of clients rises in one round and falls in the next, so that what changes slowly disturbs all alike.
    `by_engine` makes all of them look at pictures that the engine draws, ten times a second from another place.

    Raises:
        InputError: There is no such capture, or this is not Linux.
    """
    if sys.platform != "linux":
        raise InputError("bench clients: the clients are counted in ways of Linux; run it there")
    (spec,) = chosen_captures([capture or "bundled"])
    config = SplatConfig(steps=steps, max_seconds=None, background=spec.background)
    training = Training(load_capture(spec.path, downscale=downscale * spec.downscale), config, by_engine)
    counts = (ENGINE_COUNTS if by_engine else COUNTS) if counts is None else counts
    headless: list[float] = []
    taken: dict[int, list[dict[str, Any]]] = defaultdict(list)
    headless_pace(replace(training, config=replace(config, steps=min(50, steps))))  # to have everything loaded
    for i in range(rounds):
        for count in sorted((NO_VIEWER, *counts), reverse=bool(i % 2)):
            if count == NO_VIEWER:
                headless.append(headless_pace(training))
            else:
                taken[count].append(with_crowd(training, training.mix(count)))
    pace = harmonic_mean(headless)
    return {
        "table": "clients_engine" if by_engine else "clients",
        "capture": spec.name,
        "photo_size_px": list(training.scene.photos[0].pixels.shape[1::-1]),
        "steps": steps,
        "rounds": rounds,
        "num_gaussians": taken[min(taken)][0]["num_gaussians"],
        "headless": {"steps_per_second": pace, "each_round": headless},
        "crowds": _compared({count: _summed(parts) for count, parts in sorted(taken.items())}, pace),
        **provenance(),
    }


def headless_pace(training: Training) -> float:
    """Steps a second without a viewer."""
    result = train_splats(training.scene, training.config)
    return result.step / result.train_seconds


def with_crowd(training: Training, mix: Mix) -> dict[str, Any]:
    """Train with a viewer that a crowd looks at."""
    with Viewer(training.scene, render_fn_from=render_function, port=0) as viewer:
        with Crowd(viewer.url, f"viser-v{version('viser')}", mix) as crowd:
            _wait_for(viewer, mix.live + mix.stalled + mix.flooding)
            if training.by_engine:
                for visit in tuple(viewer.visits.values()):
                    visit.draw_by_engine()
            viewer.server.door.counts.clear()
            crowd.count()
            pulse, cpu = Pulse(), time.process_time()
            result = train_splats(training.scene, training.config, observers=[pulse, viewer])
            cpu = time.process_time() - cpu
            told = crowd.leave()
        turned_away = dict(viewer.server.door.counts)
        errors = viewer.errors
    return {
        "mix": vars(mix),
        "steps": result.step,
        "seconds": result.train_seconds,
        "num_gaussians": len(result.gaussians),
        "training_cpu_seconds": cpu,
        "longest_step_ms": pulse.longest_ms(),
        "clients": told,
        "turned_away": turned_away,
        "viewer_errors": errors,
    }


def _wait_for(viewer: Viewer, count: int) -> None:
    """Until so many are connected, and have had time to take what is sent first.

    Raises: RuntimeError when they do not come.
    """
    end = time.monotonic() + 60
    while len(viewer.server.door.clients) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(viewer.server.door.clients)} of {count} clients came to the viewer")
        time.sleep(0.05)
    time.sleep(SETTLE_SECONDS)


def _summed(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over all rounds with one number of clients."""
    seconds = sum(part["seconds"] for part in parts)
    told = [part["clients"] for part in parts]
    turned_away: Counter[str] = Counter()
    for part in parts:
        turned_away.update(part["turned_away"])
    return {
        **parts[0]["mix"],
        "steps_per_second": sum(part["steps"] for part in parts) / seconds,
        "each_round": [part["steps"] / part["seconds"] for part in parts],
        "training_cores": sum(part["training_cpu_seconds"] for part in parts) / seconds,
        "clients_cores": sum(each["cpu_seconds"] for each in told) / sum(each["seconds"] for each in told),
        "received_mib_per_second": sum(each["received_bytes"] for each in told) / 2**20 / seconds,
        "longest_step_ms": max(part["longest_step_ms"] for part in parts),
        "connections_ended": sum(each["ended"] for each in told),
        "turned_away": dict(turned_away),
        "viewer_errors": sum(part["viewer_errors"] for part in parts),
    }


def _compared(crowds: dict[int, dict[str, Any]], pace: float) -> list[dict[str, Any]]:
    """By number of clients, each with its `share` of the headless pace; `share_elsewhere` is an estimate.

    It gives the training back the cores that the clients used, as if they had run on other machines.
    """
    cores = os.cpu_count() or 1
    rows = []
    for count, crowd in crowds.items():
        share = crowd["steps_per_second"] / pace
        elsewhere = share * cores / (cores - min(crowd["clients_cores"], cores / 2))
        rows.append({"clients": count, "share": share, "share_elsewhere": min(elsewhere, 1.0), **crowd})
    return rows
