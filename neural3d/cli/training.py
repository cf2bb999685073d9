"""train, make, demo: commands that make a run."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import neural3d
from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.detect import has_poses
from neural3d.capture.ingest.sources import find_source
from neural3d.cli.answers import answer
from neural3d.cli.engines import Engine, asked_device, engine_of, require_backend, say_of_light
from neural3d.cli.field_starts import field_start
from neural3d.cli.ingesting import posed_capture
from neural3d.cli.inspecting import say_findings
from neural3d.cli.interrupts import Interrupts, wait_for_signal
from neural3d.cli.options import Demo, Make, Train, Training
from neural3d.cli.progress import ProgressLine, say
from neural3d.cli.refined_cameras import camera_facts
from neural3d.cli.results import judge
from neural3d.cli.runs import (
    Settings,
    load_scene,
    load_settings,
    load_views,
    require_cpu,
    save_views,
)
from neural3d.devices import DeviceName, choose_device
from neural3d.errors import InputError
from neural3d.evaluation import evaluation_background
from neural3d.export.ply import write_ply
from neural3d.render.model import Model, model_render_function, model_size
from neural3d.run import Run, check_target
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import FEW_PHOTOS, SplatConfig
from neural3d.train.fields import (
    FieldConfig,
    field_name,
    require_field_place,
    require_resumable_field,
    train_field,
)
from neural3d.train.hashgrid_config import HASHGRID_PRESETS, HashGridConfig
from neural3d.train.initial import require_start
from neural3d.train.mlp_config import PAPERS_MLP, TINY_MLP, MlpConfig
from neural3d.train.points_config import PointsConfig
from neural3d.train.splats import require_resumable, train_splats

Config = SplatConfig | FieldConfig
_FOR_BOTH = ("output", "steps", "max_seconds", "downscale", "seed", "overwrite", "background", "device", "backend")
_FOR_MLP, _FOR_HASHGRID, _FOR_POINTS = ("tiny", "paper", "ndc"), ("preset",), ("points_from",)
_FOR_SPLATS_AND_HASHGRID = ("exposure", "refine_cameras")
_BUDGET = ("steps", "max_seconds")
FEW = 12
"""Photos up to which the preset for few is recommended."""
_FOR_FIELDS = ("field", *_FOR_MLP, *_FOR_HASHGRID, *_FOR_POINTS)


@dataclass(frozen=True)
class Result:
    """What a training left, of whatever kind."""

    model: Model
    step: int
    train_seconds: float
    completed: bool
    cameras: Cameras | None = None
    """Of the training photos, where they were refined."""


@dataclass(frozen=True)
class Work:
    """What is to be trained, read and checked; no run has been touched yet."""

    scene: Scene
    config: Config
    device: torch.device
    engine: Engine
    initial: Gaussians | None
    """The first splats, if not those of the capture's points."""
    open_run: Callable[[], Run]
    """Creates the run, or takes up an earlier one."""


def train(options: Train, interrupts: Interrupts) -> int:
    """Train, and nothing else."""
    work = _resumed(options) if options.resume else _created(options, options.capture, options.init_field)
    with _viewer(options, work) as viewer, work.open_run() as run:
        result = _train(run, work, interrupts, viewer)
        answer(_facts(run, work, result), options.json)
        _stay(viewer, run)
    return 0


def make(options: Make, interrupts: Interrupts) -> int:
    """From a capture to a model that is judged, exported and shown."""
    # What makes no sense, or cannot be here, is told before poses are looked for.
    config = config_from(options)
    _require_possible(options)
    _engine_and_device(options, config)
    check_target(options.output, overwrite=options.overwrite)
    with _preview(options) as preview:
        work = _created(options, posed_capture(options, preview))
    with _viewer(options, work, preview) as viewer, work.open_run() as run:
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


def config_from(options: Train | Make) -> Config:
    """The training's configuration.

    Raises: InputError for values that make no sense.
    """
    base = _preset(options)
    _require_fitting(options, base)
    require_backend(options.backend, base)
    given = {name: getattr(options, name) for name in _scheduled(base)}
    if options.few_photos:
        # A preset's own choices stand unless an option says otherwise.
        untouched = {field.name for field in fields(Training) if getattr(options, field.name) == field.default}
        given = {name: value for name, value in given.items() if name not in untouched or name in _BUDGET}
    if options.steps is not None and options.max_seconds is None:
        # Whoever counts steps wants all of them, and the same bytes again.
        return _configured(base, {**given, "max_seconds": None})
    defaults = {name: getattr(base, name) for name in ("steps", "max_seconds") if given[name] is None}
    return _configured(base, {**given, **defaults})


