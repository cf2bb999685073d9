"""RealityCapture's (RealityScan's) CSV of "Internal/External camera parameters".

Source: RealityCapture help, "Camera registration export"; Tait-Bryan angles as nerfstudio reads them; RealityScan's own
calibration.xml, whose "OpenCV-compliant" export writes k1, k2, t2, t1, k3, k4 where OpenCV has k1, k2, p1, p2, k3, k4.
"""

import csv
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import PosedPhoto, from_opengl_camera, list_posed, read_lines
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.images import Header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, Skipped
from neural3d.errors import InputError, said

_COLUMNS = ("x", "y", "alt", "heading", "pitch", "roll", "f")
_OPTIONAL = ("px", "py", "k1", "k2", "k3", "k4", "t1", "t2")
_RENAMED = {"yaw": "heading", "f_35mm": "f", "px_norm": "px", "py_norm": "py"}
"""RealityScan's names for what is the same: the angle still turns clockwise, lengths are still those of 36 mm."""
_COUNT = "#cameras"
"""Begins a line before the columns, with the number of cameras, where that was asked for."""
_WIDTH_35MM = 36.0
_MAX_ACROSS_DEG, _NEEDLE, _FAR = 0.1, 10.0, 100.0
"""Degrees of one place are close to each other (0.1 are 11 km), less so than altitudes in metres, and far from 0, 0."""
WORLD_UP = (0.0, 0.0, 1.0)


def find(root: Path) -> Path | None:
    """The one CSV file with the columns of a registration."""
    for path in sorted(root.glob("*.csv")):
        with path.open("rb") as file:
            head = file.read(2000).decode("utf-8-sig", errors="replace").splitlines()
        columns = _columns(_without_count(head)[:1])
        if columns[:1] == ["#name"] and "heading" in columns:
            return path
    return None


def list_realitycapture(root: Path, path: Path) -> Listing:
    """List the cameras of the CSV.

    Raises: InputError when columns are missing or there twice, or the places are degrees of the globe.
    """
    lines = _without_count(read_lines(path))
    try:
        columns = _columns(lines[:1])
        rows = list(csv.DictReader(lines[1:], fieldnames=columns))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read ({said(error)}); export the cameras again") from error
    _require_columns(path, columns)
    photos = [_photo(row) for row in rows]
    _require_metres(path, [photo for photo in photos if isinstance(photo, PosedPhoto)])
    return list_posed(root, path, "RealityCapture", photos, world_up=WORLD_UP)


def _require_columns(path: Path, columns: list[str]) -> None:
    if missing := [column for column in ("#name", *_COLUMNS) if column not in columns]:
        raise InputError(
            f"{path}: the columns {', '.join(missing)} are missing; export Internal/External camera parameters again"
        )
    if twice := [column for column in (*_COLUMNS, *_OPTIONAL) if columns.count(column) > 1]:
        raise InputError(f"{path}: the columns {', '.join(twice)} are there twice, under two names; keep one of each")


def _require_metres(path: Path, photos: list[PosedPhoto]) -> None:
    """Refuse longitudes and latitudes: seen so, a scene is a needle, thousands of times as high as it is wide."""
    if len(photos) < 3:
        return
    centers = np.array([camera_center(photo.camera_from_world) for photo in photos])
    across, high = np.ptp(centers[:, :2], axis=0).max(), np.ptp(centers[:, 2])
    on_globe = (np.abs(centers[:, :2]) <= (180, 90)).all()
    far = np.linalg.norm(centers[:, :2].mean(axis=0)) > _FAR * across
    if on_globe and far and 0 < across < _MAX_ACROSS_DEG and high > _NEEDLE * across:
        raise InputError(
            f"{path}: x and y look like degrees of longitude and latitude ({across:.2g} across, alt {high:.2g}); "
            "export the registration again with the coordinate system Grid plane or Local Euclidean"
        )


def _without_count(lines: list[str]) -> list[str]:
    lines = [line for line in lines if line.strip()]
    return lines[1:] if lines and lines[0].lower().startswith(_COUNT) else lines


def _columns(head: list[str]) -> list[str]:
    """The names of the first line, as RealityCapture had them."""
    names = [name.strip().lower() for name in next(csv.reader(head), [])]
    return [_RENAMED.get(name, name) for name in names]


def _photo(row: dict[str, str]) -> PosedPhoto | Skipped:
    name = row["#name"] or "a line without a name"
    try:
        values = {key: float(row[key]) for key in _COLUMNS}
        values |= {key: float(row.get(key) or 0.0) for key in _OPTIONAL}
        if not all(np.isfinite(list(values.values()))):
            raise BadFrame("its numbers are not finite")
        rotation = rotation_from_angles(*(np.radians(values[key]) for key in ("heading", "pitch", "roll")))
        center = np.array([values["x"], values["y"], values["alt"]])
        return PosedPhoto(name, partial(_lens, values), from_opengl_camera(rotation, center))
    except (TypeError, ValueError, BadFrame) as error:
        return Skipped(name, str(error))


def rotation_from_angles(heading: float, pitch: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """World from camera (OpenGL axes, world x east, y north, z up) of radians.

    At zero the camera looks down with north at the top of the photo; heading turns clockwise seen from above.
    """
    (ch, cp, cr), (sh, sp, sr) = np.cos([heading, pitch, roll]), np.sin([heading, pitch, roll])
    about_z = np.array([[ch, sh, 0], [-sh, ch, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return about_z @ about_x @ about_y


def _lens(values: dict[str, float], header: Header) -> Lens:
    """Lengths of the file are those on a 36 mm wide sensor (focal), or parts of the longer side (principal point)."""
    width, height = header.width, header.height
    size = max(width, height)
    focal = values["f"] * size / _WIDTH_35MM
    middle = (width / 2 + values["px"] * size, height / 2 + values["py"] * size)
    radial = tuple(values[key] for key in ("k1", "k2", "k3", "k4"))
    # Its first tangential coefficient is OpenCV's second.
    tangential = (values["t2"], values["t1"])
    return Lens("REALITYCAPTURE", width, height, (focal, focal), middle, radial=radial, tangential=tangential)
