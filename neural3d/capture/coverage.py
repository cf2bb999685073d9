"""What the cameras of a capture see of the scene together: baselines, directions, and photos that do not fit."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from neural3d.capture.findings import Finding
from neural3d.scene import Photo, Scene

FEW_POINTS = 30
ALONE_DEG = 45.0
"""To the nearest other camera, seen from what the photo shows; beyond it little is seen by both."""
FLAT_DEG = 2.0
"""Between the lines of sight of all cameras: with less, depth is guessed."""
GAP_DEG = 90.0
SECTORS = 36
CELLS = 48
"""Cells along an image's longer side; of the points in one cell the nearest ones are seen, the others hidden."""
MIN_COMPARED = 40
TURNED_GAIN = 0.25
"""By how much the colours must agree better with the photo turned than with the photo as it is."""
MISMATCHED_SHARE = 0.2
"""Of the median agreement of the capture."""
_TURNS = ("turned by 180 degrees", "mirrored", "upside down and mirrored")
_SQUARE_TURNS = ("turned by 90 degrees anticlockwise", "turned by 90 degrees clockwise")


@dataclass(frozen=True)
class Coverage:
    """Where the cameras are and what they see; angles in degrees."""

    points_in_view: Int[np.ndarray, "V"]
    """Points in each photo's frame that nothing hides, as far as points can tell."""
    views_per_point: float
    """Median number of photos that a point is in view of; 0 without points."""
    nearest_deg: Float64[np.ndarray, "V"]
    """Angle to the nearest other camera, seen from the middle of what each photo shows."""
    widest_deg: float
    """Largest angle between two cameras, seen from the middle of the scene."""
    around_deg: float
    """How much of the way round the up axis has a camera, in steps of 10 degrees."""
    gap_deg: float
    """The largest gap on that way."""
    elevation_deg: tuple[float, float]
    """Lowest and highest camera above the middle's horizon."""
    agreement: Float64[np.ndarray, "V"]
    """Correlation of the points' colours with the photo's, NaN where there are too few points."""


def measure_coverage(scene: Scene) -> Coverage:
    """Project all points into all views; a fraction of a second for a hundred views of ten thousand points."""
    seen = [_visible(scene, view) for view in range(len(scene.cameras))]
    centers = scene.cameras.centers_world.numpy().astype(np.float64)
    middle = middle_of_view(scene)
    points = np.zeros((0, 3)) if scene.points is None else scene.points.means_world.numpy()
    counts = np.zeros(len(points), dtype=np.int64)
    for rows, _ in seen:
        counts[rows] += 1
    directions = centers - middle
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    around, gap = _around(directions, scene.up_world.numpy().astype(np.float64))
    heights = np.degrees(np.arcsin(np.clip(directions @ scene.up_world.numpy().astype(np.float64), -1, 1)))
    cosines = np.clip(directions @ directions.T, -1, 1)
    return Coverage(
        points_in_view=np.array([len(rows) for rows, _ in seen]),
        views_per_point=float(np.median(counts)) if len(counts) else 0.0,
        nearest_deg=_nearest(scene, centers, [points[rows] for rows, _ in seen], middle),
        widest_deg=float(np.degrees(np.arccos(cosines.min()))),
        around_deg=around,
        gap_deg=gap,
        elevation_deg=(float(heights.min()), float(heights.max())),
        agreement=np.array([_agreement(scene, view, *seen[view], 0) for view in range(len(seen))]),
    )


def neighbours_of(scene: Scene, count: int = 5) -> list[list[int]]:
    """Of each view the nearest ones that look about the same way."""
    centers, forward = scene.cameras.centers_world.numpy(), scene.cameras.forward_world.numpy()
    distances = np.linalg.norm(centers[:, None] - centers[None], axis=2)
    distances[forward @ forward.T < math.cos(math.radians(ALONE_DEG))] = np.inf
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return [[int(other) for other in row if np.isfinite(distances[view, other])] for view, row in enumerate(order)]


