"""texture: complete, edit and restyle the surface of a run; the result is a run again."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import read_photo
from neural3d.cli.answers import answer
from neural3d.cli.interrupts import Interrupts
from neural3d.cli.object_ids import isolated
from neural3d.cli.progress import say
from neural3d.cli.runs import SCENE_FILE, Trained, load_trained
from neural3d.cli.shots import default_up, world_frame
from neural3d.cli.surfaces import require_texture_size, seen_of, tell_views
from neural3d.cli.texture_options import Texture as TextureCommand
from neural3d.cli.texture_options import TextureComplete, TextureEdit, TextureRestyle, TextureTile
from neural3d.errors import InputError
from neural3d.evaluation import evaluation_background
from neural3d.export.mesh_files import write_textured, write_unseen
from neural3d.priors.exemplar.quilting import Texels
from neural3d.priors.patches import to_signed
from neural3d.render.images import write_png
from neural3d.render.model import model_render_function
from neural3d.run import Run, check_parents, check_target
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.bake import Texture, bake
from neural3d.surface.unwrap import unwrap
from neural3d.surface.whole import whole_surface
from neural3d.texture.atlas import Atlas, atlas_of
from neural3d.texture.complete import CompleteConfig, Completed, Progress, complete
from neural3d.texture.pictures import camera_on, surface_picture, turntable
from neural3d.texture.proposals import least_source_px, require_method
from neural3d.texture.splats import beside, recolored, with_completed, with_sides
from neural3d.texture.styles import restyled
from neural3d.texture.tiles import tile
from neural3d.train.state import fresh_state, state_tensors

_MAX_TRIANGLES, _MAX_REACH = 2_000_000, 1.0
_PREVIEW_EVERY = 5
_SCRAP, _SCRAP_BESIDE_OBJECTS = 0.005, 0.2
"""Of the largest part of a surface: what is smaller is left out. Masks fray, and rooms are of many parts."""
_SHADED_RIM = 0.05
"""Of an object's longest side: where photos see it last, what stands behind it darkens it."""
Making = TextureComplete | TextureEdit | TextureRestyle


def run_texture(command: TextureCommand, interrupts: Interrupts) -> int:
    """Run one of the four."""
    match command.action:
        case TextureTile():
            answer(_tiled(command.action), False)
        case _:
            answer(_made(command.action, interrupts), command.action.json)
            interrupts.raise_if_requested()
    return 0


@dataclass(frozen=True)
class _Result:
    """What one of the commands made of an atlas."""

    atlas: Atlas
    changed: Bool[Tensor, "N"]
    gaussians: Gaussians
    facts: dict[str, Any]


def _made(options: Making, interrupts: Interrupts) -> dict[str, Any]:
    """Read a run, paint its surface, and write another run.

    Raises: InputError; StorageError.
    """
    _require_sensible(options)
    whole = load_trained(options.run)
    _ = whole.gaussians  # a field is refused before its surface is looked for
    trained = whole if options.objects is None else isolated(whole, options.objects, options.capture)
    texture, atlas = _baked(options, trained, whole)
    if options.objects is not None:
        trained = replace(trained, model=beside(trained.gaussians, atlas.surface.mesh))
    chosen = _in_box(options, trained, atlas) if isinstance(options, TextureEdit) else ~atlas.known
    with Run.create(options.output, _config(options, trained), overwrite=options.overwrite) as run:
        progress = _progress(run, interrupts)
        with interrupts.graceful():
            result = _painted(options, trained, atlas, chosen, progress)
        _write_model(run, trained, result.gaussians)
        _write_mesh(run, trained, result.atlas, texture)
        _write_pictures(run, trained, atlas, result, alone=options.objects is not None)
        facts = {"output": str(options.output), "unseen": round(float((~atlas.known).float().mean()), 4)}
        was_stopped = interrupts.requested() == "stop"
        facts |= result.facts | {"num_gaussians": len(result.gaussians)}
        facts["status"] = "stopped" if was_stopped else "completed"
        run.write_json("exports/texture.json", facts)
        run.set_status(facts["status"], f"stopped by a signal, {result.facts['windows']} windows done" * was_stopped)
    return facts


