"""Control points: a text file of measured places, each where a camera stood or seen in two photos and more.

A line is `name, x, y, z` where the name is that of a photo, and the place its camera's; or `name, x, y, z, photo, u, v`
for a point that is seen in a photo, a line for each photo. x, y, z are metres with z up; u, v are pixels of the
capture's photo, from its top left corner, so that the top left pixel is centred at 0.5, 0.5. Fields are parted by
commas, semicolons, tabs or spaces; `#` begins a comment; a first line that names the fields is passed over.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import read_lines
from neural3d.capture.georeference.references import References, camera_center
from neural3d.capture.lens_inverse import undistort
from neural3d.capture.listing import Frame, Listing
from neural3d.capture.panoramas import is_panorama
from neural3d.capture.poses import MAX_COORDINATE
from neural3d.errors import InputError

HEADER = ("name", "x", "y", "z", "photo", "u", "v")
MIN_ANGLE_RAD = np.radians(1.0)
"""Between the rays to a point; less says nothing about its depth."""


@dataclass(frozen=True)
class Sighting:
    """A point in a photo, and where the file says so."""

    photo: str
    pixel: tuple[float, float]
    line: int


@dataclass(frozen=True)
class ControlPoint:
    """A measured place; without sightings it is where the photo of its name was taken."""

    name: str
    position: tuple[float, float, float]
    """Metres, z up."""
    line: int
    sightings: tuple[Sighting, ...]


def read_control_points(path: Path) -> tuple[ControlPoint, ...]:
    """Read the file, sorted by name.

    Raises: InputError naming the line, for what has other fields, no numbers, or one point in two places.
    """
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(read_lines(path), start=1))
    rows = [(number, _fields(line)) for number, line in lines if line]
    if rows and tuple(field.lower() for field in rows[0][1]) in (HEADER, HEADER[:4]):
        rows = rows[1:]
    found: dict[str, list[ControlPoint]] = defaultdict(list)
    for number, fields in rows:
        point = _point(path, number, fields)
        found[point.name].append(point)
    if not found:
        raise InputError(f"{path}: names no control points; a line is name, x, y, z or name, x, y, z, photo, u, v")
    return tuple(_merged(path, points) for _, points in sorted(found.items()))


def _fields(line: str) -> list[str]:
    """Parted by the first of these that the line has: names may hold spaces where there are commas."""
    separator = next((mark for mark in ",;\t" if mark in line), None)
    words = line.split(separator) if separator else line.split()
    return [word.strip().strip('"') for word in words]


def _point(path: Path, number: int, fields: list[str]) -> ControlPoint:
    if len(fields) not in (4, 7) or not fields[0]:
        raise InputError(
            f"{path}: line {number} has {len(fields)} fields, expected name, x, y, z or name, x, y, z, photo, u, v"
        )
    x, y, z = (_number(path, number, name, word) for name, word in zip(HEADER[1:4], fields[1:4], strict=True))
    if len(fields) == 4:
        return ControlPoint(fields[0], (x, y, z), number, ())
    pixel = _number(path, number, "u", fields[5]), _number(path, number, "v", fields[6])
    return ControlPoint(fields[0], (x, y, z), number, (Sighting(fields[4], pixel, number),))


def _number(path: Path, number: int, name: str, word: str) -> float:
    # Python would take 1_000 and words in other scripts' digits, too.
    value = float(word) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word, re.ASCII) else np.nan
    if not abs(value) <= MAX_COORDINATE:
        raise InputError(f"{path}: line {number}: {name} is {word[:40]!r}, expected a number; correct it")
    return value


def _merged(path: Path, points: list[ControlPoint]) -> ControlPoint:
    """All lines of one name."""
    first = points[0]
    for other in points[1:]:
        if other.position != first.position:
            raise InputError(
                f"{path}: line {other.line} places {other.name[:80]} elsewhere than line {first.line}; correct it"
            )
    return ControlPoint(first.name, first.position, first.line, tuple(s for point in points for s in point.sightings))


def control_references(path: Path, points: tuple[ControlPoint, ...], listing: Listing) -> References:
    """The points in the capture's frame, as far as its photos show them.

    Raises: InputError when a pixel lies outside its photo, or a photo shows all around.
    """
    frames = _frames_by_name(listing)
    kept, places, notes = [], [], []
    for point in points:
        try:
            places.append(_in_capture(path, point, frames))
            kept.append(point)
        except _UnusableError as unusable:
            notes.append(f"{point.name}: {unusable}")
    return References(
        tuple(point.name for point in kept),
        np.array(places, dtype=np.float64).reshape(-1, 3),
        np.array([point.position for point in kept], dtype=np.float64).reshape(-1, 3),
        "control points",
        tuple(notes),
    )


class _UnusableError(Exception):
    """Why one control point cannot be used; the others go on."""


def _frames_by_name(listing: Listing) -> dict[str, Frame]:
    """By the name that the capture gives, without images/, and by the file's own name where only one has it."""
    found: dict[str, Frame] = {}
    alone: dict[str, list[Frame]] = defaultdict(list)
    for frame in listing.frames:
        alone[PurePosixPath(frame.name).name].append(frame)
        found |= {frame.name: frame, frame.name.removeprefix("images/"): frame}
    return {name: frames[0] for name, frames in alone.items() if len(frames) == 1} | found


