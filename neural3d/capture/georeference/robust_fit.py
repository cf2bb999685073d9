"""The similarity that brings a capture's points to measured ones, some of which may be wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Float64

from neural3d.capture.alignment import fit_similarity

FEWEST = 3
TRIALS = 300
WIDE = 3.4
"""Of three independent errors of deviation 1, the length that 99 of 100 stay below."""
MEDIAN_LENGTH = 1.538
"""Half of them stay below this."""
MEASURABLE = 1e-4
"""Of the pairs' median distance from their middle: nobody measures more finely."""
MAX_TILT_RAD = np.radians(3.0)
"""Standard error of what is up from which on the photos' own up is the better one."""

Map = tuple[float, Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"]]
"""Scale, rotation, translation: target = scale * rotation @ source + translation."""


@dataclass(frozen=True)
class RobustFit:
    """A similarity, and what it says about each pair of points."""

    scale: float
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]
    distances: Float64[np.ndarray, "P"]
    """Between each source point, moved, and its target."""
    used: Bool[np.ndarray, "P"]
    """Pairs that it rests on; the others are outliers."""
    scale_error: float
    """Standard error of the scale, relative."""
    is_level: bool
    """Up is the source's own: the pairs lie too near a line to say."""


def fit_robustly(
    source: Float64[np.ndarray, "P 3"],
    target: Float64[np.ndarray, "P 3"],
    up: Float64[np.ndarray, "3"],
) -> RobustFit:
    """The similarity that most pairs agree on, by least squares of these; `up` is the source's, the target's is +z.

    Up to n / 2 - 2 outliers of n pairs change nothing at all: the fit is that of the others.

    Source: Rousseeuw and Leroy 1987, Robust Regression and Outlier Detection, chapter 5 (least median of squares, and
    the deviation that is estimated from it).
    Raises: ValueError when there are fewer than 3 pairs, or the points of either side are one.
    """
    if len(source) < FEWEST:
        raise ValueError(f"{len(source)} pairs, expected {FEWEST} or more")
    if min(np.ptp(source, axis=0).max(), np.ptp(target, axis=0).max()) <= 0:
        raise ValueError("all positions are one")
    used = _agreeing(source, target)
    fitted, used = _polished(source, target, used, fit_similarity)
    is_level = bool(_tilt_error(source, target, used, fitted) > MAX_TILT_RAD)
    if is_level:
        fitted, used = _polished(source, target, used, lambda s, t: fit_level(s, t, up))
    scale, rotation, translation = fitted
    distances = _distances(source, target, fitted)
    reach = scale * np.sqrt(_scatter(source[used]).sum())
    error = _deviation(distances[used]) / reach if reach > 0 else np.inf
    return RobustFit(scale, rotation, translation, distances, used, float(error), is_level)


def fit_level(
    source: Float64[np.ndarray, "P 3"], target: Float64[np.ndarray, "P 3"], up: Float64[np.ndarray, "3"]
) -> Map:
    """The similarity with `up` on +z: scale, heading and translation by least squares, for points near a line."""
    upright = _rotation_between(up / np.linalg.norm(up), np.array([0.0, 0.0, 1.0]))
    turned = source @ upright.T
    middles = turned.mean(axis=0), target.mean(axis=0)
    p, q = turned - middles[0], target - middles[1]
    along = float((p[:, :2] * q[:, :2]).sum())
    across = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())
    length = np.hypot(along, across)
    cosine, sine = (along / length, across / length) if length > 0 else (1.0, 0.0)
    heading = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    scale = float((length + (p[:, 2] * q[:, 2]).sum()) / np.square(p).sum())
    return scale, heading @ upright, middles[1] - scale * heading @ middles[0]