def _preset(options: Train | Make) -> Config:
    """What is trained: by the method, or for `make` by whether a field is named."""
    is_field = options.method == "nerf" if isinstance(options, Train) else options.field is not None
    if not is_field:
        return FEW_PHOTOS if options.few_photos else SplatConfig()
    chosen = options.field or ("mlp" if options.tiny or options.paper or options.ndc else "hashgrid")
    if chosen == "hashgrid":
        return HASHGRID_PRESETS[options.preset or "default"]
    if chosen == "points":
        return PointsConfig()
    if options.tiny and options.paper:
        raise InputError("--paper: the small network of --tiny is not the paper's; leave one of them out")
    return TINY_MLP if options.tiny else PAPERS_MLP if options.paper else MlpConfig()


def _scheduled(config: Config) -> list[str]:
    """Options that go into the configuration under their own names."""
    typed = {field.name for field in fields(Training)}
    return [field.name for field in fields(config) if field.name in typed]


def _require_fitting(options: Train | Make, config: Config) -> None:
    """Refuse options of another kind of model.

    Raises: InputError.
    """
    defaults = {field.name: field.default for field in fields(Training)}
    for names, kind, remedy in _foreign(config):
        for name in names:
            if getattr(options, name) != defaults[name]:
                raise InputError(f"{_flag(name)}: this is for {kind}; leave it out, or use {remedy}")


def _foreign(config: Config) -> list[tuple[Sequence[str], str, str]]:
    """Options of other models: whose they are, and what to use with them."""
    if isinstance(config, SplatConfig):
        return [(_FOR_FIELDS, "a radiance field", "neural3d train nerf")]
    others = _FOR_BOTH + _FOR_FIELDS + _FOR_SPLATS_AND_HASHGRID
    splats = [field.name for field in fields(Training) if field.name not in others]
    shared = (_FOR_SPLATS_AND_HASHGRID, "splats and the field hashgrid", "--field hashgrid")
    mlp = (_FOR_MLP, "the field mlp", "--field mlp")
    hashgrid = (_FOR_HASHGRID, "the field hashgrid", "--field hashgrid")
    points = (_FOR_POINTS, "the field points", "--field points")
    kinds = ((MlpConfig, mlp), (HashGridConfig, hashgrid), (HashGridConfig, shared), (PointsConfig, points))
    foreign = [option for kind, option in kinds if not isinstance(config, kind)]
    return [(splats, "splats", "neural3d train splat"), *foreign]


def _configured(base: Config, values: dict[str, Any]) -> Config:
    """The configuration, its complaints in the words of the command line."""
    try:
        return replace(base, **values)
    except InputError as error:
        name, _, rest = str(error).partition(":")
        raise InputError(f"{_flag(name)}:{rest.replace(', or None', '')}") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _created(options: Train | Make, capture: Path | None, init_field: Path | None = None) -> Work:
    """A new run."""
    if capture is None:
        raise InputError("--capture: name the folder of posed photos (or go on with a run by --resume)")
    config = config_from(options)
    _require_possible(options)
    engine, device = _engine_and_device(options, config)
    check_target(options.output, overwrite=options.overwrite)
    scene = load_capture(capture, downscale=options.downscale)
    for warning in scene.warnings:
        say(f"neural3d: warning: {warning}")
    say_findings(scene)
    if isinstance(config, SplatConfig) and len(scene.train_indices) <= FEW and not options.few_photos:
        say(f"neural3d: warning: only {len(scene.train_indices)} photos to train on: --few-photos suits such captures")
    try:
        if isinstance(config, SplatConfig):
            require_start(scene, seed=config.seed)
        else:
            require_field_place(scene, config)
    except InputError as error:
        raise InputError(f"{capture}: {error}") from error
    say_of_light(scene, config, options.backend)
    initial = field_start(init_field, scene, config)
    kept = {
        "capture": str(capture.resolve()),
        "downscale": scene.downscale,
        "device": device.type,
        "backend": options.backend,
        "background": config.background,
        **({} if init_field is None else {"init_field": str(init_field.resolve())}),
        **_kept(config),
    }
    open_run = partial(Run.create, options.output, kept, overwrite=options.overwrite)
    return Work(scene, config, device, engine, initial, open_run)


def _kept(config: Config) -> dict[str, Any]:
    """What config.json says of the method."""
    if isinstance(config, SplatConfig):
        return {"method": "splat", "splat": asdict(config)}
    return {"method": "nerf", "field": field_name(config), "nerf": asdict(config)}


