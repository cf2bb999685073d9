"""The lenses of a run's photos: for renders that go onto the plate, and as maps for compositors."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from neural3d.cameras import Cameras
from neural3d.capture.detect import list_capture
from neural3d.capture.lenses import Lens
from neural3d.capture.survey import Placed, survey
from neural3d.cli.options import Export
from neural3d.cli.runs import Trained, load_trained
from neural3d.errors import InputError
from neural3d.render.exr_files import require_openexr
from neural3d.render.plates import write_st_maps
from neural3d.run import check_parents
from neural3d.storage import atomic_write_text


def lenses_of(trained: Trained, cameras: str) -> list[Lens]:
    """One lens a view of `test` or `photos`; of other cameras the one lens that all photos have.

    Raises: InputError when the capture is gone, or its lenses differ where one is needed.
    """
    by_name = _lenses(trained)
    names = trained.views.names
    if cameras == "photos":
        return [by_name[name] for name in names]
    if cameras == "test":
        return [by_name[names[i]] for i in trained.views.test_indices.tolist()]
    bends = {_bend(lens) for lens in by_name.values()}
    if len(bends) > 1:
        raise InputError(
            f"--distort: the photos of {trained.settings.capture} have {len(bends)} different lenses; which one is the "
            "plate's is not known: take --cameras photos, or the maps of export --format st-maps"
        )
    return [next(iter(by_name.values()))]


def fitted_lens(lens: Lens, camera: Cameras) -> Lens:
    """The same glass before a camera of another picture size, focal length and principal point."""
    (width, height), focal, principal = (
        tensor[0].tolist() for tensor in (camera.size_px, camera.focal_px, camera.principal_px)
    )
    sizes = {"width": width, "height": height}
    return replace(lens, **sizes, focal_px=(focal[0], focal[1]), principal_px=(principal[0], principal[1]))


def export_st_maps(options: Export) -> dict[str, Any]:
    """A pair of maps a lens, at the photos' own size, and a list of whose they are.

    Raises: InputError; StorageError.
    """
    folder = options.output
    for field in fields(options):
        if field.name not in ("source", "output", "format") and getattr(options, field.name) != field.default:
            raise InputError(f"--{field.name.replace('_', '-')}: maps have no such option; leave it out")
    if folder.suffix or (folder.exists() and not folder.is_dir()):
        raise InputError(f"--output {folder}: expected a folder for the maps")
    check_parents(folder)
    require_openexr(folder)
    by_name = _lenses(load_trained(options.source))
    lenses = list(dict.fromkeys(by_name.values()))
    labels = {lens: "" if len(lenses) == 1 else f"-{number + 1}" for number, lens in enumerate(lenses)}
    overscans = {lens: write_st_maps(folder, lens, labels[lens]) for lens in lenses}
    listing = {
        name: {
            **{"undistort": f"undistort{labels[lens]}.exr", "redistort": f"redistort{labels[lens]}.exr"},
            "overscan_px": overscans[lens],
        }
        for name, lens in by_name.items()
    }
    atomic_write_text(folder / "maps.json", json.dumps(listing, indent=1) + "\n")
    return {"output": str(folder), "num_lenses": len(lenses), "overscan_px": max(overscans.values())}


def _lenses(trained: Trained) -> dict[str, Lens]:
    """By the name of the photo, at the photo's own size."""
    return {placed.frame.name: placed.frame.lens for placed in photos_of(trained, "the lenses")}


def photos_of(trained: Trained, wanted: str) -> tuple[Placed, ...]:
    """The files of a run's photos in their order; `wanted` is what they are looked at for.

    Raises: InputError when the capture is gone, or has changed.
    """
    capture: Path = trained.settings.capture
    if not capture.exists():
        raise InputError(f"{capture}: the capture of the run is not there, and with it {wanted}; put it back")
    found = {placed.frame.name: placed for placed in survey(list_capture(capture)).placed}
    missing = [name for name in trained.views.names if name not in found]
    if missing:
        raise InputError(f"{capture}: not the capture that the run was trained on ({missing[0]} gone); restore it")
    return tuple(found[name] for name in trained.views.names)


def _bend(lens: Lens) -> tuple[Any, ...]:
    """What a lens does beside its focal length."""
    return lens.radial, lens.radial_denominator, lens.tangential, lens.fisheye, lens.curve, lens.shape, lens.prism
