"""Stratified samples lie one in each part; inverse transform sampling follows the analytic distribution."""

import math

import numpy as np
import torch

from neural3d.fields.sampling import inverse_cdf, middles, stratified


def test_each_part_gets_one_sample():
    offsets = torch.rand(200, 16, generator=torch.Generator().manual_seed(0))
    places = stratified(offsets)
    assert torch.equal((places * 16).floor(), torch.arange(16.0).expand(200, 16))
    assert torch.allclose(places * 16 - torch.arange(16.0), offsets, atol=1e-5)


def test_places_follow_the_cdf_of_the_weights():
    """A piecewise constant density with edges and weights of all sizes; Kolmogorov-Smirnov on 20,000 draws."""
    edges = torch.tensor([[0.0, 0.1, 0.15, 0.5, 0.8, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[1.0, 4.0, 0.0, 2.0, 3.0]], dtype=torch.float64)
    uniform = torch.rand(1, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = inverse_cdf(edges, weights, uniform)[0].sort().values.numpy()
    expected = np.interp(found, edges[0].numpy(), [0.0, 0.1, 0.5, 0.5, 0.7, 1.0])
    distance = np.abs(expected - (np.arange(20_000) + 0.5) / 20_000).max()
    assert distance < 1.63 / math.sqrt(20_000), "rejected at the 1 % level"
    assert ((found > 0.15) & (found < 0.5)).mean() < 1e-3


def test_the_quantile_function_is_the_inverse_of_the_cdf():
    """A density 2x on [0, 1] in 1,000 steps: its quantile function is the square root."""
    edges = torch.linspace(0, 1, 1001, dtype=torch.float64)[None]
    weights = edges[:, 1:] ** 2 - edges[:, :-1] ** 2
    uniform = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)[None]
    assert torch.allclose(inverse_cdf(edges, weights, uniform), uniform.sqrt(), atol=6e-3)


def test_no_weight_at_all_is_evenly():
    edges = torch.tensor([[2.0, 3.0, 4.0, 6.0]])
    found = inverse_cdf(edges, torch.zeros(1, 3), torch.tensor([[0.0, 0.5, 0.999999]]))
    assert torch.allclose(found, torch.tensor([[2.0, 3.5, 6.0]]), atol=1e-4)


def test_places_stay_between_the_edges_in_single_precision():
    random = torch.Generator().manual_seed(2)
    edges = torch.rand(500, 64, generator=random).sort(dim=1).values
    weights = torch.rand(500, 63, generator=random) ** 20
    uniform = torch.rand(500, 128, generator=random)
    uniform[:, 0], uniform[:, 1] = 0, 1 - 2**-24
    found = inverse_cdf(edges, weights, uniform)
    assert (found >= edges[:, :1]).all() and (found <= edges[:, -1:]).all() and found.isfinite().all()


def test_middles_lie_between_neighbours():
    assert middles(torch.tensor([[0.0, 1.0, 4.0]])).tolist() == [[0.5, 2.5]]
