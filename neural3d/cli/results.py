"""eval, render, view, export: commands that look at what is there."""

from pathlib import Path
from typing import Any

from neural3d.cameras import Cameras
from neural3d.cli.answers import answer, counted
from neural3d.cli.camera_exports import export_cameras, refuse_camera_options
from neural3d.cli.exports import export
from neural3d.cli.mesh_exports import export_mesh, refuse_mesh_options
from neural3d.cli.options import Command, Eval, Export, Render, View
from neural3d.cli.plates import export_st_maps
from neural3d.cli.point_exports import export_points, refuse_point_options
from neural3d.cli.progress import say
from neural3d.cli.rendering import background_of, render
from neural3d.cli.runs import Trained, load_scene, load_trained, placed
from neural3d.errors import InputError
from neural3d.evaluation import evaluate, evaluation_background
from neural3d.export.formats import read_splats, space_of_file
from neural3d.render.model import Model, model_render_function, model_size
from neural3d.render.rendering import RenderFn, Rendering
from neural3d.run import Run
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians


def run(command: Command) -> int:
    """Run one of the commands of this file."""
    match command:
        case Eval():
            judge_run(command)
        case Render():
            answer(render(command), False)
        case View():
            view(command)
        case Export():
            answer(_exported(command), False)
    return 0


def _exported(options: Export) -> dict[str, Any]:
    if options.format == "points":
        return export_points(options)
    refuse_point_options(options)
    if options.format == "mesh" or (options.format is None and options.output.suffix.lower() == ".obj"):
        return export_mesh(options)
    refuse_mesh_options(options)
    if options.format == "cameras":
        return export_cameras(options)
    if options.format == "st-maps":
        return export_st_maps(options)
    refuse_camera_options(options)
    return export(options)


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
    linear = isinstance(model, Gaussians) and model.linear
    found = evaluate(render_fn, scene, background=color, linear=linear, output=run.folder("renders") / "eval")
    metrics = {**found.to_json(), **model_size(model), **facts}
    run.write_metrics(metrics)
    return metrics


def view(options: View) -> None:
    """Show a run or a file until a signal comes."""
    from neural3d.cli.training import has_display
    from neural3d.viewer import serve_forever, view_field, view_gaussians

    where = {"host": options.host, "port": options.port, "title": options.source.name}
    where |= {"allow_hosts": options.allow_host}
    if options.source.is_dir():
        trained = load_trained(options.source)
        model = trained.model
        where |= {"background": tuple(background_of(trained).tolist()), **_surroundings(trained)}
        where |= {"save_folder": trained.run.path / "exports"}
    else:
        model = read_splats(options.source)
        where |= {"up_world": space_of_file(options.source).up_world}
    model = placed(model, options.device)
    where |= {"render_fn_from": model_render_function}
    if isinstance(model, Gaussians):
        before = _before(trained) if options.source.is_dir() else None
        before = None if before is None else placed(before, options.device)
        viewer = view_gaussians(model, before=before, **where)
    else:
        viewer = view_field(model, around=trained.views.cameras.centers_world, **where)
    serve_forever(viewer, open_browser=options.browser and has_display())


def _before(trained: Trained) -> Gaussians | None:
    """The model that `texture` was given, where the run is one of its and that model is still there."""
    made = trained.run.config.get("texture")
    if not isinstance(made, dict):
        return None
    try:
        return load_trained(Path(str(made.get("run")))).gaussians
    except InputError as error:
        say(f"neural3d: warning: shown without what was before: {error}")
        return None


def _counting(render_fn: RenderFn, total: int) -> RenderFn:
    """The same renderer, with progress."""
    ticks = counted(range(total), total, "evaluating")

    def render(cameras: Cameras) -> Rendering:
        next(ticks, None)
        return render_fn(cameras)

    return render


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
