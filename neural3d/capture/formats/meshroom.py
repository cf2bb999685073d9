"""Meshroom's (AliceVision's) .sfm files: JSON with views, intrinsics and poses.

Source: AliceVision, sfmDataIO/jsonIO.cpp with its branches on file versions, camera/cameraCommon.hpp (names of models),
camera/IntrinsicScaleOffset.cpp (pixel ratio).
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import PosedPhoto, list_posed, rigid
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, PointCloud, Skipped
from neural3d.capture.strict_json import load_json, vector
from neural3d.errors import InputError, said

Version = tuple[int, ...]
_CENTRED_SINCE = (1, 2, 1)
"""File version from which the principal point is counted from the middle of the photo."""
_SPLIT_SINCE = (1, 2, 8)
"""From here on the type names the projection alone, and distortionType the distortion."""
_PIXEL_RATIO_SINCE, _FOCAL_IN_Y_SINCE = (1, 2, 5), (1, 2, 11)
"""pixelRatio was the ratio of the focal lengths before the first; from the second on focalLength is that of y."""
_WHOLE = {
    "pinhole": "none",
    "radial1": "radialk1",
    "radial3": "radialk3",
    "brown": "brown",
    "fisheye4": "fisheye",
    "equidistant": "none",
}
"""Older files say projection and distortion in one word."""
_RADIAL = {"none": 0, "radialk1": 1, "radialk3": 3, "brown": 3, "fisheye": 4, "radialk3pt": 0}
"""Radial coefficients that are read; brown adds two tangential ones. Of radialk3pt, which counts the radius in parts of
another, nothing is but zeros."""
_NO_RIG = ("-1", str(2**32 - 1))
"""What an identifier is that says nothing."""
_REMEDY = "undistort the photos with Meshroom (PrepareDenseScene, or ExportImages) first"


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
    listed = content.get("rigs")
    rigs = {str(rig.get("rigId")): rig for rig in listed if isinstance(rig, dict)} if isinstance(listed, list) else {}
    version = _version(content)
    photos = [_photo(view, intrinsics, poses, rigs, version) for view in parts["views"]]
    return list_posed(root, path, "Meshroom", photos, points=_points(path, content.get("structure")))


def _version(content: dict[str, Any]) -> Version:
    version = content.get("version")
    words = version if isinstance(version, list) else []
    return tuple(int(word) for word in words if str(word).isdigit())


def _photo(
    view: dict[str, Any], intrinsics: dict[str, Any], poses: dict[str, Any], rigs: dict[str, Any], version: Version
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
        placed = _placed(transform)
        if _is_on_rig(view):
            placed = _camera_from_rig(view, rigs) @ placed  # the pose that its rig's cameras share is the rig's
        return PosedPhoto(name, _lens(intrinsic, version), placed)
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _placed(transform: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    # Column after column: read row by row this is the transpose, world from camera; the columns are wanted.
    rotation = vector(transform, "rotation", 9).reshape(3, 3).T
    return rigid(rotation, -rotation @ vector(transform, "center", 3))


def _is_on_rig(view: dict[str, Any]) -> bool:
    """Part of one whose pose it does not have to itself."""
    is_independent = str(view.get("isPoseIndependant", "true")).lower() not in ("false", "0")
    return not is_independent and view.get("rigId") is not None and str(view["rigId"]) not in _NO_RIG


def _camera_from_rig(view: dict[str, Any], rigs: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    """Source: AliceVision, SfMData::getPose (sub-pose times rig pose) and isPoseAndIntrinsicDefined (its status)."""
    rig, number = rigs.get(str(view["rigId"])), str(view.get("subPoseId"))
    places = rig.get("subPoses") if rig is not None else None
    if not isinstance(places, list) or not number.isdecimal() or int(number) >= len(places):
        raise BadFrame(f"its place {number} on rig {view['rigId']} is not in the file; save it with extrinsics again")
    place = places[int(number)]
    pose = place.get("pose") if isinstance(place, dict) else None
    if not isinstance(pose, dict) or str(place.get("status")).lower() == "uninitialized":
        raise BadFrame(f"its place {number} on rig {view['rigId']} was not estimated")
    return _placed(pose)


def _lens(record: dict[str, Any], version: Version) -> Lens:
    is_equidistant, distortion = _models(record, version)
    radial, tangential = _coefficients(record, distortion)
    width, height = int(_value(record, "width")), int(_value(record, "height"))
    point = vector(record, "principalPoint", 2) if "principalPoint" in record else np.zeros(2)
    is_centred = version >= _CENTRED_SINCE or not point.any()
    middle = point + (width / 2, height / 2) if is_centred else point
    return Lens(
        "MESHROOM",
        width,
        height,
        _focal_px(record, width, version),
        (float(middle[0]), float(middle[1])),
        radial=radial,
        tangential=tangential,
        fisheye=is_equidistant or distortion == "fisheye",
    )


def _models(record: dict[str, Any], version: Version) -> tuple[bool, str]:
    """Whether the projection is equidistant, and the distortion on top of it.

    Raises: BadFrame for others than are supported.
    """
    kind = str(record.get("type", "pinhole")).lower()
    is_split = version >= _SPLIT_SINCE
    known = ("pinhole", "equidistant") if is_split else tuple(_WHOLE)
    if kind not in known:
        raise BadFrame(f"its camera type {kind!r} is not supported; supported are {', '.join(known)}; {_REMEDY}")
    distortion = str(record.get("distortionType", "none")).lower() if is_split else _WHOLE[kind]
    undistortion = str(record.get("undistortionType", "none")).lower()
    if distortion not in _RADIAL or undistortion != "none":
        name = f"distortionType {distortion!r}" if undistortion == "none" else f"undistortionType {undistortion!r}"
        raise BadFrame(f"its {name} is not supported; supported are {', '.join(_RADIAL)}; {_REMEDY}")
    return kind == "equidistant", distortion


def _coefficients(record: dict[str, Any], distortion: str) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Radial and tangential ones; what the model has no place for must be zero.

    Raises: BadFrame for more.
    """
    given = record.get("distortionParams") or []  # an empty list is written as ""
    params = vector(record, "distortionParams", len(given) if isinstance(given, list) else 0) if given else np.zeros(0)
    count = _RADIAL[distortion]
    end = count + 2 if distortion == "brown" else count
    if params[end:].any():
        raise BadFrame(f"distortionParams has {len(params)} numbers, its model {distortion!r} reads {end}; {_REMEDY}")
    values = [float(value) for value in params[:end]] + [0.0] * (end - len(params))
    return tuple(values[:count]), (values[3], values[4]) if distortion == "brown" else (0.0, 0.0)


def _focal_px(record: dict[str, Any], width: int, version: Version) -> tuple[float, float]:
    """In pixels where the file says so (one number or one for each axis), else millimetres on the sensor's width."""
    if "pxFocalLength" in record:
        value = record["pxFocalLength"]
        both = value if isinstance(value, list) else [value, value]
        return tuple(float(entry) for entry in vector({"pxFocalLength": both}, "pxFocalLength", 2))  # type: ignore[return-value]
    focal = _value(record, "focalLength") / _value(record, "sensorWidth") * width
    ratio = _value(record, "pixelRatio") if "pixelRatio" in record else 1.0
    if version >= _FOCAL_IN_Y_SINCE:
        return focal / ratio, focal
    return focal, focal * ratio if version >= _PIXEL_RATIO_SINCE else focal / ratio


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
