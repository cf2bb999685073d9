"""Where photos were taken, by their EXIF; of those that an ingest converted, by what it noted of the originals."""

from pathlib import Path

import numpy as np
from PIL import Image

from neural3d.capture.georeference.references import References, camera_center
from neural3d.capture.images import safe_open_image
from neural3d.capture.ingest.state import load_state
from neural3d.capture.listing import BadFrame, Frame, Listing
from neural3d.capture.photo_files import camera_facts

Fix = tuple[float, float, float]
"""Latitude and longitude in degrees (WGS 84), altitude in metres."""


def gps_references(listing: Listing) -> References:
    """The cameras whose photos say where they stood, with latitude, longitude (degrees) and altitude (metres).

    Views that were cut from one panorama count once.

    Raises: InputError when the capture's ingest.json is damaged.
    """
    noted = _noted(listing.root)
    fixes: dict[tuple[str, Fix], Frame] = {}
    for frame in listing.frames:
        original, fix = noted.get(frame.image_path.resolve(), (frame.name, None))
        fix = fix or _fix_of_file(frame.image_path)
        if fix is not None:
            fixes.setdefault((original, fix), frame)
    centers = [camera_center(frame.camera_from_world) for frame in fixes.values()]
    return References(
        tuple(frame.name for frame in fixes.values()),
        np.array(centers, dtype=np.float64).reshape(-1, 3),
        np.array([fix for _, fix in fixes], dtype=np.float64).reshape(-1, 3),
        "GPS positions",
    )


def _noted(root: Path) -> dict[Path, tuple[str, Fix | None]]:
    """What an ingest found in the photos that it took, and whose views they are, by the files that it wrote."""
    state = load_state(root)
    photos = () if state is None else state.usable
    return {(root / "images" / photo.name).resolve(): (photo.plain_name, photo.gps) for photo in photos}


def _fix_of_file(path: Path) -> Fix | None:
    try:
        with safe_open_image(path) as image:
            return camera_facts(Image.Image.getexif(image)).gps
    except BadFrame:
        return None  # whoever loads the capture is told of the photo; here it only has no position
