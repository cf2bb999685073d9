"""inspect, eval, render, view, export: commands that look at what is there."""

import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture import inspect_capture
from neural3d.cli.exports import export
from neural3d.cli.options import Command, Eval, Export, Inspect, Render, View
from neural3d.cli.progress import clock, say
from neural3d.cli.runs import Trained, load_scene, load_trained, placed
from neural3d.errors import InputError
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.export.formats import read_splats
from neural3d.render.camera_files import FPS, MAX_FPS, MAX_FRAMES, load_camera_path
from neural3d.render.images import write_png
from neural3d.render.model import Model, model_render_function, model_size
from neural3d.render.paths import orbit_cameras
from neural3d.render.rendering import RenderFn, Rendering
from neural3d.render.video import write_mp4
from neural3d.run import Run, check_parents, finite_json
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.config import SplatConfig

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 2.0
_FILE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".gif"),
    *(".mp4", ".mov", ".mkv", ".avi", ".webm"),
)
"""Of files, which nobody gives to a folder."""


def run(command: Command) -> int:
    """Run one of the commands of this file."""
    match command:
        case Inspect():
            inspect(command)
        case Eval():
            judge_run(command)
        case Render():
            render(command)
        case View():
            view(command)
        case Export():
            answer(export(command), False)
    return 0


def inspect(options: Inspect) -> None:
    """Say what is in a capture, without decoding photos."""
    found = inspect_capture(options.capture)
    seconds = SplatConfig().max_seconds
    if options.json:
        answer({**found.to_json(), "estimated_training_seconds": seconds}, True)
        return
    sizes = ", ".join(f"{count} of {size}" for size, count in found.sizes.items())
    splits = f"{found.num_train} to train, {found.num_test} held out"
    lines = [
        f"{found.path}: {found.format}; {found.summary}",
        f"photos     {found.num_usable} usable of {found.num_frames} ({sizes}); {splits}",
        f"cameras    {', '.join(f'{count} {model}' for model, count in found.camera_models.items())}",
        f"points     {found.num_points:,}"
        + (", masks" if found.has_masks else "")
        + (", alpha" if found.has_alpha else ""),
        f"training   at most {clock(seconds or 0)} by default, at --downscale {found.suggested_downscale:g}",
        f"memory     about {found.estimated_training_bytes / 1e9:.1f} GB of {found.free_bytes / 1e9:.1f} GB free",
        *(f"skipped    {entry.name}: {entry.reason}" for entry in found.skipped),
        *(f"warning    {warning}" for warning in found.warnings),
    ]
    print("\n".join(lines))


def judge_run(options: Eval) -> None:
    """Compare a run with the photos that it has not seen."""
    trained = load_trained(options.run)
    scene = load_scene(trained.settings, trained.views, options.capture)
    facts = {"train_seconds": trained.checkpoint.meta["train_seconds"], "step": trained.checkpoint.step}
    metrics = judge(trained.run, placed(trained.model, options.device), scene, trained.settings.background, facts)
    answer(
        metrics if options.json else {name: value for name, value in metrics.items() if name != "views"}, options.json
    )


