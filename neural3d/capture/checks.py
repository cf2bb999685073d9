"""The checks of a loaded scene: what `inspect` shows in full and `train` says before it begins."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from neural3d.capture.coverage import Coverage, measure_coverage, neighbours_of, view_findings
from neural3d.capture.findings import Finding, photo_findings
from neural3d.capture.photo_quality import PhotoQuality, measure_photo
from neural3d.scene import Photo, Scene

THREADS = 2


@dataclass(frozen=True)
class Checks:
    """What was measured, view by view in the scene's order, and what is wrong."""

    qualities: tuple[PhotoQuality, ...]
    coverage: Coverage
    findings: tuple[Finding, ...]


def check_scene(scene: Scene) -> Checks:
    """Check photos and views of a scene; about 20 ms a photo of a megapixel.

    Limits: photos are judged at the size they were loaded at.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        qualities = tuple(pool.map(_quality, scene.photos))
    coverage = measure_coverage(scene)
    names = [photo.name for photo in scene.photos]
    alone = photo_findings(names, qualities, neighbours_of(scene))
    return Checks(qualities, coverage, (*alone, *view_findings(scene, coverage)))


def _quality(photo: Photo) -> PhotoQuality:
    return measure_photo(_content(photo))


def _content(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    """The photo; of one with transparency what lies around the opaque part, the rest filled with its mean colour."""
    pixels = photo.pixels.numpy()
    opaque = None if photo.alpha is None else photo.alpha.numpy() > 127
    if opaque is None or opaque.all() or not opaque.any():
        return pixels
    rows, columns = (np.flatnonzero(opaque.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mean = pixels[opaque].mean(axis=0).astype(np.uint8)
    return np.where(opaque[box][..., None], pixels[box], mean)
