"""Features of one point moved until the pixels around them agree, which finds places three times as well as SIFT.

A point's features are found in each photo by itself, so their places differ by what noise, angle and distance make of
them; poses that rest on few points are off by as much. Once points stand, it is known which features show the same
place: the patch around one of them is sought in the others, by a shift, an affine bend and a change of brightness.
Features where that patch is not found are matches of something else, and leave the point. Runs in the worker's process;
imports nothing of neural3d.

Source: Gruen 1985, Adaptive least squares correlation; solved by inverse composition (Baker and Matthews 2004,
Lucas-Kanade 20 years on, section 3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

RADIUS = 6
"""Of a patch, in pixels of the photo that it is taken from: more is less noise, and less flat."""
BLUR_PX = 0.8
"""Standard deviation: what is finer than pixels would move with them."""
MAX_SIDE_PX = 2000
"""Larger photos are reduced to it, as SIFT saw them."""
MAX_STEPS = 10
STILL_PX = 0.01
"""Steps below it end the search."""
MAX_SHIFT_PX = 2.0
"""Farther from its feature a patch is another one."""
MIN_CORRELATION = 0.7
DAMPING = 1e-3
"""Of the normal equations: a patch with edges in one direction tells nothing along them, and stays where it is."""
_GRID = np.arange(-RADIUS, RADIUS + 1, dtype=np.float32)
_OFFSETS = np.stack(np.meshgrid(_GRID, _GRID), axis=-1).reshape(-1, 2)
_WEIGHTS = np.exp(-np.square(_OFFSETS).sum(axis=1) / (2 * (RADIUS / 1.5) ** 2))
_WEIGHTS /= _WEIGHTS.sum()


@dataclass(frozen=True)
class Tracks:
    """All features of all points; each point's patch is that of its feature of median size."""

    images: np.ndarray
    """Of each feature: its image's id."""
    features: np.ndarray
    """Of each feature: its index in its image."""
    points: np.ndarray
    """Of each feature: its point's row."""
    pixels: np.ndarray
    """Where it lies."""
    shapes: np.ndarray
    """2x2: SIFT's own frame to pixels."""
    references: np.ndarray
    """Of each point: the row of the feature whose patch the others shall show."""


def align_features(
    model: Any, database: str, images: Path, tell: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, int]:
    """Move the features of a model's points to where they show the same; how many were aligned, how many left.

    The model's features change, those of the database do not. A point that keeps no second feature goes.
    """
    tracks = _tracks(model, database)
    ids = sorted(model.reg_image_ids())
    patches = np.zeros((len(tracks.references), (2 * RADIUS + 3) ** 2), dtype=np.float32)
    for number, image_id in enumerate(ids):
        tell(number, 2 * len(ids))
        rows = tracks.references[tracks.images[tracks.references] == image_id]
        pixels, factor = _read(images / model.image(image_id).name)
        patches[tracks.points[rows]] = _cut(pixels, tracks.pixels[rows] * factor)
    counts = {"aligned": 0, "left": 0}
    is_reference = np.zeros(len(tracks.images), dtype=bool)
    is_reference[tracks.references] = True
    for number, image_id in enumerate(ids):
        tell(len(ids) + number, 2 * len(ids))
        rows = np.flatnonzero((tracks.images == image_id) & ~is_reference)
        pixels, factor = _read(images / model.image(image_id).name)
        places, found = _aligned(pixels, patches, tracks, rows, factor)
        _move(model, image_id, tracks.features[rows[found]], places[found])
        counts["left"] += _leave(model, image_id, tracks.features[rows[~found]])
        counts["aligned"] += int(found.sum())
    return counts


def _tracks(model: Any, database: str) -> Tracks:
    with pycolmap.Database.open(database) as opened:
        keypoints = {i: np.asarray(opened.read_keypoints(i), dtype=np.float64) for i in model.reg_image_ids()}
    elements = [
        (element.image_id, element.point2D_idx, row)
        for row, (_, point) in enumerate(sorted(model.points3D.items()))
        for element in point.track.elements
    ]
    images, features, points = np.array(elements, dtype=np.int64).reshape(-1, 3).T
    shapes = np.zeros((len(images), 2, 2))
    pixels = np.zeros((len(images), 2))
    for image_id, of_image in keypoints.items():
        rows = images == image_id
        shapes[rows] = of_image[features[rows], 2:6].reshape(-1, 2, 2)
        pixels[rows] = _places(model.image(image_id))[features[rows]]
    return Tracks(images, features, points, pixels, shapes, _references(points, shapes))


def _places(image: Any) -> np.ndarray:
    return np.array([point.xy for point in image.points2D]).reshape(-1, 2)


