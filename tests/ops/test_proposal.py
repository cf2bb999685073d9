"""Where along rays to look closely, and how wrong the guess was."""

import math

import pytest
import torch
from torch import Tensor

from neural3d.ops.records import RayScale

from .backends import gradients
from .random_rays import SCALE, make_guess
from .tolerances import GRADCHECK, assert_close


def test_distances_ascend_from_near_over_the_knee_to_far():
    scale = RayScale(0.5, 2.0, 40.0)
    places = torch.linspace(0, 1, 101, dtype=torch.float64)
    found = scale.distances(places)
    assert found[[0, 50, 100]].tolist() == pytest.approx([0.5, 2.0, 40.0]) and (found.diff() > 0).all()
    assert max(found[:51].diff(n=2).abs().max(), (1 / found[50:]).diff(n=2).abs().max()) < 1e-14
    with pytest.raises(ValueError, match="near < knee < far"):
        RayScale(2.0, 0.5, 40.0)


def even_edges(rays: int, count: int) -> Tensor:
    return torch.linspace(0, 1, count + 1, dtype=torch.float64).repeat(rays, 1)


def test_where_nothing_is_guessed_intervals_are_even(backend):
    features = torch.full((3, 8, 2), -200.0, dtype=torch.float64)
    offsets = torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)
    fine = backend.proposal_edges(features, even_edges(3, 8), offsets, SCALE, count=4, uniform=0.0)
    assert_close(fine, (torch.arange(5) + offsets[:, None]) / 5, "float64 truth")


def test_what_is_opaque_draws_all_intervals(backend):
    """The fifth of eight intervals; but for the share that is spread evenly."""
    features = torch.full((1, 8, 1), -200.0, dtype=torch.float64)
    features[0, 4] = 15.0
    none = torch.zeros(1, dtype=torch.float64)
    fine = backend.proposal_edges(features, even_edges(1, 8), none, SCALE, count=9, uniform=0.0)
    assert ((fine >= 0.5) & (fine < 0.625)).all()
    mixed = backend.proposal_edges(features, even_edges(1, 8), none, SCALE, count=799, uniform=0.5)
    inside = ((mixed >= 0.5) & (mixed < 0.625)).double().mean()
    assert inside.item() == pytest.approx(0.5 + 0.5 / 8, abs=0.005)


def test_quantiles_follow_the_weights(backend):
    """As many intervals in a part of the ray as light comes from there: of density 1 over [near, far] in distance."""
    scale = RayScale(0.0, 2.0, 4.0)
    features = torch.zeros(1, 512, 1, dtype=torch.float64)
    offsets = torch.zeros(1, dtype=torch.float64)
    fine = backend.proposal_edges(features, even_edges(1, 512), offsets, scale, count=9999, uniform=0.0)
    share = (scale.distances(fine) < 1.0).double().mean().item()
    assert share == pytest.approx((1 - math.exp(-1)) / (1 - math.exp(-4)), abs=2e-3)


def test_a_guess_that_holds_all_weight_is_not_pulled(backend):
    """The field as its own guess; and an empty one, of which all is lost, and a thin one, which must grow."""
    features, edges, _, _ = make_guess(6, levels=1)
    density = features[..., 0].exp()
    assert backend.interlevel(features, edges, density, edges, SCALE).max() < 1e-20
    run = lambda leaf: (backend.interlevel(leaf["features"], edges, density, edges, SCALE),)  # noqa: E731
    lost = run({"features": torch.full_like(features, -40.0)})[0]
    total = 1 - torch.exp(-(density * SCALE.distances(edges).diff(dim=1)).sum(dim=1))
    assert_close(lost, total, "float32 law")
    thin = {"features": torch.full_like(features, -8.0)}
    assert gradients(run, thin)["features"].sum() < 0 and (run(thin)[0] < lost).all()


def test_derivative(backend):
    features, edges, densities, fine = make_guess(5)
    run = lambda f: backend.interlevel(f, edges, densities, fine, SCALE)  # noqa: E731
    assert torch.autograd.gradcheck(run, [features.requires_grad_()], **GRADCHECK)


def test_twins_agree(precision, reference):
    exact = make_guess(70)
    offsets = torch.rand(70, dtype=torch.float64)

    def run(backend, dtype):
        features, edges, densities, fine = (part.to(dtype) for part in exact)
        options = {"count": 11, "uniform": 0.1}
        drawn = backend.proposal_edges(features, edges, offsets.to(dtype), SCALE, **options)
        look = lambda leaf: (backend.interlevel(leaf["features"], edges, densities, fine, SCALE),)  # noqa: E731
        return drawn, look({"features": features})[0], gradients(look, {"features": features})["features"]

    ours, theirs = run(precision.native, precision.dtype), run(reference, torch.float64)
    assert_close(ours[0], theirs[0], precision.values)
    assert_close(ours[1], theirs[1], precision.values)
    assert_close(ours[2], theirs[2], precision.grads)


def test_no_rays(backend):
    features, edges, densities, fine = (part[:0] for part in make_guess(3))
    assert backend.proposal_edges(features, edges, edges[:, 0], SCALE, count=4, uniform=0.1).shape == (0, 5)
    assert backend.interlevel(features, edges, densities, fine, SCALE).shape == (0,)
