"""Meshroom's (AliceVision's) .sfm files: JSON with views, intrinsics and poses.

Source: AliceVision, sfmDataIO/jsonIO.cpp and its changelog of file versions.
"""

from pathlib import Path
from typing import Any

import numpy as np

from neural3d.capture.formats.posed_photos import PosedPhoto, list_posed, rigid
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, PointCloud, Skipped
from neural3d.capture.strict_json import load_json, vector
from neural3d.errors import InputError, said

_CENTRED_SINCE = (1, 2, 1)
"""File version from which the principal point is counted from the middle of the photo."""
_RADIAL = {"pinhole": 0, "radial1": 1, "radial3": 3, "brown": 3, "fisheye4": 4, "equidistant": 0}
"""Known types and their radial coefficients; brown adds two tangential ones."""


def find(root: Path) -> Path | None:
    """The one .sfm file of a folder; cameras.sfm before others, which also hold features."""
    found = sorted(root.glob("*.sfm"), key=lambda path: (path.name != "cameras.sfm", path.name))
    return found[0] if found else None


def list_meshroom(root: Path, path: Path) -> Listing:
    """List the views that have a pose.

    Raises: InputError when the file is no such JSON or lacks a part.
    """
    content = load_json(path)
    parts = {name: content.get(name) for name in ("views", "intrinsics", "poses")}
    for name, part in parts.items():
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            raise InputError(
                f"{path}: has no list of {name}; save it by ConvertSfMFormat with views, intrinsics and extrinsics"
            )
    intrinsics = {str(entry.get("intrinsicId")): entry for entry in parts["intrinsics"]}
    poses = {str(entry.get("poseId")): entry for entry in parts["poses"]}
    is_centred = _version(content) >= _CENTRED_SINCE
    photos = [_photo(view, intrinsics, poses, is_centred) for view in parts["views"]]
    return list_posed(root, path, "Meshroom", photos, points=_points(path, content.get("structure")))


def _version(content: dict[str, Any]) -> tuple[int, ...]:
    version = content.get("version")
    words = version if isinstance(version, list) else []
    return tuple(int(word) for word in words if str(word).isdigit())


def _photo(
    view: dict[str, Any], intrinsics: dict[str, Any], poses: dict[str, Any], is_centred: bool
) -> PosedPhoto | Skipped:
    name = view.get("path") if isinstance(view.get("path"), str) else f"view {view.get('viewId')}"
    try:
        pose = poses.get(str(view.get("poseId")))
        intrinsic = intrinsics.get(str(view.get("intrinsicId")))
        if pose is None or intrinsic is None:
            raise BadFrame("has no pose" if pose is None else "its intrinsics are not in the file")
        body = pose.get("pose")
        transform = body.get("transform") if isinstance(body, dict) else None
        if not isinstance(transform, dict):
            raise BadFrame("its pose has no transform")
        # Column after column: read row by row this is the transpose, world from camera; the columns are wanted.
        rotation = vector(transform, "rotation", 9).reshape(3, 3).T
        center = vector(transform, "center", 3)
        return PosedPhoto(name, _lens(intrinsic, is_centred), rigid(rotation, -rotation @ center))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _lens(record: dict[str, Any], is_centred: bool) -> Lens:
    kind = record.get("type", "pinhole")
    if kind not in _RADIAL:
        raise BadFrame(f"its camera type {kind!r} is not supported; supported are {', '.join(_RADIAL)}")
    width, height = int(_value(record, "width")), int(_value(record, "height"))
    point = vector(record, "principalPoint", 2) if "principalPoint" in record else np.zeros(2)
    middle = point + (width / 2, height / 2) if is_centred or not point.any() else point
    count = _RADIAL[kind]
    given = record.get("distortionParams") or []
    params = vector({"distortionParams": given}, "distortionParams", len(given)) if isinstance(given, list) else []
    radial = tuple(float(value) for value in params[:count])
    tangential = (float(params[3]), float(params[4])) if kind == "brown" and len(params) >= 5 else (0.0, 0.0)
    return Lens(
        "MESHROOM",
        width,
        height,
        _focal_px(record, width),
        (float(middle[0]), float(middle[1])),
        radial=radial,
        tangential=tangential,
        fisheye=kind in ("fisheye4", "equidistant"),
    )


def _focal_px(record: dict[str, Any], width: int) -> tuple[float, float]:
    """In pixels where the file says so (one number or one for each axis), else millimetres on the sensor's width."""
    if "pxFocalLength" in record:
        value = record["pxFocalLength"]
        both = value if isinstance(value, list) else [value, value]
        return tuple(float(entry) for entry in vector({"pxFocalLength": both}, "pxFocalLength", 2))  # type: ignore[return-value]
    focal = _value(record, "focalLength") / _value(record, "sensorWidth") * width
    ratio = _value(record, "pixelRatio") if "pixelRatio" in record else 1.0
    return focal, focal * ratio


def _value(record: dict[str, Any], key: str) -> float:
    value = float(vector({key: [record.get(key)]}, key, 1)[0])
    if value <= 0:
        raise BadFrame(f"{key} is {value:g}, expected more than 0")
    return value


def _points(path: Path, structure: Any) -> PointCloud | None:
    if not isinstance(structure, list) or not structure:
        return None
    try:
        xyz = np.array([point["X"] for point in structure], dtype=np.float64).reshape(-1, 3)
        rgb = np.array([point.get("color", (128, 128, 128)) for point in structure], dtype=np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a point of its structure has no X ({said(error)}); save it again") from error
    return PointCloud(xyz, np.nan_to_num(rgb).clip(0, 255).astype(np.uint8))
