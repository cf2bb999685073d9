"""masks: cut out the object that the photos of a capture go around."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neural3d.capture.detect import list_capture
from neural3d.capture.foreground import cut_out, grab_cut, load_segmenter, mask_path, object_points, require_opencv
from neural3d.capture.listing import BadFrame
from neural3d.capture.survey import Survey, survey
from neural3d.cli.answers import answer, counted
from neural3d.cli.options import Masks
from neural3d.cli.progress import say
from neural3d.errors import InputError
from neural3d.storage import atomic_write

SMALLEST_SHARE = 0.002
"""Of the picture; less is no object, and the photo gets no mask."""


def run_masks(options: Masks) -> int:
    """Write a mask for each photo in which the object is found; name the others.

    Raises: InputError when there are masks already, or no object is found.
    """
    require_opencv()
    segment = grab_cut if options.segment is None else load_segmenter(options.segment)
    surveyed = survey(list_capture(options.capture))
    folder = options.output or surveyed.listing.root / "masks"
    if folder.exists() and any(folder.iterdir()) and not options.overwrite:
        raise InputError(f"{folder}: holds masks already; replace them with --overwrite, or name another --output")
    answer(_written(surveyed, folder, segment), options.json)
    return 0


def _written(surveyed: Survey, folder: Path, segment: Any) -> dict[str, Any]:
    poses = np.stack([placed.frame.camera_from_world for placed in surveyed.placed])
    points = surveyed.listing.points
    is_object = object_points(points, poses)
    shares, failed = [], {}
    for placed in counted(surveyed.placed, len(surveyed.placed), "cutting out"):
        name = placed.frame.name
        try:
            if placed.view is not None:
                raise BadFrame("is a view of a panorama, whose mask is the panorama's")
            mask = cut_out(placed, points.xyz, is_object, segment)
            if mask.mean() < SMALLEST_SHARE:
                raise BadFrame("the object is not seen in it")
            _write(mask_path(folder, name.removeprefix("images/")), mask)
            shares.append(float(mask.mean()))
        except BadFrame as bad:
            failed[name] = str(bad)
            say(f"neural3d: warning: no mask for {name}: {bad}")
    if not shares:
        raise InputError(f"{folder}: in none of {len(failed)} photos an object is found")
    return {
        "masks": str(folder),
        "num_masks": len(shares),
        "object_points": int(is_object.sum()),
        "median_share": float(np.median(shares)),
        "failed": failed,
    }


def _write(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    atomic_write(path, lambda temporary: image.save(temporary), estimate_bytes=mask.size // 8)
