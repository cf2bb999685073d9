"""export: a run's model, or a file of splats, as a file that other programs open."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.cli.options import Export
from neural3d.cli.progress import say
from neural3d.cli.runs import load_trained
from neural3d.cli.shots import frame_of, metres_per_unit
from neural3d.errors import InputError
from neural3d.export.formats import SplatFormat, format_of, read_splats, space_of_file
from neural3d.export.rows import Written
from neural3d.export.scene_export import export_scene
from neural3d.export.selection import Selection, select
from neural3d.run import check_parents
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


@dataclass(frozen=True)
class _Source:
    """What is exported, from a run or from a file."""

    gaussians: Gaussians
    capture_from_scene: Similarity
    up_world: Float[Tensor, "3"]
    """In the capture's frame."""
    cameras: Cameras | None
    """In the scene's frame; a file has none."""
    metres_per_unit: float = 1.0
    """Of the frame that `capture_from_scene` leads to; 1 where it is not known, as formats in metres have it."""


def export(options: Export) -> dict[str, Any]:
    """Write the file; what there is to say about it.

    Raises: InputError; StorageError.
    """
    chosen = format_of(options.output, options.format)
    if options.spz_version is not None and chosen.name != "spz":
        raise InputError(f"--spz-version {options.spz_version}: the output is {chosen.name}; leave it out")
    check_parents(options.output)
    if options.source.is_file() and options.output.exists() and options.output.samefile(options.source):
        raise InputError(f"--output {options.output}: the same file as is read; choose another name")
    source = _read(options)
    written = _write(options, chosen, source)
    for line in written.warnings:
        say(f"neural3d: warning: {line}")
    if source.gaussians.linear:
        say("neural3d: warning: trained on linear light: the file holds display colours, and others blend them as such")
    if written.num_dropped:
        say(f"neural3d: warning: left out {written.num_dropped} Gaussians that are not finite")
    return {"output": str(options.output), "format": chosen.name, "num_gaussians": written.num_gaussians}


def _write(options: Export, chosen: SplatFormat, source: _Source) -> Written:
    selection = Selection(options.crop, options.min_opacity, options.max_splats)
    where = {"capture_from_scene": source.capture_from_scene}
    indices = select(source.gaussians, selection, cameras=source.cameras, **where)
    return export_scene(
        options.output,
        source.gaussians,
        chosen,
        **where,
        up_world=source.up_world,
        cameras=source.cameras,
        indices=indices,
        up=options.up,
        spz_version=int(options.spz_version or "3"),
        metres_per_unit=source.metres_per_unit,
    )


def _read(options: Export) -> _Source:
    path = options.source
    if not path.is_file():
        trained = load_trained(path)
        if not isinstance(trained.model, Gaussians):
            raise InputError(
                f"{path}: the run holds a radiance field; give --format mesh or points, or a run of splats"
            )
        way, up_world = frame_of(trained, options.units)
        return _Source(trained.gaussians, way, up_world, trained.cameras, metres_per_unit(trained, options.units))
    if options.units != "capture":
        raise InputError(f"--units {options.units}: a file knows no other units than its own; give the run's folder")
    space = space_of_file(path)
    up_world = torch.tensor(space.up_world)
    return _Source(read_splats(path), Similarity.identity(), up_world, None, space.metres_per_unit)