def _references(points: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Of each point, the row of its feature of median size: the others show not much more, and not much less."""
    sizes = np.abs(np.linalg.det(shapes))
    order = np.lexsort((np.arange(len(points)), sizes, points))
    starts = np.searchsorted(points[order], np.arange(points.max(initial=-1) + 2))
    return order[(starts[:-1] + starts[1:]) // 2]


def _read(path: Path) -> tuple[np.ndarray, float]:
    """A photo in grey, slightly blurred, and by how much it was made smaller.

    Raises: RuntimeError where it cannot be read.
    """
    bitmap = pycolmap.Bitmap.read(path, as_rgb=False)
    if bitmap is None:
        raise RuntimeError(f"{path}: cannot be read")
    width, height = bitmap.width, bitmap.height
    factor = min(1.0, MAX_SIDE_PX / max(width, height))
    if factor < 1:
        bitmap.rescale(round(width * factor), round(height * factor))
    return _blurred(bitmap.to_array().astype(np.float32).reshape(bitmap.height, bitmap.width)), factor


def _blurred(pixels: np.ndarray) -> np.ndarray:
    reach = int(np.ceil(3 * BLUR_PX))
    kernel = np.exp(-np.square(np.arange(-reach, reach + 1) / BLUR_PX) / 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        size = pixels.shape[axis]
        padded = np.pad(pixels, [(reach, reach) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        pixels = sum(weight * padded.take(range(k, k + size), axis=axis) for k, weight in enumerate(kernel))
    return pixels


def _sample(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear; the top-left pixel is centred at (0.5, 0.5), and what lies outside is like the border."""
    height, width = pixels.shape
    x, y = np.clip(x - 0.5, 0, width - 1.001), np.clip(y - 0.5, 0, height - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x, y = (x - left).astype(np.float32), (y - top).astype(np.float32)
    flat, at = pixels.reshape(-1), top * width + left
    upper = flat[at] + (flat[at + 1] - flat[at]) * x
    lower = flat[at + width] + (flat[at + width + 1] - flat[at + width]) * x
    return upper + (lower - upper) * y


def _cut(pixels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Patches around places, with a border of one pixel for their slopes."""
    grid = np.arange(-RADIUS - 1, RADIUS + 2, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    return _sample(pixels, centers[:, :1] + x.reshape(-1), centers[:, 1:] + y.reshape(-1))


def _aligned(
    pixels: np.ndarray, patches: np.ndarray, tracks: Tracks, rows: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where the patches of these features' points are seen, in the photo's own pixels, and whether they were found."""
    references = tracks.references[tracks.points[rows]]
    begin = tracks.pixels[rows] * factor
    regular = np.abs(np.linalg.det(tracks.shapes[references])) > 1e-9
    bends = np.tile(np.eye(2), (len(rows), 1, 1))
    bends[regular] = tracks.shapes[rows[regular]] @ np.linalg.inv(tracks.shapes[references[regular]])
    expected, solver = _prepared(patches[tracks.points[rows]])
    places, correlations = _search(pixels, expected, solver, begin, bends)
    shifts = np.linalg.norm(places - begin, axis=1)
    return places / factor, regular & (correlations > MIN_CORRELATION) & (shifts < MAX_SHIFT_PX)


def _prepared(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches of mean 0 and variance 1, and what solves for a step from the difference to them.

    A step is a shift (2), a bend (2x2), a factor and an offset of brightness.
    """
    side, flat = 2 * RADIUS + 3, (len(patches), len(_OFFSETS))
    grids = patches.reshape(-1, side, side)
    inner, sizes = _normalised(grids[:, 1:-1, 1:-1].reshape(flat))
    slopes = [
        ((grids[:, 1:-1, 2:] - grids[:, 1:-1, :-2]) / 2).reshape(flat) / sizes,
        ((grids[:, 2:, 1:-1] - grids[:, :-2, 1:-1]) / 2).reshape(flat) / sizes,
    ]
    columns = [*slopes, *(slope * offset for slope in slopes for offset in _OFFSETS.T), inner, np.ones_like(inner)]
    weighted = np.stack(columns, axis=1) * _WEIGHTS.astype(np.float32)
    normal = (weighted @ np.stack(columns, axis=2)).astype(np.float64)
    diagonal = np.arange(len(columns))
    normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * (1 + DAMPING) + DAMPING
    return inner, np.linalg.solve(normal, weighted.astype(np.float64)).astype(np.float32)


def _normalised(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights = _WEIGHTS.astype(np.float32)
    centered = patches - (patches @ weights)[:, None]
    sizes = np.sqrt(np.square(centered) @ weights)[:, None] + np.float32(1e-3)
    return centered / sizes, sizes


def _search(
    pixels: np.ndarray, expected: np.ndarray, solver: np.ndarray, begin: np.ndarray, bends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best place of each patch, and its correlation there."""
    places, bends = begin.copy(), bends.copy()
    best, correlations = begin.copy(), np.full(len(begin), -1.0)
    moving = np.arange(len(begin))
    for _ in range(MAX_STEPS):
        around = _OFFSETS @ bends[moving].swapaxes(1, 2).astype(np.float32) + places[moving, None]
        seen, _sizes = _normalised(_sample(pixels, around[..., 0], around[..., 1]))
        found = (seen * expected[moving]) @ _WEIGHTS
        better = found > correlations[moving]
        correlations[moving[better]], best[moving[better]] = found[better], places[moving[better]]
        steps = (solver[moving] @ (seen - expected[moving])[..., None])[..., 0].astype(np.float64)
        bent = np.eye(2) + np.clip(steps[:, 2:6].reshape(-1, 2, 2), -0.2, 0.2)
        bends[moving] = bends[moving] @ np.linalg.inv(bent)
        shift = -(bends[moving] @ steps[:, :2, None])[..., 0]
        length = np.linalg.norm(shift, axis=1)
        places[moving] += shift / np.maximum(1.0, length)[:, None]
        moving = moving[length > STILL_PX]
        if not len(moving):
            break
    return best, correlations


def _move(model: Any, image_id: int, features: np.ndarray, places: np.ndarray) -> None:
    image = model.image(image_id)
    for feature, place in zip(features.tolist(), places, strict=True):
        image.points2D[feature].xy = place


def _leave(model: Any, image_id: int, features: np.ndarray) -> int:
    """Take features out of their points; how many. A point that keeps one feature goes."""
    image, count = model.image(image_id), 0
    for feature in features.tolist():
        if image.points2D[feature].has_point3D():
            model.delete_observation(image_id, feature)
            count += 1
    return count
