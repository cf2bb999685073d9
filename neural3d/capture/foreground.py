"""Masks of the object that the photos go around, without a learnt model: GrabCut from what the points say.

Source: Rother et al. 2004, "GrabCut"; the cuts are OpenCV's (the extra [masks]).
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8

from neural3d.capture.images import read_pixels
from neural3d.capture.lenses import distort, largest_radius, seen_by
from neural3d.capture.listing import BadFrame, PointCloud
from neural3d.capture.panoramas import cut_view
from neural3d.capture.survey import Placed
from neural3d.errors import InputError

WORK_SIDE_PX = 640
"""Photos are cut at this size; the edges of the masks are as fine."""
NEAR_SHARE = 0.6
"""Of the cameras' distance: points farther from where they look are surroundings."""
ABOVE_SHARE, PLANE_SHARE = 0.015, 0.008
"""Of that distance: how high above the table the object begins, and how flat a table is."""
TABLE_COUNT = 0.15
"""Of the near points; with fewer on one plane there is no table."""
LINK_SHARE = 0.06
"""Of that distance: points of the object are no farther from the next."""
MOST_POINTS, FEWEST_POINTS, FEWEST_SEEDS = 5000, 20, 5
_ROWS = 4096
"""Points whose distances to the object are in memory at once."""
ROUNDS = 6
"""Of GrabCut."""


@dataclass(frozen=True)
class Seeds:
    """What the points say about one photo; pixels x, y at the size of the picture that comes with them."""

    object_px: Float64[np.ndarray, "O 2"]
    other_px: Float64[np.ndarray, "B 2"]


Segmenter = Callable[[UInt8[np.ndarray, "H W 3"], Seeds], Bool[np.ndarray, "H W"]]
"""A picture and its seeds in, True where the object is: the seam for a model of the user's own."""


def require_opencv() -> None:
    """Say at once where the library is missing.

    Raises: InputError with the command that installs it.
    """
    if importlib.util.find_spec("cv2") is None:
        raise InputError("cutting objects out needs OpenCV: pip install opencv-python-headless")


