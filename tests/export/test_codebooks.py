"""Codebooks and palettes: near the optimum where that is known, exact where they can be."""

import numpy as np
import pytest
import torch

from neural3d.export.codebooks import nearest, palette, scalar_codebook


def error(book: np.ndarray, values: np.ndarray) -> float:
    return float(((book[nearest(book, values)] - values) ** 2).mean())


def test_a_uniform_spread_gets_equal_cells():
    values = np.linspace(0, 1, 100_001)
    book = scalar_codebook(values)
    assert error(book, values) == pytest.approx(1 / 256**2 / 12, rel=0.02)


def test_a_normal_spread_comes_close_to_the_bound():
    """Panter and Dite: for n cells the error of a unit normal tends to sqrt(3) pi / (2 n^2)."""
    values = np.random.default_rng(0).standard_normal(400_000)
    bound = np.sqrt(3) * np.pi / 2 / 256**2
    assert error(scalar_codebook(values), values) < 1.1 * bound


def test_outliers_cost_little():
    values = np.concatenate([np.random.default_rng(0).standard_normal(100_000), [50.0, -50.0]])
    assert error(scalar_codebook(values), values) < 3e-4


def test_few_values_are_kept_and_one_is_enough():
    values = np.array([3.0, -1, 3, 7, 7, 7])
    assert error(scalar_codebook(values), values) < 1e-7
    assert scalar_codebook(np.full(5, 2.5)).tolist() == [2.5] * 256


def test_the_nearest_entry_is_found():
    book, values = np.sort(np.random.default_rng(0).standard_normal(256)).astype(np.float32), np.linspace(-4, 4, 999)
    assert (nearest(book, values) == np.abs(book.astype(np.float64) - values[:, None]).argmin(1)).all()


def test_a_palette_that_is_large_enough_is_exact():
    vectors = torch.randn(50, 9)
    entries, labels = palette(lambda index: vectors[index], 50, 50)
    assert torch.equal(entries[labels], vectors)


def test_clusters_are_found():
    centers = torch.randn(100, 45) * 5
    vectors = centers[torch.randint(0, 100, (9000,))] + 0.01 * torch.randn(9000, 45)
    entries, labels = palette(lambda index: vectors[index], 9000, 600)
    assert len(entries) <= 600 and int(labels.max()) < len(entries)
    assert (entries[labels] - vectors).square().mean() < 0.02**2


def test_a_palette_loses_little_to_a_search_through_all_of_it():
    """k-means over everything at once is what two levels are to come close to."""
    vectors = torch.randn(6000, 9) * torch.linspace(1, 0.1, 9)
    entries, labels = palette(lambda index: vectors[index], 6000, 500)
    mine = (entries[labels] - vectors).square().sum(1).mean()
    whole = vectors[torch.randperm(6000)[:500]].clone()
    for _ in range(15):
        label = torch.cdist(vectors, whole).argmin(1)
        whole = torch.stack([vectors[label == i].mean(0) if (label == i).any() else whole[i] for i in range(500)])
    best = (whole[torch.cdist(vectors, whole).argmin(1)] - vectors).square().sum(1).mean()
    assert mine < 1.15 * best
    assert len(entries) > 450
