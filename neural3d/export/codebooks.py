"""Few values that stand for many: scalar codebooks, and palettes of vectors."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_BINS = 1 << 16
VectorsAt = Callable[[Int[Tensor, "A"]], Float[Tensor, "A C"]]
"""The vectors of these numbers."""
_LLOYD_STEPS = 60
_GROUP_STEPS = 8
_POINTS_A_GROUP = 1024
_SAMPLE_A_GROUP = 64
"""Points for each centre of the first level: enough to find where the groups lie."""
_MAX_GROUPS = 512
_ROWS_AT_ONCE = 16384


def scalar_codebook(values: Float[np.ndarray, "P"], size: int = 256) -> Float[np.ndarray, "S"]:
    """Sorted values of least squared error to those given, float32.

    Begins with cells that each hold the same share of density to the power of a third, which is optimal for many cells,
    and improves them until they are the means of what they stand for.

    Source: Panter and Dite 1951, Quantization distortion in pulse-count modulation; Lloyd 1982, Least squares
    quantization in PCM.
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.full(size, low, np.float32)
    counts, edges = np.histogram(values, _BINS, range=(low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    mass = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)])
    moment = np.concatenate([[0], np.cumsum(counts * centers)])
    share = np.cumsum(_smooth(counts) ** (1 / 3))
    book = np.interp((np.arange(size) + 0.5) / size * share[-1], share, centers)
    for _ in range(_LLOYD_STEPS):
        cells = np.concatenate([[0], np.searchsorted(centers, (book[:-1] + book[1:]) / 2), [_BINS]])
        weight = np.diff(mass[cells])
        book = np.where(weight > 0, np.diff(moment[cells]) / np.maximum(weight, 1), book)
    return np.sort(book).astype(np.float32)


def nearest(book: Float[np.ndarray, "S"], values: Float[np.ndarray, "*B"]) -> Int[np.ndarray, "*B"]:
    """Which entry of a sorted codebook each value is closest to."""
    return np.searchsorted((book[:-1].astype(np.float64) + book[1:]) / 2, values)


def palette(vectors_at: VectorsAt, count: int, size: int) -> tuple[Float[Tensor, "S C"], Int[Tensor, "P"]]:
    """At most `size` vectors of small squared error to `count` others, and which of them stands for each.

    The others are asked for a group at a time, so that all of them are never in memory. k-means in two levels: groups
    of neighbours first, then a share of the palette for each group by how many it holds and how much they differ. A
    search through the whole palette would cost a hundred times as much.

    Source: Gersho and Gray 1992, Vector Quantization and Signal Compression, chapter 12 (tree-structured).
    """
    if count <= size:
        return vectors_at(torch.arange(count)), torch.arange(count)
    generator = torch.Generator().manual_seed(0)
    members = _groups(vectors_at, count, generator)
    sizes = _shares([(len(rows), _squared_error(vectors_at(rows))) for rows in members], size)
    centers, labels, used = [], torch.empty(count, dtype=torch.int64), 0
    for rows, share in zip(members, sizes, strict=True):
        found, label = _lloyd(vectors_at(rows), share, generator)
        centers.append(found)
        labels[rows] = label + used
        used += len(found)
    return torch.cat(centers), labels


def _smooth(counts: Int[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
    """Neighbouring bins averaged, so that gaps between values have some density."""
    width = _BINS // 256
    return np.convolve(counts, np.ones(width) / width, mode="same") + 1e-12


def _groups(vectors_at: VectorsAt, count: int, generator: torch.Generator) -> list[Int[Tensor, "A"]]:
    """The members of each group of neighbours, none of them empty."""
    wanted = min(_MAX_GROUPS, max(1, count // _POINTS_A_GROUP))
    sample = vectors_at(torch.randperm(count, generator=generator)[: wanted * _SAMPLE_A_GROUP])
    centers, _ = _lloyd(sample, wanted, generator)
    group = torch.empty(count, dtype=torch.int64)
    for start in range(0, count, _ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + _ROWS_AT_ONCE, count))
        group[rows] = _assign(vectors_at(rows), centers)
    counts = torch.bincount(group, minlength=len(centers)).tolist()
    return [rows for rows in torch.split(torch.argsort(group, stable=True), counts) if len(rows)]


def _squared_error(vectors: Float[Tensor, "A C"]) -> float:
    """To their mean, of all together."""
    return float((vectors - vectors.mean(0)).square().sum())


def _shares(groups: list[tuple[int, float]], size: int) -> list[int]:
    """How many of the palette each group of so many members and so much error gets: at least one, at most its members.

    Proportional to the square root of count times squared error, which is between shares by count, that starve the
    groups that differ, and shares by error, that starve the quiet ones.
    """
    counts = np.array([count for count, _ in groups])
    weights = np.sqrt(counts * np.maximum([error for _, error in groups], 1e-20))
    shares = np.minimum(np.floor((size - len(groups)) * weights / weights.sum()).astype(int) + 1, counts)
    return shares.tolist()


def _lloyd(
    points: Float[Tensor, "P C"], size: int, generator: torch.Generator
) -> tuple[Float[Tensor, "S C"], Int[Tensor, "P"]]:
    """k-means from points chosen at random; centres that stand for nothing are left out."""
    centers = points[torch.randperm(len(points), generator=generator)[:size]].clone()
    for _ in range(_GROUP_STEPS):
        label = _assign(points, centers)
        counts = torch.bincount(label, minlength=len(centers))
        sums = torch.zeros_like(centers).index_add_(0, label, points)
        centers = (sums / counts.clamp(min=1)[:, None])[counts > 0]
    return centers, _assign(points, centers)


def _assign(points: Float[Tensor, "P C"], centers: Float[Tensor, "S C"]) -> Int[Tensor, "P"]:
    """The nearest centre of each point."""
    norms = centers.square().sum(1)
    rows = [points[i : i + _ROWS_AT_ONCE] for i in range(0, len(points), _ROWS_AT_ONCE)]
    return torch.cat([torch.addmm(norms, part, centers.T, alpha=-2).argmin(1) for part in rows])
