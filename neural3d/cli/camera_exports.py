"""export --format cameras: a run's cameras, or a camera file, as a file for other programs."""

from dataclasses import fields
from typing import Any

import torch

from neural3d.cli.options import Export
from neural3d.cli.progress import say
from neural3d.cli.runs import load_trained
from neural3d.cli.shots import Asked, default_up, frame_of, metres_per_unit, shot_of
from neural3d.errors import InputError
from neural3d.export.camera_formats import require_camera_suffix, write_cameras
from neural3d.export.scene_export import usd_axis
from neural3d.export.up_axis import composed, upright
from neural3d.render.camera_files import MAX_FPS, CameraPath
from neural3d.run import check_parents

FOR_SPLATS = ("crop", "min_opacity", "max_splats", "spz_version")
FOR_CAMERAS = ("cameras", "frames", "fps")


def export_cameras(options: Export) -> dict[str, Any]:
    """Write the file; what there is to say about it.

    Raises: InputError; StorageError.
    """
    refuse(options, FOR_SPLATS, "splats and meshes")
    require_camera_suffix(options.output)
    check_parents(options.output)
    if options.fps is not None and not 0 < options.fps <= MAX_FPS:
        raise InputError(f"--fps {options.fps:g}: expected more than 0, at most {MAX_FPS:g}")
    if options.source.is_file():
        raise InputError(f"{options.source}: cameras come out of a run; give the run's folder, and this by --cameras")
    trained = load_trained(options.source)
    shot = shot_of(Asked(options.source, options.cameras, options.frames), trained)
    chosen = torch.tensor(list(shot.chosen))
    numbers = tuple(shot.numbers[i] for i in shot.chosen)
    fps = options.fps or shot.fps
    move = CameraPath(shot.cameras[chosen], fps, numbers, shot.sensor_width_mm)
    up = options.up or default_up(options.output)
    frame, up_there = frame_of(trained, options.units)
    stage = {"up_axis": usd_axis(up, up_there), "metres_per_unit": metres_per_unit(trained, options.units)}
    for line in write_cameras(options.output, move, capture_from_scene=composed(upright(up, up_there), frame), **stage):
        say(f"neural3d: warning: {line}")
    return {"output": str(options.output), "format": "cameras", "num_frames": len(numbers), "fps": fps}


def refuse_camera_options(options: Export) -> None:
    """Raises: InputError where splats are exported with what is for cameras."""
    refuse(options, FOR_CAMERAS, "--format cameras")


def refuse(options: Export, names: tuple[str, ...], kind: str) -> None:
    """Raises: InputError where one of these options was given."""
    defaults = {field.name: field.default for field in fields(Export)}
    for name in names:
        if getattr(options, name) != defaults[name]:
            raise InputError(f"--{name.replace('_', '-')}: this is for {kind}; leave it out")
