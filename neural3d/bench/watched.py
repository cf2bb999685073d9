"""A training in a process of its own that is watched from outside: memory, threads, open files, and what it tells.

Limits: Linux, whose /proc is read.
"""

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from neural3d.bench.children import end_with_parent
from neural3d.bench.crowd import Crowd, Mix
from neural3d.capture import load_capture
from neural3d.render.splats import render_function
from neural3d.run import Run
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig
from neural3d.train.observer import Progress, Request
from neural3d.train.splats import train_splats
from neural3d.viewer import Viewer

SAMPLES = 600
"""At most, of each training."""


@dataclass(frozen=True)
class Plan:
    """What both trainings have in common, and what is done to the second."""

    path: str
    downscale: float
    config: SplatConfig
    seconds: float
    """How long one training is expected to take."""
    kills: int
    clients: int
    pause_seconds: float = 1.0


@dataclass(frozen=True)
class Sample:
    """A training process from outside."""

    seconds: float
    """Since the training's first part began."""
    part: int
    step: int
    num_gaussians: int
    rss_mib: float
    threads: int
    files: int
    """Open descriptors, sockets among them."""


@dataclass(frozen=True)
class Kill:
    """When a process is to be killed."""

    step: int
    after_s: float
    """That it has told of this step."""


@dataclass
class Part:
    """One process's share of a training."""

    from_step: int
    to_step: int
    """The last that it told of."""
    killed: bool
    pauses: int = 0
    samples: list[Sample] = field(default_factory=list)


def train_part(plan: Plan, folder: Path, index: int, *, kill: Kill | None = None, began: float | None = None) -> Part:
    """Train in a new process to the end, or until it is killed.

    Raises: RuntimeError when the process ends otherwise.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(plan, folder, index, theirs))
    process.start()
    theirs.close()
    watch = _Watch(process.pid, index, time.monotonic() if began is None else began, plan.seconds / SAMPLES)
    with ExitStack() as stack:
        stack.callback(process.join)
        stack.callback(process.kill)
        end = None
        while not watch.is_over and (end is None or time.monotonic() < end):
            for name, value in _heard(ours):
                if name == "url" and plan.clients:
                    crowd = Crowd(value, f"viser-v{version('viser')}", Mix.of(plan.clients))
                    stack.enter_context(crowd)
                watch.note(name, value)
            if end is None and kill is not None and watch.part.to_step >= kill.step:
                end = time.monotonic() + kill.after_s
            watch.sample()
    return replace(watch.part, killed=not watch.is_over)


def _heard(link: Connection) -> list[tuple[str, Any]]:
    """What the process has told, waiting a moment for it; nothing more where it has ended."""
    heard = []
    try:
        while link.poll(0.0 if heard else 0.1):
            heard.append(link.recv())
    except EOFError:
        return [*heard, ("ended", None)]
    return heard


def held_by(process: Path) -> tuple[float, int, int] | None:
    """Resident memory in MiB, threads and open files of a folder of /proc; None where the process has just ended."""
    status = (process / "status").read_text(encoding="utf-8")
    found = [re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE) for key in ("VmRSS", "Threads")]
    if found[0] is None:
        return None
    rss_kib, threads = (int(match[1]) for match in found)
    return rss_kib / 1024, threads, len(os.listdir(process / "fd"))


class _Watch:
    """Looks at a training process through /proc while it tells where it is."""

    def __init__(self, pid: int, index: int, began: float, interval_s: float) -> None:
        self.process, self.index, self.began, self.interval_s = Path(f"/proc/{pid}"), index, began, interval_s
        self.part, self.num_gaussians, self.next_s = Part(-1, -1, False), 0, 0.0
        self.is_over, self.has_ended = False, False

    def note(self, name: str, value: Any) -> None:
        """Take note of what it told.

        Raises: RuntimeError when it has ended without its last word.
        """
        if name == "start":
            self.part.from_step = self.part.to_step = value
        if name == "step":
            self.part.to_step, self.num_gaussians = value
        if name == "pause":
            self.part.pauses += 1
        self.is_over = self.is_over or name == "over"
        if name == "ended" and not self.is_over:
            raise RuntimeError("a training of the soak ended by itself; its last lines are above")

    def sample(self) -> None:
        """Read the process, when it is time; nothing before its first step."""
        now = time.monotonic()
        if self.part.to_step < 0 or now < self.next_s or self.is_over:
            return
        self.next_s = now + self.interval_s
        held = held_by(self.process)
        if held is None:
            return
        counted = (self.part.to_step, self.num_gaussians)
        self.part.samples.append(Sample(now - self.began, self.index, *counted, *held))


class _Reporter:
    """A `TrainingObserver` that tells the watching process, and pauses now and then."""

    def __init__(self, link: Connection, pause_every_s: float, pause_seconds: float, seed: int) -> None:
        self.link, self.pause_every_s, self.pause_seconds = link, pause_every_s, pause_seconds
        self.moments = random.Random(seed)
        self.pause_until = time.monotonic()
        self.pause_at = self._next_pause()

    def on_progress(self, progress: Progress, snapshot: Callable[[], Gaussians]) -> None:
        """Tell."""
        self.link.send(("step", (progress.step, progress.num_gaussians)))

    def requested(self) -> Request:
        """Now and then a pause."""
        now = time.monotonic()
        if self.pause_seconds > 0 and now >= self.pause_at:
            self.pause_until = now + self.pause_seconds
            self.pause_at = self._next_pause()
            self.link.send(("pause", None))
        return "pause" if now < self.pause_until else "run"

    def _next_pause(self) -> float:
        return self.pause_until + self.moments.uniform(0.5, 1.5) * self.pause_every_s


def _train(plan: Plan, folder: Path, index: int, link: Connection) -> None:
    """What a training process does."""
    end_with_parent()
    scene = load_capture(plan.path, downscale=plan.downscale)
    reporter = _Reporter(link, plan.seconds / 20, plan.pause_seconds, index)
    with ExitStack() as stack:
        observers: list[Any] = [reporter]
        if plan.clients:
            viewer = stack.enter_context(Viewer(scene, render_fn_from=render_function, port=0))
            observers.append(viewer)
            link.send(("url", viewer.url))
        run = Run.resume(folder) if index else Run.create(folder, asdict(plan.config))
        found = run.latest_checkpoint()
        link.send(("start", 0 if found is None else found.step))
        with run:
            train_splats(scene, plan.config, run=run, observers=observers)
            run.set_status("completed")
        link.send(("over", None))