def _painted(options: Making, trained: Trained, atlas: Atlas, chosen: Bool[Tensor, "N"], progress: Progress) -> _Result:
    gaussians, up, cameras = trained.gaussians, trained.views.up_world, trained.cameras
    rim = 0.0 if options.objects is None else _SHADED_RIM
    config = CompleteConfig(options.method, options.seconds, options.fast, seed=options.seed, rim=rim)
    match options:
        case TextureRestyle():
            painted = restyled(atlas, _image_texels(options.style), up, config, progress)
            facts = {"style": str(options.style), "restyled_texels": len(atlas.known)}
            facts |= {"smooth_texels": painted.num_left, "windows": painted.num_charts}
            return _Result(painted.atlas, torch.ones_like(atlas.known), recolored(gaussians, painted.atlas), facts)
        case TextureEdit():
            start = atlas.with_colors(atlas.colors, atlas.known & ~chosen)
            texels = None if options.source is None else _image_texels(options.source)
            done = complete(start, up, config, progress, texels)
            model = recolored(with_completed(gaussians, done.atlas, atlas.known | chosen, cameras), done.atlas, chosen)
            return _Result(done.atlas, ~start.known, model, _facts(done))
    done = complete(atlas, up, config, progress)
    if options.objects is None:
        model = with_completed(gaussians, done.atlas, atlas.known, cameras)
    else:
        model = with_sides(gaussians, done.atlas, atlas.known, cameras, up)
    return _Result(done.atlas, ~atlas.known, model, _facts(done))


def _facts(done: Completed) -> dict[str, Any]:
    trials = {
        name: {**asdict(trial.card), "penalty": trial.card.penalty, "seconds": trial.seconds}
        for name, trial in done.choice.trials.items()
    }
    return {
        "method": done.choice.method,
        "reason": done.choice.reason if trials else "asked for",
        "completed_texels": done.num_texels,
        "smooth_texels": done.num_smooth,
        "windows": done.num_charts,
        "trials": trials,
    }


def _baked(options: Making, trained: Trained, whole: Trained) -> tuple[Texture, Atlas]:
    """The surface, closed as far as nobody saw through it, with what the photos say of it.

    They see of it what nothing else in the whole model hides.
    """
    mesh = whole_surface(
        trained.model, trained.cameras, triangles=options.triangles, reach=options.reach,
        least_share=_SCRAP if options.objects is None else _SCRAP_BESIDE_OBJECTS, progress=tell_views("fused"),
    )  # fmt: skip
    flat = unwrap(mesh, options.texture)
    behind = None if trained.model is whole.model else whole.model
    seen = seen_of(trained, trained.model, None, options.capture, behind)
    texture = bake(flat, seen.views(), options.texture)
    atlas = atlas_of(flat, texture)
    say(f"neural3d: {100 * float((~atlas.known).float().mean()):.1f} % of the surface was seen by no photo")
    return texture, atlas


def _in_box(options: TextureEdit, trained: Trained, atlas: Atlas) -> Bool[Tensor, "N"]:
    corners = torch.tensor(options.box, dtype=torch.float64).reshape(2, 3)
    places = trained.views.capture_from_scene.apply(atlas.texels.points.double())
    chosen = ((places >= corners.amin(0)) & (places <= corners.amax(0))).all(dim=1)
    if not bool(chosen.any()):
        raise InputError("--box: no part of the surface lies in it; the frame is the capture's")
    return chosen


def _write_model(run: Run, trained: Trained, gaussians: Gaussians) -> None:
    """A checkpoint as training leaves it; Adam remembers nothing of the changed model."""
    own = state_tensors(fresh_state(gaussians))
    of_rows = ("gaussians.", "first_moments.", "second_moments.", "densifier.")
    kept = {name: t for name, t in trained.checkpoint.tensors.items() if not name.startswith(of_rows)}
    run.write_json(SCENE_FILE, trained.run.read_json(SCENE_FILE) or {})
    run.save_checkpoint(trained.checkpoint.step, {**own, **kept}, trained.checkpoint.meta)


def _write_mesh(run: Run, trained: Trained, atlas: Atlas, texture: Texture) -> None:
    for name in ("surface.glb", "surface.obj"):
        path = run.folder("exports") / name
        way = world_frame(trained, default_up(path))
        moved = replace(atlas.surface, mesh=atlas.surface.mesh.moved(way))
        write_textured(path, moved, atlas.texture(texture))
    write_unseen(run.folder("exports") / "surface.glb", texture)