def _in_capture(path: Path, point: ControlPoint, frames: dict[str, Frame]) -> Float64[np.ndarray, "3"]:
    if not point.sightings:
        if point.name not in frames:
            raise _UnusableError("no photo of this name has a pose, and the line names none that shows it")
        return camera_center(frames[point.name].camera_from_world)
    seen = [sighting for sighting in point.sightings if sighting.photo in frames]
    if len({sighting.photo for sighting in seen}) < 2:
        raise _UnusableError(f"{len(seen)} of the photos that show it have a pose, two are needed")
    rays = [_ray(path, sighting, frames[sighting.photo]) for sighting in seen]
    centers, directions = (np.array(parts) for parts in zip(*rays, strict=True))
    widest = np.arccos(np.clip((directions @ directions.T).min(), -1, 1))
    if widest < MIN_ANGLE_RAD:
        raise _UnusableError("the photos that show it look along nearly the same line")
    return nearest_to_rays(centers, directions)


def _ray(path: Path, sighting: Sighting, frame: Frame) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Centre and unit direction in the capture's frame."""
    lens, (u, v) = frame.lens, sighting.pixel
    if is_panorama(lens):
        raise InputError(
            f"{path}: line {sighting.line}: {sighting.photo[:80]} shows all around; take pixels of other photos"
        )
    if not (0 <= u <= lens.width and 0 <= v <= lens.height):
        raise InputError(
            f"{path}: line {sighting.line}: {u:g}, {v:g} is not in {sighting.photo[:80]} ({lens.width} x {lens.height})"
        )
    plane = undistort(lens, torch.tensor([[u, v]], dtype=torch.float64))[0].numpy()
    if not np.isfinite(plane).all():
        raise InputError(f"{path}: line {sighting.line}: the lens of {sighting.photo} sees nothing at {u:g}, {v:g}")
    direction = frame.camera_from_world[:3, :3].T @ np.array([*plane, 1.0])
    return camera_center(frame.camera_from_world), direction / np.linalg.norm(direction)


def nearest_to_rays(
    centers: Float64[np.ndarray, "S 3"], directions: Float64[np.ndarray, "S 3"]
) -> Float64[np.ndarray, "3"]:
    """The point that is seen at the smallest angles from these rays (unit directions), in the least squares sense.

    Distances to the rays count by how far the point is along them, which is found anew a few times.
    """
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    weights = np.ones(len(centers))
    for _ in range(5):
        weighted = weights[:, None, None] * across
        point = np.linalg.solve(weighted.sum(axis=0), (weighted @ centers[:, :, None]).sum(axis=0)[:, 0])
        weights = 1 / np.maximum(np.square(point - centers).sum(axis=1), 1e-300)
        weights /= weights.max()
    return point