def _resumed(options: Train) -> Work:
    """An earlier run."""
    if options.overwrite:
        raise InputError("--resume and --overwrite: choose one; the first goes on with the run, the second replaces it")
    if options.init_field is not None:
        raise InputError("--init-field: the run has begun already; leave it out, or start again without --resume")
    _require_possible(options)
    earlier = Run.open(options.output)
    settings = load_settings(earlier)
    _require_same(options, settings)
    engine, device = engine_of(settings.backend), _device_to_go_on(options, settings)
    config = settings.config
    if options.max_seconds is not None:
        config = _configured(config, {"max_seconds": options.max_seconds})
    checkpoint = earlier.latest_checkpoint()
    if checkpoint is not None:
        if isinstance(config, SplatConfig):
            require_resumable(checkpoint, config, earlier.path)
        else:
            require_resumable_field(checkpoint, config, earlier.path)
    for skipped in checkpoint.skipped if checkpoint else ():
        say(f"neural3d: warning: passed over {skipped}")
    scene = load_scene(settings, load_views(earlier), options.capture)
    say(f"going on at step {checkpoint.step if checkpoint else 0:,} of {config.steps:,}")
    begun_with = earlier.config.get("init_field") if checkpoint is None else None
    initial = field_start(None if begun_with is None else Path(begun_with), scene, config)
    return Work(scene, config, device, engine, initial, partial(Run.resume, options.output))


def _engine_and_device(options: Train | Make, config: Config) -> tuple[Engine, torch.device]:
    """Raises: InputError where that does not work."""
    asked = asked_device(options.backend, options.device)
    return engine_of(options.backend), _device(config, asked)


def _device(config: Config, asked: DeviceName | None) -> torch.device:
    """Where to train.

    Raises: InputError where that does not work.
    """
    if isinstance(config, SplatConfig):
        return choose_device(asked)
    require_cpu(asked)
    return torch.device("cpu")


def _device_to_go_on(options: Train, settings: Settings) -> torch.device:
    """Where the run was made, for its bytes' sake, unless another device is asked for.

    Raises: InputError where that does not work here.
    """
    if not isinstance(settings.config, SplatConfig):
        return _device(settings.config, options.device)
    try:
        return choose_device(asked_device(settings.backend, options.device or settings.device))
    except InputError as error:
        if options.device is not None:
            raise
        raise InputError(f"{options.output}: the run was made with {error}, or go on with --device cpu") from error


def _require_same(options: Train, settings: Settings) -> None:
    """Refuse options that the run was not made with: they would change what its schedules mean."""
    if options.method != settings.method:
        raise InputError(
            f"{options.output}: the run was made by neural3d train {settings.method}; go on with that, or start "
            "again with --overwrite"
        )
    config = settings.config
    _require_fitting(options, config)
    made_with = {name: getattr(config, name) for name in _scheduled(config)}
    made_with |= {"downscale": settings.downscale, "backend": settings.backend, **_named(config)}
    defaults = {field.name: field.default for field in fields(Training)}
    for name, before in made_with.items():
        now = getattr(options, name)
        if name != "max_seconds" and now != defaults[name] and now != before:
            raise InputError(
                f"{_flag(name)} {now}: the run was made with {before}; leave it out, or start again with --overwrite"
            )


def _named(config: Config) -> dict[str, Any]:
    """The options that choose among configurations, as they would lead to this one."""
    if isinstance(config, SplatConfig):
        few = replace(FEW_PHOTOS, **{name: getattr(config, name) for name in _scheduled(config)})
        return {"few_photos": config == few}
    field: dict[str, Any] = {"field": field_name(config)}
    if isinstance(config, HashGridConfig):
        sizes = {name: (preset.shape, preset.samples) for name, preset in HASHGRID_PRESETS.items()}
        field["preset"] = next((n for n, size in sizes.items() if size == (config.shape, config.samples)), "another")
    if isinstance(config, MlpConfig):
        field |= {"tiny": config.shape == TINY_MLP.shape, "paper": config.occupancy_cells == 0}
    return field


def _require_possible(options: Train | Make) -> None:
    if options.allow_host and not options.viewer:
        raise InputError("--allow-host: there is no viewer to reach; add --viewer, or leave it out")
    if options.few_photos and options.backend == "gsplat":
        raise InputError("--few-photos: gsplat's renderer tells no gradient of depths here; use --backend native")
    if options.refine_cameras and options.backend == "gsplat":
        raise InputError("--refine-cameras: gsplat's renderer tells no gradient of cameras; use --backend native")
    if options.ignore_moving and options.backend == "gsplat":
        raise InputError("--ignore-moving: gsplat's renderer is not asked what moves; use --backend native")