def _agreeing(source: Float64[np.ndarray, "P 3"], target: Float64[np.ndarray, "P 3"]) -> Bool[np.ndarray, "P"]:
    """The pairs that the similarity of some three leaves nearest, judged by the median of all."""
    count = len(source)
    quorum = _quorum(count)
    best, least = np.zeros(count), np.inf
    for rows in _triples(count):
        if min(np.ptp(source[rows], axis=0).max(), np.ptp(target[rows], axis=0).max()) <= 0:
            continue
        distances = _distances(source, target, fit_similarity(source[rows], target[rows]))
        score = np.partition(distances, quorum - 1)[quorum - 1]
        if score < least:
            best, least = distances, score
    few = 1 + 5 / max(count - FEWEST, 1)
    return best <= max(WIDE * few * least / MEDIAN_LENGTH, _measurable(target))


def _quorum(count: int) -> int:
    """How many pairs must agree, so that three that fit themselves do not decide."""
    return (count + FEWEST + 1) // 2


def _triples(count: int) -> list[list[int]]:
    """All of them, or a few hundred, always the same."""
    if comb(count, FEWEST) <= TRIALS:
        return [list(rows) for rows in combinations(range(count), FEWEST)]
    random = np.random.default_rng(0)
    return [random.choice(count, FEWEST, replace=False).tolist() for _ in range(TRIALS)]


def _polished(
    source: Float64[np.ndarray, "P 3"],
    target: Float64[np.ndarray, "P 3"],
    used: Bool[np.ndarray, "P"],
    fit: Callable[[Float64[np.ndarray, "U 3"], Float64[np.ndarray, "U 3"]], Map],
) -> tuple[Map, Bool[np.ndarray, "P"]]:
    """Least squares of those that agree, who are found anew by what it leaves, until they stay the same."""
    fitted = fit(source[used], target[used])
    for _ in range(20):
        distances = _distances(source, target, fitted)
        limit = max(WIDE * _deviation(distances[used]), _measurable(target))
        limit = max(limit, np.sort(distances)[_quorum(len(source)) - 1])
        now = distances <= limit
        if np.array_equal(now, used):
            break
        used, fitted = now, fit(source[now], target[now])
    return fitted, used


def _distances(
    source: Float64[np.ndarray, "P 3"], target: Float64[np.ndarray, "P 3"], fitted: Map
) -> Float64[np.ndarray, "P"]:
    scale, rotation, translation = fitted
    return np.linalg.norm(scale * source @ rotation.T + translation - target, axis=1)


def _deviation(distances: Float64[np.ndarray, "U"]) -> float:
    """Of one coordinate, seven numbers having been fitted."""
    return float(np.sqrt(np.square(distances).sum() / max(3 * len(distances) - 7, 1)))


def _measurable(target: Float64[np.ndarray, "P 3"]) -> float:
    """Errors that are too small to be anybody's mistake, however much smaller the others are."""
    return MEASURABLE * float(np.median(np.abs(target - np.median(target, axis=0)).max(axis=1)))


def _scatter(points: Float64[np.ndarray, "U 3"]) -> Float64[np.ndarray, "3"]:
    """Sums of squares along the principal axes, the largest first."""
    return np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[:3] ** 2


def _tilt_error(
    source: Float64[np.ndarray, "P 3"], target: Float64[np.ndarray, "P 3"], used: Bool[np.ndarray, "P"], fitted: Map
) -> float:
    """Standard error of the turn about the line that the points lie nearest to, radians."""
    scatter = _scatter(source[used])
    aside = fitted[0] * np.sqrt(scatter[1:].sum())
    if scatter[1:].sum() <= 1e-12 * scatter[0]:
        return np.inf
    return _deviation(_distances(source, target, fitted)[used]) / aside


def _rotation_between(start: Float64[np.ndarray, "3"], end: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The smallest turn from one unit vector to another; half a turn is about an axis across.

    Source: Rodrigues' rotation formula.
    """
    cosine, (x, y, z) = float(start @ end), np.cross(start, end)
    if cosine < -1 + 1e-9:
        about = np.cross(start, np.eye(3)[np.argmin(np.abs(start))])
        about /= np.linalg.norm(about)
        return 2 * np.outer(about, about) - np.eye(3)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)
