"""train, make, demo: commands that make a run."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import neural3d
from neural3d.capture import load_capture
from neural3d.cli.interrupts import Interrupts, wait_for_signal
from neural3d.cli.options import Demo, Make, Train, Training
from neural3d.cli.progress import ProgressLine, say
from neural3d.cli.results import answer, judge
from neural3d.cli.runs import Settings, load_scene, load_settings, load_views, save_views
from neural3d.devices import choose_device
from neural3d.errors import InputError
from neural3d.evaluation import evaluation_background
from neural3d.export.ply import write_ply
from neural3d.render.splats import render_function
from neural3d.run import Run, check_target
from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.initial import require_start
from neural3d.train.splats import TrainResult, require_resumable, train_splats

_SCHEDULED = [field.name for field in fields(SplatConfig) if field.name in {f.name for f in fields(Training)}]
"""Options that go into the training's configuration under their own names."""


@dataclass(frozen=True)
class Work:
    """What is to be trained, read and checked; no run has been touched yet."""

    scene: Scene
    config: SplatConfig
    device: torch.device
    open_run: Callable[[], Run]
    """Creates the run, or takes up an earlier one."""


def train(options: Train, interrupts: Interrupts) -> int:
    """Train, and nothing else."""
    work = _resumed(options) if options.resume else _created(options, options.capture)
    with _viewer(options, work) as viewer, work.open_run() as run:
        result = _train(run, work, interrupts, viewer)
        answer(_facts(run, work, result), options.json)
        _stay(viewer, run)
    return 0


def make(options: Make, interrupts: Interrupts) -> int:
    """From a capture to a model that is judged, exported and shown."""
    if options.source.is_file():
        raise InputError(f"{options.source}: a file has no camera poses; give the folder of a posed capture")
    work = _created(options, options.source)
    with _viewer(options, work) as viewer, work.open_run() as run:
        result = _train(run, work, interrupts, viewer)
        answer({**_facts(run, work, result), **_finished(run, work, result)}, options.json)
        _stay(viewer, run)
    return 0


def demo(options: Demo, interrupts: Interrupts) -> int:
    """Make the bundled capture; its earlier run is replaced."""
    source = _bundled_capture()
    as_make = Make(
        output=options.output,
        source=source,
        max_seconds=options.max_seconds,
        device=options.device,
        exposure="none",  # rendered by one camera: there is nothing to correct
        overwrite=True,
        viewer=options.viewer,
        json=options.json,
    )
    return make(as_make, interrupts)


def config_from(options: Training) -> SplatConfig:
    """The training's configuration.

    Raises: InputError for values that make no sense.
    """
    given = {name: getattr(options, name) for name in _SCHEDULED}
    if options.steps is not None and options.max_seconds is None:
        # Whoever counts steps wants all of them, and the same bytes again.
        return _configured(SplatConfig(), {**given, "max_seconds": None})
    defaults = {name: getattr(SplatConfig, name) for name in ("steps", "max_seconds") if given[name] is None}
    return _configured(SplatConfig(), {**given, **defaults})


def _configured(base: SplatConfig, values: dict[str, Any]) -> SplatConfig:
    """The configuration, its complaints in the words of the command line."""
    try:
        return replace(base, **values)
    except InputError as error:
        name, _, rest = str(error).partition(":")
        raise InputError(f"{_flag(name)}:{rest.replace(', or None', '')}") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _created(options: Train | Make, capture: Path | None) -> Work:
    """A new run."""
    if capture is None:
        raise InputError("--capture: name the folder of posed photos (or go on with a run by --resume)")
    config = config_from(options)
    _require_possible(options)
    device = choose_device(options.device)
    check_target(options.output, overwrite=options.overwrite)
    scene = load_capture(capture, downscale=options.downscale)
    for warning in scene.warnings:
        say(f"neural3d: warning: {warning}")
    try:
        require_start(scene, seed=config.seed)
    except InputError as error:
        raise InputError(f"{capture}: {error}") from error
    kept = {
        "method": "splat",
        "capture": str(capture.resolve()),
        "downscale": scene.downscale,
        "device": device.type,
        "backend": options.backend,
        "background": config.background,
        "splat": asdict(config),
    }
    return Work(scene, config, device, partial(Run.create, options.output, kept, overwrite=options.overwrite))


def _resumed(options: Train) -> Work:
    """An earlier run."""
    if options.overwrite:
        raise InputError("--resume and --overwrite: choose one; the first goes on with the run, the second replaces it")
    _require_possible(options)
    earlier = Run.open(options.output)
    settings = load_settings(earlier)
    _require_same(options, settings)
    device = _device_to_go_on(options, settings)
    config = settings.splat
    if options.max_seconds is not None:
        config = _configured(config, {"max_seconds": options.max_seconds})
    checkpoint = earlier.latest_checkpoint()
    if checkpoint is not None:
        require_resumable(checkpoint, config, earlier.path)
    for skipped in checkpoint.skipped if checkpoint else ():
        say(f"neural3d: warning: passed over {skipped}")
    scene = load_scene(settings, load_views(earlier), options.capture)
    say(f"going on at step {checkpoint.step if checkpoint else 0:,} of {config.steps:,}")
    return Work(scene, config, device, partial(Run.resume, options.output))


