"""render: views of a run as pictures, as layers for compositors, or as a video."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.lenses import Lens
from neural3d.cli.answers import counted
from neural3d.cli.object_ids import named_objects, require_objects
from neural3d.cli.options import Render
from neural3d.cli.plates import fitted_lens, lenses_of
from neural3d.cli.progress import say
from neural3d.cli.runs import Trained, load_trained, placed
from neural3d.cli.shots import Asked, Shot, shot_of
from neural3d.errors import InputError
from neural3d.evaluation import evaluation_background
from neural3d.render.camera_files import MAX_FPS
from neural3d.render.color_spaces import straight_alpha
from neural3d.render.deep import MAX_SAMPLES, write_deep_exr
from neural3d.render.exr import LAYERS, ExrFrame, ExrSettings, exr_fingerprint, write_exr
from neural3d.render.exr_files import require_openexr
from neural3d.render.images import png_fingerprint, write_png
from neural3d.render.model import Model, model_render_function
from neural3d.render.objects import Objects
from neural3d.render.panorama import panorama_function
from neural3d.render.rendering import RenderFn
from neural3d.render.sequences import SequenceName, fingerprint, is_pattern, model_digest, sequence_name
from neural3d.render.stereo import EYES, eye_cameras
from neural3d.render.tiff import require_tifffile, tiff_fingerprint, write_tiff
from neural3d.render.video import CODECS, CodecName, write_video
from neural3d.run import check_parents
from neural3d.splats.gaussians import Gaussians
from neural3d.srgb import decode_srgb, encode_srgb

Form = Literal["png", "tiff", "exr", "mp4", "mov"]
Writer = Callable[[Path, int, str], None]
"""Of one frame: its path, its place in the shot, its fingerprint."""
_FORMS: dict[str, Form] = {
    **{".png": "png", ".tif": "tiff", ".tiff": "tiff", ".exr": "exr"},
    **{".mp4": "mp4", ".mov": "mov"},
}
_SUFFIXES: dict[Form, str] = {"png": ".png", "tiff": ".tif", "exr": ".exr"}
_FILE_SUFFIXES = (*_FORMS, ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".mkv", ".avi", ".webm")
"""Of files, which nobody gives to a folder."""
EYE = "%V"
"""What stands for left and right in a name, as compositors write it."""
_PANORAMA_PX = (2048, 1024)
_FOR_EXR = (
    "layers",
    "objects",
    "color_space",
    "precision",
    "overscan",
    "distort",
    "shutter",
    "shutter_samples",
    "deep",
)
_KNOWN_BY = {"png": png_fingerprint, "tiff": tiff_fingerprint, "exr": exr_fingerprint}


def render(options: Render) -> dict[str, Any]:
    """Render views of a run; what there is to say about it.

    Raises: InputError; StorageError.
    """
    form = _form(options)
    _require_sensible(options, form)
    trained = load_trained(options.run)
    size = options.size or (_PANORAMA_PX if options.panorama else None)
    shot = shot_of(Asked(options.run, options.cameras, options.frames, size, options.up, options.units), trained)
    if options.deep is not None and not isinstance(trained.model, Gaussians):
        raise InputError(f"--deep: {options.run} is a radiance field, which has no splats to be samples; leave it out")
    model = placed(trained.model, options.device)
    objects = named_objects(options, trained) if "object" in options.layers else None
    write = partial(_pictures, objects=objects) if form in _SUFFIXES else _video
    if options.stereo is None or EYE not in str(options.output):
        return write(options, form, trained, shot, model)
    told = []
    for name, cameras in zip(EYES, _eyes(options, shot, shot.cameras), strict=True):
        output = Path(str(options.output).replace(EYE, name))
        one = replace(options, output=output, stereo=None, convergence=None)
        told.append(write(one, form, trained, replace(shot, cameras=cameras), model))
    return {**told[0], "output": " and ".join(each["output"] for each in told)}


def _eyes(options: Render, shot: Shot, cameras: Cameras) -> tuple[Cameras, Cameras]:
    """Left and right of some of a shot's cameras."""
    scale = shot.world_from_scene.scale
    convergence = None if options.convergence is None else options.convergence / scale
    return eye_cameras(cameras, options.stereo / scale, convergence)


def background_of(trained: Trained) -> Float[Tensor, "3"]:
    """What lies behind the run's model."""
    return evaluation_background(trained.views.has_alpha, trained.settings.background)


def _form(options: Render) -> Form:
    return options.format or _FORMS.get(options.output.suffix.lower(), "png")


