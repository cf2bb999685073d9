"""Which format a folder is in."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from neural3d.capture.colmap import find_model, list_colmap
from neural3d.capture.formats.registry import FORMATS, find_format, format_of_file
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.georeference.world_file import find_world
from neural3d.capture.listing import Listing
from neural3d.capture.paths import list_images
from neural3d.capture.transforms import find_transforms, list_transforms
from neural3d.capture.world import precision_notes
from neural3d.errors import InputError


def has_poses(path: Path) -> bool:
    """Whether a folder or file is a capture, or photos whose poses are still to be found.

    Raises: InputError for a model whose header cannot be true.
    """
    if not path.is_dir():
        return path.is_file() and (path.suffix.lower() == ".json" or format_of_file(path) is not None)
    return bool(find_transforms(path)) or find_model(path) is not None or find_format(path) is not None


def list_capture(path: Path) -> Listing:
    """Read which photos a capture names, with which poses, and its way to metres where world.json holds one.

    Raises: InputError as `list_poses`, or when world.json is damaged.
    """
    listing = list_poses(path)
    centers = {frame.name: camera_center(frame.camera_from_world) for frame in listing.frames}
    world, notes = find_world(listing.root, centers)
    coarse = precision_notes(np.stack(list(centers.values())), listing.points)
    return replace(listing, world=world, notes=(*listing.notes, *coarse, *notes))


def list_poses(path: Path) -> Listing:
    """Read which photos a capture names, with which poses; `path` is its folder or its file of poses.

    A transforms file is preferred to a COLMAP model, because where both are the model is what it was made from.

    Raises: InputError when there is no capture, it is damaged, or no frame is left.
    """
    if path.is_file() and path.suffix.lower() == ".json":
        return list_transforms(path.parent, (path,))
    if path.is_file() and (format := format_of_file(path)) is not None:
        return format.read(path.parent, path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path}: {found}, expected the folder of a capture")
    try:
        if files := find_transforms(path):
            return list_transforms(path, files)
        if model := find_model(path):
            return list_colmap(path, model)
        if other := find_format(path):
            return other[0].read(path, other[1])
        num_images = len(list_images(path))
    except PermissionError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions") from error
    raise InputError(
        f"{path}: has no poses ({num_images} photos, no transforms.json, no COLMAP model in sparse/, "
        f"none of {', '.join(format.files for format in FORMATS)}); "
        f"estimate the poses first: neural3d ingest {path} --output CAPTURE"
    )