def load_segmenter(name: str, option: str = "--segment") -> Segmenter:
    """MODULE:FUNCTION of the user's own, from the modules that Python finds; `option` is where it was named.

    Raises: InputError when it is not there.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{option} {name}: {error}; expected MODULE:FUNCTION that Python can import") from error
    if not callable(found):
        raise InputError(f"{option} {name}: is no function")
    return found


def object_points(points: PointCloud | None, camera_from_world: Float64[np.ndarray, "V 4 4"]) -> Bool[np.ndarray, "P"]:
    """Which points belong to the object that most cameras look at: near there, above the table, of one piece.

    Raises: InputError when there are too few points, or none stand out.
    Limits: an object that touches others of its height is not parted from them.
    """
    if points is None or len(points.xyz) < FEWEST_POINTS:
        raise InputError("the capture has too few points to find an object by; find the poses anew: neural3d ingest")
    centers = -np.einsum("vji,vj->vi", camera_from_world[:, :3, :3], camera_from_world[:, :3, 3])
    middle = _looked_at(centers, camera_from_world[:, 2, :3])
    distance = float(np.median(np.linalg.norm(centers - middle, axis=1)))
    finite = np.isfinite(points.xyz).all(axis=1)
    xyz = np.where(finite[:, None], points.xyz, 1e30)
    near = finite & (np.abs(xyz - middle).max(axis=1) < 1e29)
    near[near] = np.linalg.norm(xyz[near] - middle, axis=1) < NEAR_SHARE * distance
    if near.sum() < FEWEST_POINTS:
        raise InputError("the cameras look at no place in common; masks are for an object that they go around")
    above = near.copy()
    heights = _above_table(xyz[near], -camera_from_world[:, 1, :3].mean(axis=0), distance)
    if heights is not None:
        above[near] = heights > ABOVE_SHARE * distance
    if above.sum() < FEWEST_POINTS:
        raise InputError("nothing stands out from the plane that the cameras look at; masks need an object on it")
    chosen = np.flatnonzero(above)
    piece = _connected(xyz[chosen], middle, LINK_SHARE * distance)
    found = np.zeros(len(xyz), dtype=bool)
    found[chosen[piece]] = True
    return found


def _looked_at(centers: Float64[np.ndarray, "V 3"], axes: Float64[np.ndarray, "V 3"]) -> Float64[np.ndarray, "3"]:
    """The point nearest to all optical axes, those that pass far from it left out the second time."""
    kept = np.ones(len(centers), dtype=bool)
    for _ in range(3):
        across = np.eye(3) - axes[kept, :, None] * axes[kept, None, :]
        system = across.sum(axis=0) + 1e-6 * np.eye(3)
        middle = np.linalg.solve(system, (across @ centers[kept, :, None]).sum(axis=0)[:, 0])
        misses = np.linalg.norm(np.cross(middle - centers, axes), axis=1)
        kept = misses <= 2.5 * np.median(misses)
    return middle


def _above_table(
    xyz: Float64[np.ndarray, "P 3"], up: Float64[np.ndarray, "3"], distance: float
) -> Float64[np.ndarray, "P"] | None:
    """Heights above the plane that holds most points and lies about level; None where no plane holds enough.

    Source: Fischler and Bolles 1981, RANSAC.
    """
    random = np.random.default_rng(0)
    up = up / max(np.linalg.norm(up), 1e-9)
    best, most = None, TABLE_COUNT * len(xyz)
    for _ in range(500):
        a, b, c = xyz[random.choice(len(xyz), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12 * distance**2 or abs(normal @ up) < 0.75 * length:
            continue
        normal *= np.sign(normal @ up) / length
        heights = (xyz - a) @ normal
        count = (np.abs(heights) < PLANE_SHARE * distance).sum()
        if count > most:
            best, most = heights, count
    return best


def _connected(
    xyz: Float64[np.ndarray, "P 3"], middle: Float64[np.ndarray, "3"], reach: float
) -> Bool[np.ndarray, "P"]:
    """The points that a chain of steps joins to the one nearest the middle that has company."""
    sample = np.sort(np.random.default_rng(0).choice(len(xyz), min(len(xyz), MOST_POINTS), replace=False))
    tensor = torch.from_numpy(xyz[sample])
    linked = torch.cdist(tensor, tensor) < reach
    order = np.argsort(np.linalg.norm(xyz[sample] - middle, axis=1))
    crowd = linked.sum(dim=1).numpy()
    start = next((i for i in order if crowd[i] > FEWEST_SEEDS), order[0])
    inside = torch.zeros(len(sample), dtype=torch.bool)
    inside[start] = True
    while True:
        grown = linked[inside].any(dim=0)
        if torch.equal(grown, inside):
            break
        inside = grown
    # Distances of all points at once would take 40 GB for a million of them.
    near = [torch.cdist(rows, tensor[inside]).amin(dim=1) < reach for rows in torch.from_numpy(xyz).split(_ROWS)]
    return torch.cat(near).numpy()


def seeds_of(
    placed: Placed, size: tuple[int, int], points: Float64[np.ndarray, "P 3"], is_object: Bool[np.ndarray, "P"]
) -> Seeds:
    """Where the points lie on a photo that is brought to `size` (width, height)."""
    frame, lens = placed.frame, placed.frame.lens.scaled(*size)
    in_camera = points @ frame.camera_from_world[:3, :3].T + frame.camera_from_world[:3, 3]
    ahead = in_camera[:, 2] > 1e-9
    plane = torch.from_numpy(in_camera[:, :2] / np.where(ahead, in_camera[:, 2], 1.0)[:, None])
    pixels = distort(lens, plane)
    bound = largest_radius(lens, 1.2 * max(size) / min(lens.focal_px))
    seen = ahead & (seen_by(lens, pixels) & (plane.norm(dim=1) < bound)).numpy()
    return Seeds(pixels.numpy()[seen & is_object], pixels.numpy()[seen & ~is_object])


def grab_cut(picture: UInt8[np.ndarray, "H W 3"], seeds: Seeds) -> Bool[np.ndarray, "H W"]:
    """The object by its colours, from points that are on it and points that are not; a `Segmenter`.

    Limits: where object and surroundings have the same colours, the cut follows the points' outline.
    """
    import cv2

    height, width = picture.shape[:2]
    if len(seeds.object_px) < FEWEST_SEEDS:
        return np.zeros((height, width), dtype=bool)
    hull = cv2.convexHull(seeds.object_px.astype(np.float32).reshape(-1, 1, 2))
    around = np.zeros((height, width), dtype=np.uint8)
    cv2.fillConvexPoly(around, hull.astype(np.int32), 1)
    margin = max(3, int(0.06 * np.sqrt(around.sum())))
    wide = cv2.dilate(around, _disc(2 * margin))
    labels = np.where(wide > 0, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    labels[(wide > 0) & (around == 0)] = cv2.GC_PR_BGD
    for x, y in seeds.other_px.astype(int):
        if around[min(y, height - 1), min(x, width - 1)] == 0:  # in the outline it may lie behind the object
            cv2.circle(labels, (int(x), int(y)), 2, cv2.GC_BGD, -1)
    for x, y in seeds.object_px.astype(int):
        cv2.circle(labels, (int(x), int(y)), 2, cv2.GC_FGD, -1)
    if not (labels == cv2.GC_BGD).any():
        return np.ones((height, width), dtype=bool)  # it fills the picture
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(picture[..., ::-1])
    cv2.grabCut(bgr, labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return _one_piece(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)), seeds)


def _disc(radius: int) -> UInt8[np.ndarray, "K K"]:
    import cv2

    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _one_piece(mask: Bool[np.ndarray, "H W"], seeds: Seeds) -> Bool[np.ndarray, "H W"]:
    """Pieces that hold a fair part of the seeds, smoothed, with small holes filled."""
    import cv2

    smooth = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(1))
    _, labels = cv2.connectedComponents(smooth)
    height, width = mask.shape
    x, y = seeds.object_px.astype(int).T if len(seeds.object_px) else np.zeros((2, 0), dtype=int)
    hit = labels[y.clip(0, height - 1), x.clip(0, width - 1)]
    counts = np.bincount(hit[hit > 0], minlength=2)
    kept = np.isin(labels, np.flatnonzero(counts >= max(1.0, 0.1 * counts.max())))
    _, outside = cv2.connectedComponents((~kept).astype(np.uint8))
    sizes = np.bincount(outside.ravel())
    holes = np.isin(outside, np.flatnonzero(sizes < 0.002 * mask.size)) & ~kept
    return kept | holes


def cut_out(
    placed: Placed,
    points: Float64[np.ndarray, "P 3"],
    is_object: Bool[np.ndarray, "P"],
    segment: Segmenter = grab_cut,
) -> Bool[np.ndarray, "H W"]:
    """The mask of one photo, at the size of its pixels as they are used; True is the object.

    Raises: BadFrame when the photo cannot be decoded; InputError when a segmenter's answer has another shape.
    """
    import cv2

    pixels = read_pixels(placed.frame.image_path, turned=placed.turned)
    if placed.view is not None:
        pixels = cut_view(pixels, placed.view)
    height, width = pixels.shape[:2]
    factor = min(1.0, WORK_SIDE_PX / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(np.ascontiguousarray(pixels[..., :3]), size, interpolation=cv2.INTER_AREA)
    seeds = seeds_of(placed, size, points, is_object)
    mask = np.asarray(segment(small, seeds))
    if mask.shape != small.shape[:2]:
        raise InputError(f"the segmenter: its mask is {mask.shape}, expected {small.shape[:2]} (rows, columns)")
    wide = cv2.resize((mask > 0).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return wide >= 0.5


def mask_path(folder: Path, name: str) -> Path:
    """Where readers look for the mask of a photo.

    Raises: BadFrame for a name that leads elsewhere.
    """
    path = folder / f"{name}.png"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadFrame("its name leads out of the folder")
    return path
