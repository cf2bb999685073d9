"""OpenSfM's reconstruction.json, which OpenDroneMap keeps in its folder opensfm/, too.

Lengths in photos are parts of the longer side, from the middle. Source: OpenSfM's documentation, "Reconstruction file
format" and "Camera models".
"""

from pathlib import Path
from typing import Any

import numpy as np

from neural3d.capture.formats.posed_photos import PosedPhoto, list_posed, rigid, rotation_from_axis_angle
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, PointCloud, Skipped
from neural3d.capture.panoramas import panorama_lens
from neural3d.capture.strict_json import load_json_list, number, vector
from neural3d.errors import InputError, said

_PLACES = ("reconstruction.json", "opensfm/reconstruction.json", "reconstruction_example.json")
WORLD_UP = (0.0, 0.0, 1.0)
"""OpenSfM aligns to gravity or to GPS: east, north, up."""
_GREY = 128


def find(root: Path) -> Path | None:
    """reconstruction.json, in the folder or in opensfm/."""
    return next((root / place for place in _PLACES if (root / place).is_file()), None)


def list_opensfm(root: Path, path: Path) -> Listing:
    """List the largest of the file's reconstructions.

    Raises: InputError when it holds none, or is damaged.
    """
    models = load_json_list(path)
    shots = [model.get("shots") if isinstance(model, dict) else None for model in models]
    counts = [len(entry) if isinstance(entry, dict) else 0 for entry in shots]
    if not any(counts):
        raise InputError(f"{path}: holds no reconstruction with shots; reconstruct again")
    best = counts.index(max(counts))
    model = models[best]
    notes = (f"reconstruction {best + 1} of {len(models)} is used, it has most photos",) if len(models) > 1 else ()
    cameras = model.get("cameras") if isinstance(model.get("cameras"), dict) else {}
    photos = [_photo(name, shot, cameras) for name, shot in model["shots"].items()]
    points = _points(path, model.get("points"))
    return list_posed(root, path, "OpenSfM", photos, points=points, world_up=WORLD_UP, notes=notes)


def _photo(name: str, shot: Any, cameras: dict[str, Any]) -> PosedPhoto | Skipped:
    try:
        if not isinstance(shot, dict):
            raise BadFrame("is no object with rotation and translation")
        camera = cameras.get(shot.get("camera"))
        if not isinstance(camera, dict):
            raise BadFrame(f"its camera {shot.get('camera')!r} is not in the file")
        rotation = rotation_from_axis_angle(vector(shot, "rotation", 3))
        return PosedPhoto(name, lens_from_opensfm(camera), rigid(rotation, vector(shot, "translation", 3)))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def lens_from_opensfm(camera: dict[str, Any]) -> Lens:
    """The lens of a camera record, for the size that it names.

    Raises: BadFrame for a projection that is not supported, or values that are no numbers.
    """
    kind = camera.get("projection_type", "perspective")
    width, height = int(number(camera, "width")), int(number(camera, "height"))
    if kind in ("spherical", "equirectangular"):
        return panorama_lens(width, height)
    size = max(width, height)
    focal = number(camera, "focal_x" if "focal_x" in camera else "focal") * size
    focal_px = (focal, number(camera, "focal_y") * size if "focal_y" in camera else focal)
    middle = (width / 2 + number(camera, "c_x", 0.0) * size, height / 2 + number(camera, "c_y", 0.0) * size)
    k = tuple(number(camera, f"k{i}", 0.0) for i in range(1, 5))
    p = (number(camera, "p1", 0.0), number(camera, "p2", 0.0))
    match kind:
        case "perspective" | "simple_radial" | "radial":
            return Lens("OPENSFM", width, height, focal_px, middle, radial=k[:2])
        case "brown":
            return Lens("OPENSFM", width, height, focal_px, middle, radial=k[:3], tangential=p)
        case "fisheye" | "fisheye_opencv":
            return Lens("OPENSFM", width, height, focal_px, middle, radial=k, fisheye=True)
    raise BadFrame(
        f"its projection {kind!r} is not supported; supported are perspective, brown, fisheye, fisheye_opencv, "
        "spherical"
    )


def _points(path: Path, points: Any) -> PointCloud | None:
    if not isinstance(points, dict) or not points:
        return None
    try:
        xyz = np.array([point["coordinates"] for point in points.values()], dtype=np.float64).reshape(-1, 3)
        rgb = np.array([point.get("color", (_GREY,) * 3) for point in points.values()], dtype=np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: a point has no coordinates and color ({said(error)}); reconstruct again") from error
    return PointCloud(xyz, np.nan_to_num(rgb).clip(0, 255).astype(np.uint8))