def _device_to_go_on(options: Train, settings: Settings) -> torch.device:
    """Where the run was made, for its bytes' sake, unless another device is asked for.

    Raises: InputError where that does not work here.
    """
    try:
        return choose_device(options.device or settings.device)
    except InputError as error:
        if options.device is not None:
            raise
        raise InputError(f"{options.output}: the run was made with {error}, or go on with --device cpu") from error


def _require_same(options: Train, settings: Settings) -> None:
    """Refuse options that the run was not made with: they would change what its schedules mean."""
    made_with = {name: getattr(settings.splat, name) for name in _SCHEDULED} | {"downscale": settings.downscale}
    defaults = {field.name: field.default for field in fields(Training)}
    for name, before in made_with.items():
        now = getattr(options, name)
        if name != "max_seconds" and now != defaults[name] and now != before:
            raise InputError(
                f"{_flag(name)} {now}: the run was made with {before}; leave it out, or start again with --overwrite"
            )


def _require_possible(options: Train | Make) -> None:
    if options.allow_host and not options.viewer:
        raise InputError("--allow-host: there is no viewer to reach; add --viewer, or leave it out")
    if options.backend != "native":
        raise InputError(f"--backend {options.backend}: this version has its own engine only; leave it out")


def _train(run: Run, work: Work, interrupts: Interrupts, viewer: Any) -> TrainResult:
    """Train with a line of progress; the run's status says how it ended.

    Raises: Interrupted after a signal, once the state is saved.
    """
    save_views(run, work.scene)
    line = ProgressLine()
    watchers = [line, interrupts, *([viewer] if viewer is not None else [])]
    try:
        with interrupts.graceful():
            result = train_splats(work.scene, work.config, run=run, observers=watchers, device=work.device)
    finally:
        line.close()
    if viewer is not None:
        viewer.show(result.gaussians)  # snapshots come now and then: the last one may be old
    _note_end(run, result, interrupts)
    interrupts.raise_if_requested()
    return result


def _note_end(run: Run, result: TrainResult, interrupts: Interrupts) -> None:
    """Only a training that came to its end is "completed"."""
    if result.completed:
        run.set_status("completed", f"step {result.step}")
        return
    reason = "by a signal" if interrupts.signal_number is not None else "in the viewer"
    run.set_status("stopped", f"stopped {reason} at step {result.step}")
    say(f"stopped {reason} at step {result.step:,}; go on with: neural3d train splat --resume --output {run.path}")


def _facts(run: Run, work: Work, result: TrainResult) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "status": run.status["state"],
        "device": work.device.type,
        "step": result.step,
        "num_gaussians": len(result.gaussians),
        "train_seconds": result.train_seconds,
    }


def _finished(run: Run, work: Work, result: TrainResult) -> dict[str, Any]:
    """Judge and export."""
    scene = work.scene
    path = run.folder("exports") / "splat.ply"
    write_ply(path, result.gaussians, capture_from_scene=scene.capture_from_scene)
    found: dict[str, Any] = {"ply": str(path)}
    if len(scene.test_indices) == 0:
        say("neural3d: warning: the capture has no held-out view, so nothing is judged")
        return found
    metrics = judge(run, result.gaussians, scene, work.config.background, {"train_seconds": result.train_seconds})
    return {**metrics, **found, "renders": str(run.path / "renders" / "eval")}


@contextmanager
def _viewer(options: Train | Make, work: Work) -> Iterator[Any]:
    """A viewer that watches the training, or None."""
    if not options.viewer:
        yield None
        return
    from neural3d.viewer import Viewer, announce

    background = evaluation_background(work.scene.has_alpha, work.config.background)
    render_fn_from = partial(render_function, background=background)
    with Viewer(work.scene, render_fn_from=render_fn_from, allow_hosts=options.allow_host) as viewer:
        with _stdout_to_stderr():
            announce(viewer, open_browser=has_display())
        yield viewer


def _stay(viewer: Any, run: Run) -> None:
    """Keep a finished model on show until a signal ends it."""
    if viewer is None:
        return
    viewer.end(f"The training is over; the model lies in {run.path}.")
    run.close()
    say("the viewer stays open; Ctrl-C ends it")
    wait_for_signal()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Answers have stdout for themselves."""
    before, sys.stdout = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout = before


def has_display() -> bool:
    """Whether there is a screen to open a browser on."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _bundled_capture() -> Path:
    """The capture that comes with the package, or the one of the source tree's scenes/."""
    package = Path(neural3d.__file__).parent
    found = [
        path.parent for root in (package, package.parent) for path in sorted(root.glob("scenes/*/transforms*.json"))
    ]
    if not found:
        raise InputError(
            f"{package}: no bundled capture there; run the demo in a clone, or neural3d make with photos of yours"
        )
    return found[0]
