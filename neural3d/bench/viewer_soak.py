"""The soak of the viewer: does it forget those who came, stalled, vanished or misbehaved?

A viewer in a process of its own shows a model that changes, as in a training, while clients come and go. Its memory,
threads and open files are read from outside, over time.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from neural3d.bench.crowd import Crowd, Mix
from neural3d.bench.machine import provenance
from neural3d.bench.scenes import STEP_14K, SceneSpec, generate
from neural3d.bench.watched import held_by
from neural3d.errors import InputError
from neural3d.render.splats import render_function
from neural3d.train.observer import Progress
from neural3d.viewer import Viewer

MIX = Mix(live=4, stalled=2, flooding=1, garbage=2, vanishing=4)
SAMPLES = 1200
"""At most."""
WARM_UP, SHARE = 0.2, 0.1
"""Of the time: what is not looked at, and what each of the two medians is taken of."""
PROGRESS_SECONDS = 0.25
LEAVE_SECONDS = 60.0
"""For the viewer to notice that all are gone."""


@dataclass(frozen=True)
class Held:
    """The viewer's process from outside."""

    seconds: float
    rss_mib: float
    threads: int
    files: int
    """Open descriptors, sockets among them."""


def measure_viewer_soak(*, seconds: float = 3600.0, mix: Mix = MIX, scene: SceneSpec = STEP_14K) -> dict[str, Any]:
    """Memory of a viewer over time while clients come, stall, vanish and send garbage.

    Raises:
        InputError: This is not Linux.
        RuntimeError: The viewer ended by itself.
    """
    if sys.platform != "linux":
        raise InputError("bench viewer_soak: the process is watched through /proc; run it on Linux")
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_show, args=(scene, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        with Crowd(ours.recv(), f"viser-v{version('viser')}", mix) as crowd:
            crowd.count()
            held = _watched(Path(f"/proc/{process.pid}"), seconds)
            told = crowd.leave()
        ours.send("end")
        end = ours.recv()
    except EOFError as error:
        raise RuntimeError("the viewer of the soak ended by itself; its last lines are above") from error
    finally:
        process.kill()
        process.join()
    return {
        "table": "viewer_soak",
        "scene": scene.name,
        "num_gaussians": scene.num_gaussians,
        "seconds": held[-1].seconds,
        "mix": vars(mix),
        "joined": told["joined"],
        "ended": told["ended"],
        "growth_mib": growth_mib(held),
        "rss_mib_max": max(sample.rss_mib for sample in held),
        "threads_end": held[-1].threads,
        "files_end": held[-1].files,
        **end,
        "samples": [asdict(sample) for sample in held],
        **provenance(),
    }


def growth_mib(held: Sequence[Held]) -> float:
    """Of the memory: the median of the last tenth of the time over that of a tenth after the first fifth."""
    seconds = held[-1].seconds
    begin = [each.rss_mib for each in held if WARM_UP <= each.seconds / seconds <= WARM_UP + SHARE]
    end = [each.rss_mib for each in held if each.seconds / seconds >= 1 - SHARE]
    return statistics.median(end) - statistics.median(begin)


def _watched(process: Path, seconds: float) -> list[Held]:
    """Samples, evenly over the time."""
    began, held = time.monotonic(), []
    while (now := time.monotonic() - began) < seconds:
        numbers = held_by(process)
        if numbers is None:
            raise RuntimeError("the viewer of the soak ended by itself; its last lines are above")
        held.append(Held(now, *numbers))
        time.sleep(max(seconds / SAMPLES, 0.05))
    return held


def _show(scene: SceneSpec, link: Connection) -> None:
    """What the viewer's process does; half of the visitors look at the engine's pictures."""
    model, step = generate(scene).gaussians, 0
    with Viewer(is_training=True, render_fn_from=render_function, port=0) as viewer:
        link.send(viewer.url)
        while not link.poll(PROGRESS_SECONDS):
            step += 1
            told = Progress(
                step, 10**6, step / 10**6, step / 4, 1e5, 20 + step % 7, 0.1, 100.0, num_gaussians=len(model)
            )
            model = replace(model, logit_opacities=model.logit_opacities.roll(1))
            viewer.on_progress(told, lambda model=model: model)
            for client_id, visit in tuple(viewer.visits.items()):
                if client_id % 2:
                    visit.draw_by_engine()
        link.send({"turned_away": dict(viewer.server.door.counts), **_left_over(viewer)})


def _left_over(viewer: Viewer) -> dict[str, int]:
    """What the viewer still knows of clients that are all gone, after a while."""
    end = time.monotonic() + LEAVE_SECONDS
    while (count := len(viewer.visits) + len(viewer.server.door.clients)) and time.monotonic() < end:
        time.sleep(0.05)
    return {"left_over": count, "viewer_errors": viewer.errors}
