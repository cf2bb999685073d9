"""export --format points: what a run's views show, as a cloud of points."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cli.camera_exports import FOR_CAMERAS, refuse
from neural3d.cli.mesh_exports import FOR_MESHES
from neural3d.cli.options import Export
from neural3d.cli.runs import load_trained
from neural3d.cli.shots import frame_of
from neural3d.cli.surfaces import chosen_model, tell_views
from neural3d.errors import InputError
from neural3d.export.point_files import require_points_suffix, write_points
from neural3d.export.selection import require_box
from neural3d.export.up_axis import composed, upright
from neural3d.run import check_parents
from neural3d.surface.points import surface_points

FOR_POINTS = ("max_points",)
MAX_POINTS, MAX_POINTS_DEFAULT = 10_000_000, 200_000


def export_points(options: Export) -> dict[str, Any]:
    """Write the file; what there is to say about it.

    Raises: InputError; StorageError.
    """
    refuse(options, (*FOR_CAMERAS, *FOR_MESHES, "spz_version"), "other formats")
    require_points_suffix(options.output)
    check_parents(options.output)
    if options.max_points is not None and not 1 <= options.max_points <= MAX_POINTS:
        raise InputError(f"--max-points {options.max_points}: expected 1 to {MAX_POINTS}")
    if options.crop is not None:
        require_box(options.crop)
    if options.source.is_file():
        raise InputError(f"{options.source}: points are what a run's cameras see; give the run's folder")
    trained = load_trained(options.source)
    frame, up_file = frame_of(trained, options.units)

    def within(places: Float[Tensor, "P 3"]) -> Bool[Tensor, "P"]:
        low, high = torch.tensor(options.crop).reshape(2, 3).double()
        places = frame.apply(places.double())
        return ((places >= low) & (places <= high)).all(dim=1)

    found = surface_points(
        chosen_model(options, trained),
        trained.cameras,
        options.max_points or MAX_POINTS_DEFAULT,
        within=None if options.crop is None else within,
        progress=tell_views("looked at"),
    )
    if len(found) == 0:
        raise InputError("--crop: no surface lies in the box")
    write_points(options.output, found.moved(composed(upright(options.up or "keep", up_file), frame)))
    return {"output": str(options.output), "format": "points", "num_points": len(found)}


def refuse_point_options(options: Export) -> None:
    """Raises: InputError where something else is exported with what is for points."""
    refuse(options, FOR_POINTS, "--format points")