def _require_sensible(options: Render, form: Form) -> None:
    """Refuse what cannot be rendered before anything is loaded."""
    output = options.output
    check_parents(output)
    if options.fps is not None and not 0 < options.fps <= MAX_FPS:
        raise InputError(f"--fps {options.fps:g}: expected more than 0, at most {MAX_FPS:g}")
    if not 0 <= options.overscan <= 4096:
        raise InputError(f"--overscan {options.overscan}: expected 0 to 4096 pixels")
    if not (0 <= options.shutter <= 1 and 1 <= options.shutter_samples <= 1024):
        raise InputError(
            f"--shutter {options.shutter:g}, --shutter-samples {options.shutter_samples}: expected 0 to 1 frame, and "
            "1 to 1024 samples"
        )
    for name in _FOR_EXR:
        if form != "exr" and getattr(options, name) != getattr(Render, name):
            raise InputError(f"--{name.replace('_', '-')}: this is for EXR; leave it out, or add --format exr")
    if not options.layers:
        raise InputError(f"--layers: expected at least one of {', '.join(LAYERS)}, object; name some, or leave it out")
    if options.distort and (options.overscan or "motion" in options.layers):
        raise InputError("--distort: the plate has no overscan and no motion part; leave these out")
    require_objects(options)
    _require_deep(options)
    _require_stereo(options, form)
    if options.panorama and (options.overscan or options.distort or options.deep or "motion" in options.layers):
        raise InputError("--panorama: it has no border, no lens, no motion part and no deep samples; leave these out")
    if options.panorama and options.size and options.size[0] != 2 * options.size[1]:
        raise InputError(f"--size {options.size[0]} {options.size[1]}: a panorama is twice as wide as high")
    if form == "exr" and options.alpha:
        raise InputError("--alpha: EXR files have alpha always; leave it out")
    if form in _SUFFIXES:
        _require_pictures(options, form)
    else:
        _codec(options, form)
        if options.bits != 8:
            raise InputError(f"--bits {options.bits}: this is for PNG; leave it out, and choose a --codec")
        if output.suffix.lower() != f".{form}" or output.is_dir():
            raise InputError(f"--output {output}: expected a file that ends in .{form} for the video")


def _require_stereo(options: Render, form: Form) -> None:
    if options.stereo is None:
        if options.convergence is not None:
            raise InputError("--convergence: this is for two eyes; add --stereo, or leave it out")
        return
    for name in ("stereo", "convergence"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"--{name} {value:g}: expected a length of more than 0, in units of the capture")
    if form == "exr" and EYE not in str(options.output):
        raise InputError(f"--stereo: EXR files hold one eye each; put {EYE} into --output, as shots/tea.{EYE}.%04d.exr")
    if options.panorama or options.distort:
        raise InputError("--stereo: this is for straight pictures; leave --panorama and --distort out")


def _require_deep(options: Render) -> None:
    if options.deep is None:
        return
    if not 1 <= options.deep <= MAX_SAMPLES:
        raise InputError(f"--deep {options.deep}: expected 1 to {MAX_SAMPLES} samples a pixel")
    for name in ("layers", "distort", "shutter"):
        if getattr(options, name) != getattr(Render, name):
            raise InputError(f"--{name}: deep pictures hold R, G, B, A, Z and ZBack of a sharp pinhole; leave it out")


def _require_pictures(options: Render, form: Form) -> None:
    output = options.output
    is_file = output.suffix.lower() in _FILE_SUFFIXES and not is_pattern(output)
    if is_file or (output.exists() and not output.is_dir()):
        raise InputError(
            f"--output {output}: expected a folder for the pictures, a pattern as name.%04d{_SUFFIXES[form]}, or a "
            "file that ends in .mp4 or .mov"
        )
    if is_pattern(output) and _FORMS.get(output.suffix.lower()) != form:
        raise InputError(f"--output {output}: expected a pattern that ends in {_SUFFIXES[form]}")
    if options.codec is not None:
        raise InputError(f"--codec {options.codec}: this is for videos; leave it out, or name a .mp4 or .mov")
    if options.bits != 8 and form != "png":
        raise InputError(f"--bits {options.bits}: this is for PNG; TIFF has 16, EXR see --precision")
    if form == "exr":
        require_openexr(output)
    if form == "tiff":
        require_tifffile(output)


def _codec(options: Render, form: Form) -> CodecName:
    """The codec that was asked for, else the usual one of the file."""
    if options.codec is None:
        name: CodecName = "h264" if form == "mp4" else "prores4444" if options.alpha else "prores422hq"
    else:
        name = options.codec
    if f".{form}" not in CODECS[name].suffixes:
        raise InputError(f"--codec {name}: a file for it ends in {CODECS[name].suffixes[0]}; rename --output")
    if options.alpha and CODECS[name].pixels_with_alpha is None:
        raise InputError(f"--alpha: {name} has none; use --codec prores4444 in a .mov, or pictures")
    return name


def _video(options: Render, form: Form, trained: Trained, shot: Shot, model: Model) -> dict[str, Any]:
    if len(shot.cameras.size_px.unique(dim=0)) > 1:
        raise InputError(f"--cameras {options.cameras}: the views differ in size; give --size, or render pictures")
    codec = _codec(options, form)
    image_of = _image_function(options, model, trained)
    frames = (image_of(shot, i) for i in counted(shot.chosen, len(shot.chosen), "rendering"))
    count = write_video(options.output, frames, fps=options.fps or shot.fps, codec=codec)
    return {"output": str(options.output), "codec": codec, "num_frames": count}