def judge(run: Run, model: Model, scene: Scene, background: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Evaluate on held-out views, keep the numbers and the pictures with the run, and return the numbers."""
    color = evaluation_background(scene.has_alpha, background)
    render_fn = _counting(model_render_function(model, background=color), len(scene.test_indices))
    found = evaluate(render_fn, scene, background=color, output=run.folder("renders") / "eval")
    metrics = {**found.to_json(), **model_size(model), **facts}
    run.write_metrics(metrics)
    return metrics


def render(options: Render) -> None:
    """Render views of a run to pictures or a video."""
    as_video = options.format == "mp4" or (options.format is None and options.output.suffix.lower() == ".mp4")
    _require_sensible(options, as_video)
    trained = load_trained(options.run)
    cameras, names, fps = _views(options, trained)
    render_fn = model_render_function(placed(trained.model, options.device), background=_background(trained))
    frames = (render_fn(cameras[index]).colors[0] for index in counted(range(len(cameras)), len(cameras), "rendering"))
    if as_video:
        if len(cameras.size_px.unique(dim=0)) > 1:
            raise InputError(f"--cameras {options.cameras}: the views differ in size; render them as png")
        write_mp4(options.output, frames, fps=fps if options.fps is None else options.fps)
    else:
        for name, frame in zip(names, frames, strict=True):
            write_png(options.output / f"{name}.png", frame, bits=options.bits)
    answer({"output": str(options.output), "num_frames": len(cameras)}, False)


def _require_sensible(options: Render, as_video: bool) -> None:
    """Refuse what cannot be rendered before anything is loaded."""
    output, suffix = options.output, options.output.suffix.lower()
    if not 1 <= options.frames <= MAX_FRAMES:
        raise InputError(f"--frames {options.frames}: expected 1 to {MAX_FRAMES}")
    check_parents(output)
    if options.fps is not None and not 0 < options.fps <= MAX_FPS:
        raise InputError(f"--fps {options.fps:g}: expected more than 0, at most {MAX_FPS:g}")
    if as_video and options.bits != 8:
        raise InputError(f"--bits {options.bits}: a video has 8; leave it out, or render pictures into a folder")
    if as_video and (suffix != ".mp4" or output.is_dir()):
        raise InputError(f"--output {output}: expected a file that ends in .mp4 for the video")
    if not as_video and (suffix in _FILE_SUFFIXES or (output.exists() and not output.is_dir())):
        raise InputError(f"--output {output}: expected a folder for the pictures, or a file that ends in .mp4")


def view(options: View) -> None:
    """Show a run or a file until a signal comes."""
    from neural3d.cli.training import has_display
    from neural3d.viewer import serve_forever, view_field, view_gaussians

    where = {"host": options.host, "port": options.port, "title": options.source.name}
    where |= {"allow_hosts": options.allow_host}
    if options.source.is_dir():
        trained = load_trained(options.source)
        model, background = trained.model, _background(trained)
        where |= _surroundings(trained)
    else:
        model, background = read_splats(options.source), None
    model = placed(model, options.device)
    where |= {"render_fn_from": partial(model_render_function, background=background)}
    if isinstance(model, Gaussians):
        viewer = view_gaussians(model, **where)
    else:
        viewer = view_field(model, around=trained.views.cameras.centers_world, **where)
    serve_forever(viewer, open_browser=options.browser and has_display())


def answer(content: dict[str, Any], as_json: bool) -> None:
    """Print what was asked for on stdout: one JSON object, or a line a value."""
    if as_json:
        print(json.dumps(finite_json(content), allow_nan=False))
        return
    width = max(map(len, content))
    for name, value in content.items():
        if isinstance(value, list):
            for i, entry in enumerate(value):
                print(f"{name if i == 0 else '':{width}}  {_for_people(entry)}")
        else:
            print(f"{name:{width}}  {_for_people(value)}")


def _for_people(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_for_people(entry)}" for name, entry in value.items())
    if value is None:
        return "not measured"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, with a line now and then that says how many are done and how long the rest will take."""
    start = spoken = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - spoken > _SECONDS_BETWEEN_LINES:
            spoken = now
            left = (now - start) / (done + 1) * (total - done - 1)
            say(f"{what}: {done + 1} of {total}, {clock(left)} left")


def _counting(render_fn: RenderFn, total: int) -> RenderFn:
    """The same renderer, with progress."""
    ticks = counted(range(total), total, "evaluating")

    def render(cameras: Cameras) -> Rendering:
        next(ticks, None)
        return render_fn(cameras)

    return render


def _views(options: Render, trained: Trained) -> tuple[Cameras, list[str], float]:
    """Cameras, the names of their pictures, and frames a second."""
    views = trained.views
    if options.cameras == "orbit":
        points = trained.model.means_world if isinstance(trained.model, Gaussians) else None
        cameras = orbit_cameras(views.cameras, views.up_world, points=points, num_frames=options.frames)
        return cameras, [f"{i:05d}" for i in range(len(cameras))], FPS
    if options.cameras == "test":
        indices = views.test_indices.tolist()
        if not indices:
            raise InputError(f"{options.run}: the capture has no held-out views; take --cameras orbit")
        return views.cameras[indices], [f"{i:05d}-{Path(views.names[i]).stem}" for i in indices], FPS
    width, height = views.cameras.size_px[0].tolist()
    path = load_camera_path(
        Path(options.cameras), scene_from_capture=views.capture_from_scene.inverse(), size_px=(width, height)
    )
    return path.cameras, [f"{i:05d}" for i in range(len(path.cameras))], path.fps


def _background(trained: Trained) -> Float[Tensor, "3"]:
    return evaluation_background(trained.views.has_alpha, trained.settings.background)


def _surroundings(trained: Trained) -> dict[str, Any]:
    """What is up, and the photos around a run's model where its capture can still be read."""
    x, y, z = trained.views.up_world.tolist()
    up = {"up_world": (x, y, z)}
    try:
        scene = load_scene(trained.settings, trained.views, None)
    except InputError as error:
        say(f"neural3d: warning: shown without photos: {error}")
        return up
    return {"scene": scene, **up}