def _write_pictures(run: Run, trained: Trained, before: Atlas, result: _Result, *, alone: bool) -> None:
    """The side where most was changed, side by side: the model before, what was missing, the model after.

    And the model after from all around, from where the photos were taken to the far side and back. A thing alone stands
    before white.
    """
    camera = camera_on(before, result.changed, trained.views.up_world)
    background = evaluation_background(trained.views.has_alpha, trained.settings.background)
    if alone:
        background = torch.ones(3)
    folder = run.folder("renders")
    shown = {"mask": surface_picture(before, camera, result.changed), "surface": surface_picture(result.atlas, camera)}
    for name, model in (("before", trained.gaussians), ("after", result.gaussians)):
        shown[name] = model_render_function(model, background=background)(camera).colors[0]
    for name, picture in shown.items():
        write_png(folder / f"texture-{name}.png", picture)
    write_png(folder / "texture.png", torch.cat([shown[name] for name in ("before", "mask", "after")], dim=1))
    middle = trained.cameras.centers_world.mean(0)
    around = turntable(before.texels.points, middle, trained.views.up_world)
    turned = model_render_function(result.gaussians, background=background)(around).colors
    write_png(folder / "turntable.png", torch.cat([torch.cat(list(row), dim=1) for row in turned.chunk(2)]))


def _progress(run: Run, interrupts: Interrupts) -> Progress:
    """Lines on stderr, and every few windows a picture of the texture."""
    count = 0

    def preview(atlas: Atlas) -> None:
        nonlocal count
        count += 1
        if count % _PREVIEW_EVERY == 1:
            write_png(run.folder("renders") / "texture-preview.png", atlas.picture())

    return Progress(lambda line: say(f"neural3d: {line}"), preview, lambda: interrupts.requested() == "stop")


def _config(options: Making, trained: Trained) -> dict[str, Any]:
    """The source's own, so that every command knows what the model is; and what was done to it."""
    asked = {
        name: value if isinstance(value, int | float | bool | None) else str(value)
        for name, value in asdict(options).items()
    }
    asked["run"] = str(options.run.resolve())  # the viewer shows it as what was before
    return {**trained.run.config, "texture": {"kind": type(options).__name__, **asked}}


def _require_sensible(options: Making) -> None:
    """All that can be refused before anything is computed or replaced."""
    require_texture_size(options.texture)
    require_method(options.method)
    for name, value, least, most in (
        ("--triangles", options.triangles, 1, _MAX_TRIANGLES),
        ("--reach", options.reach, 0, _MAX_REACH),
        ("--seconds", options.seconds, 1, 1e6),
        ("--seed", options.seed, 0, 2**63 - 1),
    ):
        if not least <= value <= most:
            raise InputError(f"{name} {value:g}: expected {least:g} to {most:g}")
    if options.output.resolve() == options.run.resolve():
        raise InputError(f"--output {options.output}: this is the run that is read; give another folder")
    check_target(options.output, overwrite=options.overwrite)
    for name, method in (("source", options.method), ("style", "quilt")):
        image = getattr(options, name, None)
        if image is not None:
            _require_texels(f"--{name} {image}", _image_texels(image), least_source_px(method))


def _require_texels(named: str, texels: Texels, least: int) -> None:
    height, width = texels.known[0].shape
    if min(height, width) < least:
        raise InputError(f"{named}: it is {width} x {height}, expected at least {least} x {least}; give a larger image")


def _image_texels(path: Any) -> Texels:
    image = _read_image(path)
    return Texels((image,), (torch.ones(image.shape[1:], dtype=torch.bool),))


def _read_image(path: Any) -> Float[Tensor, "3 H W"]:
    try:
        pixels = read_photo(path).pixels
    except BadFrame as error:
        raise InputError(f"{path}: {error}; give an image that can be read") from error
    colors = np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3])
    return to_signed(torch.from_numpy(colors)[None])[0]


def _tiled(options: TextureTile) -> dict[str, Any]:
    """Make the tile.

    Raises: InputError; StorageError.
    """
    if options.output.suffix.lower() != ".png":
        raise InputError(f"--output {options.output}: pictures are written as .png; choose such a name")
    check_parents(options.output)
    if options.output.exists():
        raise InputError(f"--output {options.output}: is there already; choose another name, or remove it")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed {options.seed}: expected 0 to 2^63 - 1")
    result = tile(_read_image(options.image), options.seed)
    write_png(options.output, (result.permute(1, 2, 0) + 1) / 2)
    return {"output": str(options.output), "width": result.shape[2], "height": result.shape[1]}
