"""Plates of a shot and the cameras of its matchmove -> a capture: frames belong together by their numbers."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural3d.cameras import Cameras
from neural3d.capture.ingest.prepare import free_name, upright_mask, write_mask, write_photo, write_photo_light
from neural3d.capture.ingest.sources import Source, SourceFile
from neural3d.capture.light_files import FOLDER as LIGHT_FOLDER
from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import read_photo
from neural3d.errors import InputError
from neural3d.storage import atomic_write_text, make_folder, remove_names

MARK = "matchmove.json"
"""The file by which a capture of ours is known."""
OWN_NAMES = ("images", "masks", LIGHT_FOLDER, "transforms.json", "world.json", MARK)
_NUMBER = re.compile(r"(\d+)\D*$")
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Matchmove:
    """What became of the plates."""

    capture: Path
    num_frames: int
    skipped: dict[str, str]
    """Plates that are not used, with the reason."""


def numbered_plates(source: Source) -> dict[int, SourceFile]:
    """Plates by the last number in their name, `shot.1001.png`.

    Raises: InputError when one of them has none, or two have the same.
    """
    numbers = {}
    for file in source.files:
        found = _NUMBER.search(Path(file.relative).stem)
        if found is None:
            raise InputError(f"{file.path}: its name has no frame number, as in shot.1001.png; rename it")
        numbers[file.relative] = int(found[1])
    double = [number for number, count in Counter(numbers.values()).items() if count > 1]
    if double:
        names = [name for name, number in numbers.items() if number == double[0]]
        raise InputError(f"{source.path}: {names[0]} and {names[1]} are both frame {double[0]}; give one shot's folder")
    return {numbers[file.relative]: file for file in source.files}


def write_matchmove(
    capture: Path,
    plates: dict[int, SourceFile],
    cameras: Cameras,
    frames: Sequence[int],
    *,
    linear: bool = False,
    overwrite: bool = False,
) -> Matchmove:
    """Write images/, masks/ and transforms.json of the frames that have a plate and a camera.

    With `linear`, the light of plates in OpenEXR (or RAW) goes to linear/, to train in.

    The capture's frame and units are those of the cameras. A plate of another size than its camera's picture is that
    picture, larger or smaller.

    Raises: InputError when no frame has both, or the folder holds something else; StorageError.
    Limits: pinholes: plates must be undistorted, as the cameras of a matchmove are.
    """
    views = {number: cameras[i] for i, number in enumerate(frames)}
    both = [number for number in sorted(plates) if number in views]
    if not both:
        raise InputError(
            f"no plate has a camera: plates are {_span(plates)}, cameras {_span(views)}; rename the plates, or export "
            "the cameras at the plates' frames"
        )
    _claim(capture, overwrite, plates)
    skipped = {plates[n].relative: f"there is no camera of frame {n}" for n in sorted(plates) if n not in views}
    entries, used = [], set()
    for number in both:
        try:
            entry = _frame(capture, plates[number], views[number], used, linear)
            entries.append(entry)
            used.add(entry["file_path"].removeprefix("images/").lower())
        except BadFrame as bad:
            skipped[plates[number].relative] = str(bad)
    if not entries:
        name, reason = next(reversed(skipped.items()))
        raise InputError(f"{plates[both[0]].path.parent}: none of {len(both)} plates can be used ({name}: {reason})")
    atomic_write_text(capture / "transforms.json", json.dumps({"frames": entries}, indent=1) + "\n")
    return Matchmove(capture, len(entries), skipped)


def _span(numbers: dict[int, Any]) -> str:
    return f"{min(numbers)} to {max(numbers)}"


def _claim(capture: Path, overwrite: bool, plates: dict[int, SourceFile]) -> None:
    """Make the folder and leave our mark; of an earlier capture of ours what we wrote goes where that is wished."""
    if overwrite and (capture / MARK).is_file():
        inside = [file.path for file in plates.values() if file.path.resolve().is_relative_to(capture.resolve())]
        if inside:
            raise InputError(f"{inside[0]}: lies in the capture that --overwrite would replace; move it out of there")
        remove_names(capture, OWN_NAMES)
    elif capture.exists() and (not capture.is_dir() or any(capture.iterdir())):
        remedy = "replace it with --overwrite" if (capture / MARK).is_file() else "choose an empty folder"
        raise InputError(f"{capture}: is not empty; {remedy}")
    make_folder(capture)
    atomic_write_text(capture / MARK, json.dumps({"format": 1}) + "\n")


def _frame(capture: Path, plate: SourceFile, camera: Cameras, used: set[str], linear: bool) -> dict[str, Any]:
    """Copy the plate; its entry of transforms.json.

    Raises: BadFrame when it cannot be read, or is no picture of this camera's shape.
    """
    photo = read_photo(plate.path)
    height, width = photo.pixels.shape[:2]
    mask = None if plate.mask is None else upright_mask(plate.mask, plate.path, width, height)
    own_width, own_height = camera.size_px[0].tolist()
    if abs(width * own_height - height * own_width) > max(width, height, own_width, own_height):
        raise BadFrame(f"is {width} x {height} pixels, its camera's picture {own_width} x {own_height}: another shape")
    name = free_name(plate, used, has_alpha=photo.has_alpha)
    write_photo(capture / "images", name, plate.path, photo)
    if mask is not None:
        write_mask(capture, name, mask)
    if linear:
        write_photo_light(capture, name, plate.path)
    entry = {"file_path": f"images/{name}", **_pinhole(camera.fitted(width, height))}
    return entry if mask is None else {**entry, "mask_path": f"masks/{name}.png"}


def _pinhole(camera: Cameras) -> dict[str, Any]:
    (fx, fy), (cx, cy), (width, height) = (
        tensor[0].tolist() for tensor in (camera.focal_px, camera.principal_px, camera.size_px)
    )
    world_from_camera = np.linalg.inv(camera.camera_from_world[0].double().numpy()) @ _OPENGL_FROM_OPENCV
    return {
        **{"w": width, "h": height, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy},
        "transform_matrix": world_from_camera.tolist(),
    }
