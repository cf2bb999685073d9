"""Few values that stand for many: scalar codebooks, and palettes of vectors."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_BINS = 1 << 16
_LLOYD_STEPS = 60
_GROUP_STEPS = 8
_POINTS_A_GROUP = 1024
_SAMPLE_A_GROUP = 64
"""Points for each centre of the first level: enough to find where the groups lie."""
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


def palette(vectors: Float[Tensor, "P C"], size: int) -> tuple[Float[Tensor, "S C"], Int[Tensor, "P"]]:
    """At most `size` vectors of small squared error to those given, and which of them stands for each.

    k-means in two levels: groups of neighbours first, then a share of the palette for each group by how many it holds
    and how much they differ. A search through the whole palette would cost a thousand times as much.

    Source: Gersho and Gray 1992, Vector Quantization and Signal Compression, chapter 12 (tree-structured).
    """
    if len(vectors) <= size:
        return vectors.clone(), torch.arange(len(vectors))
    generator = torch.Generator().manual_seed(0)
    group, num_groups = _groups(vectors, generator)
    order = torch.argsort(group, stable=True)
    members = torch.split(order, torch.bincount(group, minlength=num_groups).tolist())
    sizes = _shares(vectors, members, size)
    centers, labels, used = [], torch.empty(len(vectors), dtype=torch.int64), 0
    for rows, share in zip(members, sizes, strict=True):
        if len(rows) == 0:
            continue
        found, label = _lloyd(vectors[rows], share, generator)
        centers.append(found)
        labels[rows] = label + used
        used += len(found)
    return torch.cat(centers), labels


def _smooth(counts: Int[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
    """Neighbouring bins averaged, so that gaps between values have some density."""
    width = _BINS // 256
    return np.convolve(counts, np.ones(width) / width, mode="same") + 1e-12


def _groups(vectors: Float[Tensor, "P C"], generator: torch.Generator) -> tuple[Int[Tensor, "P"], int]:
    """A group for each vector, and how many there are."""
    wanted = max(1, len(vectors) // _POINTS_A_GROUP)
    sample = torch.randperm(len(vectors), generator=generator)[: wanted * _SAMPLE_A_GROUP]
    centers, _ = _lloyd(vectors[sample], wanted, generator)
    return _assign(vectors, centers), len(centers)


def _shares(vectors: Float[Tensor, "P C"], members: tuple[Tensor, ...], size: int) -> list[int]:
    """How many of the palette each group gets: by count and spread, at least one, never more than it has members.

    Proportional to the square root of count times squared error, which is between shares by count, that starve the
    groups that differ, and shares by error, that starve the quiet ones.
    """
    counts = torch.tensor([len(rows) for rows in members], dtype=torch.float64)
    spread = torch.stack(
        [vectors[rows].var(0, correction=0).sum() if len(rows) else vectors.new_zeros(()) for rows in members]
    )
    weight = counts * spread.double().clamp(min=1e-20).sqrt()
    shares = torch.minimum((size * weight / weight.sum()).floor(), counts).clamp(min=1)
    over = int(shares.sum()) - size
    for group in torch.argsort(shares, descending=True).tolist() * max(1, over):
        if over <= 0:
            break
        shares[group] -= 1
        over -= 1
    return [max(1, int(share)) for share in shares]


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