def _pictures(
    options: Render, form: Form, trained: Trained, shot: Shot, model: Model, objects: Objects | None
) -> dict[str, Any]:
    """A file a frame; those that are there already, from the same model, cameras and settings, are left alone."""
    names = sequence_name(options.output, _SUFFIXES[form])
    lenses = lenses_of(trained, options.cameras) if options.distort else None
    marks = _fingerprints(options, form, trained, shot, (lenses, objects and (objects.names, objects.digest())))
    paths = {i: names.path(shot.numbers[i], shot.labels[i]) for i in shot.chosen}
    waiting = [i for i, path in paths.items() if not path.is_file() or _KNOWN_BY[form](path) != marks[i]]
    if len(waiting) < len(paths):
        say(f"{len(paths) - len(waiting)} of {len(paths)} frames are finished already")
    write = (
        _exr_writer(options, shot, model, lenses, objects)
        if form == "exr"
        else _picture_writer(options, form, trained, shot, model)
    )
    for i in counted(waiting, len(waiting), "rendering"):
        write(paths[i], i, marks[i])
    return {"output": _shown(names, form), "num_frames": len(paths), "num_rendered": len(waiting)}


def _shown(names: SequenceName, form: Form) -> str:
    if not names.before and names.after == _SUFFIXES[form]:
        return str(names.folder)
    return str(names.folder / f"{names.before}{'#' * names.digits}{names.after}")


def _fingerprints(options: Render, form: Form, trained: Trained, shot: Shot, found: object) -> dict[int, str]:
    """Of each frame; `found` is what else the capture says about the pictures."""
    model = model_digest(trained.checkpoint.tensors)
    settings = (
        form,
        options.bits,
        options.alpha,
        options.panorama,
        *(options.stereo, options.convergence),
        *(getattr(options, name) for name in _FOR_EXR),
        *(options.up, options.units),
    )
    settings += (background_of(trained).tolist(), options.fps or shot.fps, shot.sensor_width_mm, found)
    if form == "exr" or options.stereo is not None:
        # What --units and --up came to: the capture may have been measured anew since, and its metres be others.
        frame = shot.world_from_scene
        settings += (frame.scale, frame.rotation.tolist(), frame.translation.tolist())
    around = {i: (shot.previous_camera(i), shot.cameras[i], shot.next_camera(i)) for i in shot.chosen}
    return {i: fingerprint(model, around[i], (*settings, shot.numbers[i])) for i in shot.chosen}


def _exr_writer(
    options: Render, shot: Shot, model: Model, lenses: list[Lens] | None, objects: Objects | None
) -> Writer:
    settings = ExrSettings(
        *(options.layers, options.color_space, options.precision, options.overscan),
        *(options.shutter, options.shutter_samples, options.panorama),
    )
    fps = options.fps or shot.fps

    def write(path: Path, i: int, mark: str) -> None:
        camera = shot.cameras[i]
        lens = None if lenses is None else fitted_lens(lenses[i % len(lenses)], camera)
        after, before = shot.next_camera(i), shot.previous_camera(i)
        frame = ExrFrame(camera, after, shot.numbers[i], fps, shot.sensor_width_mm, lens, before)
        how = {"capture_from_scene": shot.world_from_scene, "settings": settings, "fingerprint": mark}
        if options.deep is None:
            write_exr(path, model, frame, objects=objects, **how)
        else:
            write_deep_exr(path, model, frame, max_samples=options.deep, **how)

    return write


def _picture_writer(options: Render, form: Form, trained: Trained, shot: Shot, model: Model) -> Writer:
    image_of = _image_function(options, model, trained)

    def write(path: Path, i: int, mark: str) -> None:
        if form == "tiff":
            write_tiff(path, image_of(shot, i), fingerprint=mark)
        else:
            write_png(path, image_of(shot, i), bits=options.bits, fingerprint=mark)

    return write


def _image_function(options: Render, model: Model, trained: Trained) -> Callable[[Shot, int], Tensor]:
    """One frame as display sRGB: over the background, or with straight alpha where there is none."""
    background = None if options.alpha else background_of(trained)
    render_fn: RenderFn = model_render_function(model, background=background)
    if options.panorama:
        render_fn = panorama_function(render_fn)

    def image_of(shot: Shot, i: int) -> Float[Tensor, "H W C"]:
        camera = shot.cameras[i]
        views = (camera,) if options.stereo is None else _eyes(options, shot, camera)
        return torch.cat([seen_by(view) for view in views], dim=1)

    def seen_by(camera: Cameras) -> Float[Tensor, "H W C"]:
        seen = render_fn(camera)
        if background is not None:
            return seen.colors[0]
        alphas = seen.alphas[0]
        if isinstance(model, Gaussians) and model.linear:
            return torch.cat([encode_srgb(straight_alpha(decode_srgb(seen.colors[0]), alphas)), alphas], dim=-1)
        return torch.cat([straight_alpha(seen.colors[0], alphas), alphas], dim=-1)

    return image_of
