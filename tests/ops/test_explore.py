"""Penalties and noise of Markov-chain densification."""

import pytest
import torch
from torch import Tensor

from neural3d.ops import explore as native
from neural3d.reference import explore as reference

from .random_scenes import as_dtype, make_gaussians
from .tolerances import assert_close


@pytest.fixture(params=[native, reference], ids=["native", "reference"])
def package(request: pytest.FixtureRequest):
    """Each of the two modules."""
    return request.param


def faint_gaussians(count: int) -> dict[str, Tensor]:
    """Half of them faint enough to be moved."""
    gaussians = as_dtype(make_gaussians(count), torch.float32)
    del gaussians["sh"]
    gaussians["logit_opacities"][::2] -= 6
    return gaussians


def moved(package, gaussians: dict[str, Tensor], visible: Tensor, **options) -> Tensor:
    """By how much `shake` moves each Gaussian."""
    means_world = gaussians["means_world"].clone()
    package.shake(**gaussians | {"means_world": means_world}, visible=visible, **options)
    return means_world - gaussians["means_world"]


def test_penalties_are_gradients_of_means(package):
    gaussians, visible = faint_gaussians(50), torch.rand(50) < 0.5
    log_scales, logits = gaussians["log_scales"], gaussians["logit_opacities"]
    leaves = [log_scales.clone().requires_grad_(), logits.clone().requires_grad_()]
    expected = torch.autograd.grad(0.3 * leaves[0].exp().mean() + 0.7 * leaves[1].sigmoid().mean(), leaves)
    grads = [torch.full((50, 3), 2**-10), torch.full((50,), 2**-10)]
    package.add_penalties(
        log_scales,
        logits,
        visible,
        scale_weight=0.3,
        opacity_weight=0.7,
        grad_log_scales=grads[0],
        grad_logit_opacities=grads[1],
    )
    for grad, full in zip(grads, expected, strict=True):
        assert_close(grad[visible] - 2**-10, full[visible], "float32 law")
        assert (grad[~visible] == 2**-10).all()


def test_only_the_visible_and_faint_move(package):
    gaussians, visible = faint_gaussians(50), torch.rand(50) < 0.5
    moves = moved(package, gaussians, visible, strength=1.0, seed=3, step=7)
    moving = visible & (gaussians["logit_opacities"] <= -2)
    assert 0 < moving.sum() < visible.sum()
    assert (moves[~moving] == 0).all() and (moves[moving] != 0).any(dim=1).all()


def test_the_noise_has_the_shape_of_the_gaussian(package):
    """Thousands of like Gaussians: mean 0 and covariance Sigma Sigma^T."""
    one = faint_gaussians(1)
    many = {name: tensor.repeat(20_000, *(1,) * (tensor.dim() - 1)) for name, tensor in one.items()}
    many["means_world"].zero_()
    moves = moved(package, many, torch.ones(20_000, dtype=torch.bool), strength=2.0, seed=1, step=1).double()
    axes = reference.rotation_matrices(one["quats_wxyz"].double())[0] * one["log_scales"][0].double().exp()
    shape = 2.0 * torch.sigmoid(100 * (0.005 - one["logit_opacities"].double().sigmoid())) * axes @ axes.T
    expected = shape @ shape.T
    assert (moves.T @ moves / 20_000 - expected).abs().max() < 0.05 * expected.max()
    assert moves.mean(dim=0).abs().max() < 0.05 * expected.max().sqrt()


def test_the_noise_follows_seed_step_and_index_alone(package):
    gaussians, visible = faint_gaussians(50), torch.ones(50, dtype=torch.bool)
    draws = {
        (seed, step): moved(package, gaussians, visible, strength=1.0, seed=seed, step=step)
        for seed in (1, 2)
        for step in (1, 2)
    }
    assert torch.equal(draws[1, 2], moved(package, gaussians, visible, strength=1.0, seed=1, step=2))
    assert len({tuple(draw.flatten().tolist()) for draw in draws.values()}) == 4
    fewer = moved(package, {k: v[:20] for k, v in gaussians.items()}, visible[:20], strength=1.0, seed=1, step=2)
    assert torch.equal(draws[1, 2][:20], fewer)


@pytest.mark.parametrize("seed, step", [(0, 0), (1, 30_000), (2**31 - 1, 2**40), (-5, 3)])
def test_twins_agree(seed, step):
    gaussians, visible = faint_gaussians(200), torch.rand(200) < 0.7
    double = as_dtype(gaussians, torch.float64)
    actual, expected = (
        moved(package, tensors, visible, strength=0.5, seed=seed, step=step)
        for package, tensors in ((native, gaussians), (reference, double))
    )
    assert_close(actual, expected, "float32 twin")