def _train(run: Run, work: Work, interrupts: Interrupts, viewer: Any) -> Result:
    """Train with a line of progress; the run's status says how it ended.

    Raises: Interrupted after a signal, once the state is saved.
    """
    save_views(run, work.scene)
    line = ProgressLine()
    watchers = [line, interrupts, *([viewer] if viewer is not None else [])]
    try:
        with interrupts.graceful():
            result = _trained(run, work, watchers)
    except InputError:
        interrupts.raise_if_requested()  # a signal may have come before there was anything to keep
        raise
    finally:
        line.close()
    if viewer is not None:
        viewer.show(result.model)  # snapshots come now and then: the last one may be old
    _note_end(run, result, interrupts)
    interrupts.raise_if_requested()
    return result


def _trained(run: Run, work: Work, watchers: list[Any]) -> Result:
    """By the trainer of the configuration's kind."""
    if isinstance(work.config, SplatConfig):
        where = {"device": work.device, "gradient_of": work.engine.gradient_of, "initial": work.initial}
        splats = train_splats(work.scene, work.config, run=run, observers=watchers, **where)
        return Result(splats.gaussians, splats.step, splats.train_seconds, splats.completed, splats.cameras)
    found = train_field(work.scene, work.config, run=run, observers=watchers, composite=work.engine.composite)
    return Result(found.field, found.step, found.train_seconds, found.completed, found.cameras)


def _note_end(run: Run, result: Result, interrupts: Interrupts) -> None:
    """Only a training that came to its end is "completed"."""
    if result.completed:
        run.set_status("completed", f"step {result.step}")
        return
    reason = "by a signal" if interrupts.signal_number is not None else "in the viewer"
    run.set_status("stopped", f"stopped {reason} at step {result.step}")
    method = run.config["method"]
    say(f"stopped {reason} at step {result.step:,}; go on with: neural3d train {method} --resume --output {run.path}")


def _facts(run: Run, work: Work, result: Result) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "status": run.status["state"],
        "device": work.device.type,
        "step": result.step,
        **model_size(result.model),
        "train_seconds": result.train_seconds,
        **camera_facts(work.scene, result.cameras),
    }


def _finished(run: Run, work: Work, result: Result) -> dict[str, Any]:
    """Judge, and export splats."""
    scene, found = work.scene, {}
    if isinstance(result.model, Gaussians):
        path = run.folder("exports") / "splat.ply"
        write_ply(path, result.model, capture_from_scene=scene.capture_from_scene)
        found["ply"] = str(path)
    if len(scene.test_indices) == 0:
        say("neural3d: warning: the capture has no held-out view, so nothing is judged")
        return found
    metrics = judge(run, result.model, scene, work.config.background, {"train_seconds": result.train_seconds})
    return {**metrics, **found, "renders": str(run.path / "renders" / "eval")}


@contextmanager
def _preview(options: Make) -> Iterator[Any]:
    """A page for the time in which poses are found, or None where there is nothing to find or nobody to look."""
    if not options.viewer or options.cameras is not None or has_poses(options.source):
        yield None
        return
    find_source(options.source)  # what holds no photos is told before a page is opened
    from neural3d.viewer import PosePreview, announce

    with closing(PosePreview(allow_hosts=options.allow_host)) as preview:
        with redirect_stdout(sys.stderr):  # answers have stdout for themselves
            announce(preview, open_browser=has_display())
        yield preview


@contextmanager
def _viewer(options: Train | Make, work: Work, preview: Any = None) -> Iterator[Any]:
    """A viewer that watches the training, or None; it takes the place of the page that showed the poses before."""
    if not options.viewer:
        yield None
        return
    from neural3d.viewer import Viewer, announce

    background = evaluation_background(work.scene.has_alpha, work.config.background)
    red, green, blue = background.tolist()
    where = {"allow_hosts": options.allow_host, "background": (red, green, blue)}
    where |= {"save_folder": options.output / "exports"}
    if preview is not None:
        where |= {"port": preview.port, "token": preview.token}
    is_field = not isinstance(work.config, SplatConfig)
    with Viewer(work.scene, is_field=is_field, render_fn_from=model_render_function, **where) as viewer:
        if preview is None or viewer.url != preview.url:
            with redirect_stdout(sys.stderr):  # answers have stdout for themselves
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