def middle_of_view(scene: Scene) -> Float64[np.ndarray, "3"]:
    """The point nearest to all optical axes, where they meet in front of the cameras; else the points' median.

    Least squares; cameras that look in parallel have no such point, then what lies one unit in front serves.
    """
    centers = scene.cameras.centers_world.numpy().astype(np.float64)
    forward = scene.cameras.forward_world.numpy().astype(np.float64)
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    total = across.sum(axis=0)
    if np.linalg.eigvalsh(total)[0] > 1e-3 * len(centers):
        middle = np.linalg.solve(total, np.einsum("vij,vj->i", across, centers))
        if np.median(np.einsum("vi,vi->v", middle - centers, forward)) > 0:
            return middle
    if scene.points is not None and len(scene.points.means_world):
        return np.median(scene.points.means_world.numpy().astype(np.float64), axis=0)
    return (centers + forward).mean(axis=0)


def _visible(scene: Scene, view: int) -> tuple[Int[np.ndarray, "P"], Float64[np.ndarray, "P 2"]]:
    """Rows of the points that a view sees, and their pixels; of those in one cell the nearest."""
    if scene.points is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 2))
    pose = scene.cameras.camera_from_world[view].double()
    in_camera = (scene.points.means_world.double() @ pose[:3, :3].T + pose[:3, 3]).numpy()
    width, height = scene.cameras.size_px[view].tolist()
    depth = np.where(in_camera[:, 2] > 1e-6, in_camera[:, 2], np.nan)
    focal, principal = scene.cameras.focal_px[view].numpy(), scene.cameras.principal_px[view].numpy()
    pixels = in_camera[:, :2] / depth[:, None] * focal + principal
    rows = np.flatnonzero(((pixels >= 0) & (pixels < (width, height))).all(axis=1))
    cell_px = max(width, height) / CELLS
    cells = (pixels[rows] // cell_px).astype(np.int64) @ np.array([1, CELLS + 1])
    nearest = np.full((CELLS + 1) ** 2 + CELLS + 1, np.inf)
    np.minimum.at(nearest, cells, depth[rows])
    rows = rows[depth[rows] < 1.05 * nearest[cells]]
    return rows, pixels[rows]


def _nearest(
    scene: Scene, centers: Float64[np.ndarray, "V 3"], points: list[np.ndarray], middle: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "V"]:
    found = np.full(len(centers), 180.0)
    for view, visible in enumerate(points):
        target = np.median(visible, axis=0) if len(visible) else middle
        rays = centers - target
        rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
        angles = np.degrees(np.arccos(np.clip(rays @ rays[view], -1, 1)))
        angles[view] = 180.0
        found[view] = angles.min()
    return found


def _around(directions: Float64[np.ndarray, "V 3"], up: Float64[np.ndarray, "3"]) -> tuple[float, float]:
    """Of the way round the up axis: how much has a camera, and the largest gap; degrees."""
    first = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first /= np.linalg.norm(first)
    second = np.cross(up, first)
    angles = np.sort(np.arctan2(directions @ second, directions @ first))
    sectors = len(np.unique(((angles + math.pi) / (2 * math.pi) * SECTORS).astype(np.int64) % SECTORS))
    gaps = np.diff(np.append(angles, angles[0] + 2 * math.pi))
    return sectors * 360.0 / SECTORS, float(np.degrees(gaps.max()))


def _agreement(
    scene: Scene, view: int, rows: Int[np.ndarray, "P"], pixels: Float64[np.ndarray, "P 2"], turn: int
) -> float:
    """Correlation of the points' colours with those of the photo where they are seen, after a turn of the photo.

    `turn`: 0 as it is, 1 by 180 degrees, 2 mirrored, 3 upside down, 4 and 5 (square photos) by 90 degrees.
    """
    if scene.points is None or len(rows) < MIN_COMPARED:
        return math.nan
    colors, valid = _small(scene.photos[view])
    height, width = colors.shape[:2]
    x, y = pixels[:, 0] / float(scene.cameras.size_px[view, 0]), pixels[:, 1] / float(scene.cameras.size_px[view, 1])
    x, y = ((x, y), (1 - x, 1 - y), (1 - x, y), (x, 1 - y), (y, 1 - x), (1 - y, x))[turn]
    at = np.minimum((y * height).astype(np.int64), height - 1), np.minimum((x * width).astype(np.int64), width - 1)
    used = valid[at]
    if used.sum() < MIN_COMPARED:
        return math.nan
    first, second = colors[at][used], scene.points.colors.numpy()[rows][used].astype(np.float64)
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = math.sqrt(float(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum()) / scale if scale > 0 else 0.0


def _small(photo: Photo) -> tuple[Float64[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """The photo at about 200 pixels: single pixels of edges do not count."""
    step = max(1, max(photo.pixels.shape[:2]) // 200)
    pixels = photo.pixels[step // 2 :: step, step // 2 :: step].numpy().astype(np.float64)
    valid = np.ones(pixels.shape[:2], dtype=bool)
    if photo.valid is not None:
        valid &= photo.valid[step // 2 :: step, step // 2 :: step].numpy()
    return pixels, valid


def view_findings(scene: Scene, coverage: Coverage) -> list[Finding]:
    """Photos that see too little, stand alone, are turned or belong elsewhere; baselines; gaps."""
    names = [photo.name for photo in scene.photos]
    return [*_placed_wrong(scene, coverage, names), *_lonely(coverage, names), *_whole(scene, coverage)]


def _placed_wrong(scene: Scene, coverage: Coverage, names: list[str]) -> list[Finding]:
    known = coverage.agreement[np.isfinite(coverage.agreement)]
    if len(known) < 3 or np.median(known) < 0.3:
        return []  # the points have no colours of their own, or none that the photos share
    found = []
    for view in np.flatnonzero(coverage.agreement < 0.8 * np.median(known)).tolist():
        turned = _better_turn(scene, view, float(coverage.agreement[view]))
        if turned is not None:
            text = f"{names[view]} is {turned}, as against its pose: turn it back, its EXIF orientation included"
            found.append(Finding("turned", "warning", (names[view],), text))
        elif coverage.agreement[view] < MISMATCHED_SHARE * np.median(known):
            text = f"{names[view]} does not show what its pose sees: another photo's pose, or a wrong one; leave it out"
            found.append(Finding("mismatched", "warning", (names[view],), text))
    return found


def _better_turn(scene: Scene, view: int, agreement: float) -> str | None:
    """How the photo is turned, where the points' colours say so clearly."""
    width, height = scene.cameras.size_px[view].tolist()
    turns = _TURNS + (_SQUARE_TURNS if width == height else ())
    seen = _visible(scene, view)
    found = np.nan_to_num([_agreement(scene, view, *seen, turn) for turn in range(1, len(turns) + 1)], nan=-1.0)
    return turns[int(found.argmax())] if found.max() > agreement + TURNED_GAIN else None


def _lonely(coverage: Coverage, names: list[str]) -> list[Finding]:
    found = []
    if coverage.points_in_view.max(initial=0) >= FEW_POINTS:
        for view in np.flatnonzero(coverage.points_in_view < FEW_POINTS).tolist():
            text = f"{names[view]} sees {coverage.points_in_view[view]} points: check its pose"
            found.append(Finding("few_points", "warning", (names[view],), text))
    if len(names) > 2:
        for view in np.flatnonzero(coverage.nearest_deg > ALONE_DEG).tolist():
            text = (
                f"{names[view]} stands alone, {coverage.nearest_deg[view]:.0f} degrees from the nearest other camera: "
                "take photos in between"
            )
            found.append(Finding("alone", "warning", (names[view],), text))
    return found


def _whole(scene: Scene, coverage: Coverage) -> list[Finding]:
    num_views = len(scene.cameras)
    if num_views < 3:
        count = "one photo" if num_views == 1 else f"{num_views} photos"
        text = f"{count} in all: a scene needs twenty or more to look right from new places"
        return [Finding("few_photos", "warning", (), text)]
    if coverage.widest_deg < FLAT_DEG:
        text = (
            f"all photos are taken from nearly one place ({coverage.widest_deg:.1f} degrees apart): depth cannot be "
            "told; walk sideways and take more"
        )
        return [Finding("baseline", "fault", (), text)]
    if GAP_DEG < coverage.gap_deg < 180:  # what is seen from one side alone was meant so
        text = f"a sector of {coverage.gap_deg:.0f} degrees around the scene has no photo: it will look torn from there"
        return [Finding("coverage", "note", (), text)]
    return []
