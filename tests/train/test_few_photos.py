"""What keeps few photos plausible: Gaussians left out at random, depth that bends at edges only, a fitted cap."""

import math
from dataclasses import replace

import pytest
import torch

from neural3d.ops.photometric import photometric_loss
from neural3d.scene import Points
from neural3d.splats.view import splat_view
from neural3d.train.config import FEW_PHOTOS, SplatConfig
from neural3d.train.few_photos import SOLID, bending, left_out, thinned
from neural3d.train.gradients import photo_gradient
from neural3d.train.photos import build_pyramid
from neural3d.train.splats import gaussian_cap

from .small_scenes import HEIGHT, WIDTH, is_finite, make_scene, psnr_of, same, train, truth


def test_who_is_left_out_depends_on_seed_and_step_alone():
    first = left_out(10_000, 0.3, 5, 17, torch.device("cpu"))
    assert torch.equal(first, left_out(10_000, 0.3, 5, 17, torch.device("cpu")))
    assert not torch.equal(first, left_out(10_000, 0.3, 5, 18, torch.device("cpu")))
    assert abs(first.float().mean() - 0.3) < 0.02


def test_thinned_opacities_and_their_gradients():
    gaussians = truth().map(lambda t: t.double())
    gaussians.logit_opacities.copy_(torch.linspace(-3, 5, 30))
    dropped = torch.arange(30) % 4 == 0
    leaf = gaussians.logit_opacities.clone().requires_grad_()
    seen, factors = thinned(replace(gaussians, logit_opacities=leaf), dropped, 0.2)
    raised = torch.sigmoid(gaussians.logit_opacities) / 0.8
    kept = ~dropped & (raised < 0.99)
    torch.testing.assert_close(torch.sigmoid(seen.logit_opacities)[kept], raised[kept])
    assert (torch.sigmoid(seen.logit_opacities[dropped]) < 1 / 255).all()
    (expected,) = torch.autograd.grad(seen.logit_opacities[kept].sum(), leaf)
    torch.testing.assert_close(factors[kept].detach(), expected[kept])
    assert (factors[dropped] == 0).all()
    assert torch.equal(seen.means_world, gaussians.means_world)


def test_threads_change_no_byte_of_what_is_thinned():
    """Of a prime number of Gaussians, so that no thread's part fills its vectors."""
    random, count = torch.Generator().manual_seed(0), 300_007
    logits, dropped = 3 * torch.randn(count, generator=random), torch.rand(count, generator=random) < 0.2
    gaussians = truth().map(lambda t: t[:1].expand(count, *t.shape[1:]))
    gaussians = replace(gaussians, logit_opacities=logits)
    found = []
    for threads in range(1, 9):
        torch.set_num_threads(threads)
        seen, factors = thinned(gaussians, dropped, 0.2)
        found.append((seen.logit_opacities, factors))
    assert all(torch.equal(a, b) for others in found[1:] for a, b in zip(found[0], others, strict=True))


def _plane(slope_x: float, slope_y: float) -> torch.Tensor:
    """Depths of a plane: its inverse depth is affine in the pixel."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    return 1 / (0.5 + slope_x * x + slope_y * y)


def test_planes_do_not_bend_and_steps_do():
    photo, alphas = torch.full((20, 24, 3), 90, dtype=torch.uint8), torch.ones(20, 24)
    assert bending(_plane(0.003, -0.006), alphas, photo)[0] < 1e-5
    step = _plane(0.0, 0.0)
    step[:, 12:] += 1.0
    flat = bending(step, alphas, photo)[0]
    assert flat > 0.01
    edge = photo.clone()
    edge[:, 12:] = 250
    assert bending(step, alphas, edge)[0] < 0.1 * flat
    # What is hardly there has no depth.
    assert bending(step, torch.full((20, 24), SOLID), photo)[0] == 0


def test_the_chain_with_depth_is_autograds():
    """Loss, depth and alpha together, pulled back by the engine and by torch."""
    gaussians = truth(sh_degree=1)
    photo = build_pyramid(make_scene(gaussians=gaussians), 0).levels[0][1]
    background, shifted = torch.tensor([0.2, 0.5, 0.8]), replace(gaussians, sh=gaussians.sh * 0.5)
    ours = photo_gradient(shifted, photo, background, sh_degree=1, exposure=None, ssim_weight=0.2, bend_weight=0.7)
    leaves = shifted.map(lambda t: t.detach().clone().requires_grad_())
    seen = splat_view(leaves, photo.view, background, sh_degree=1, with_depth=True)
    loss = photometric_loss(seen.image[:3].contiguous(), photo.pixels, background=background, ssim_weight=0.2)
    bent, d_depth, d_alpha = bending(seen.image[3].detach(), seen.alphas.detach(), photo.pixels)
    assert bent > 0
    torch.testing.assert_close(ours.loss, loss.detach() + 0.7 * bent)
    total = loss + 0.7 * ((seen.image[3] * d_depth).sum() + (seen.alphas * d_alpha).sum())
    expected = torch.autograd.grad(total, list(leaves.tensors().values()))
    for gradient, other in zip(ours.gaussians.tensors().values(), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-7)


def test_bends_are_the_derivative_of_the_loss():
    random = torch.Generator().manual_seed(0)
    depth = 2 + torch.rand(12, 10, generator=random, dtype=torch.float64)
    alphas = 0.8 + 0.2 * torch.rand(12, 10, generator=random, dtype=torch.float64)
    photo = torch.randint(0, 255, (12, 10, 3), generator=random, dtype=torch.uint8)
    loss, d_depth, d_alpha = bending(depth, alphas, photo)
    # Inverse depth is divided by itself, held fixed: alphas that all grow alike change the numerator alone.
    assert math.isclose(float((d_alpha * alphas).sum()), float(loss), rel_tol=1e-9)
    assert math.isclose(float((d_depth * depth).sum()), -float(loss), rel_tol=1e-9)


@pytest.mark.parametrize("height, width", [(1, 1), (2, 2), (1, 9), (9, 2), (3, 2)])
def test_photos_of_a_pixel_or_two_bend_only_along_their_length(height, width):
    depth, alphas = 1 + torch.arange(float(height * width)).view(height, width) ** 2, torch.ones(height, width)
    loss, *pulls = bending(depth, alphas, torch.zeros(height, width, 3, dtype=torch.uint8))
    assert (loss > 0) == (max(height, width) > 2)
    assert all(pull.shape == depth.shape and bool(pull.any()) == bool(loss > 0) for pull in pulls)


def test_the_cap_follows_the_points():
    scene = make_scene(points=None)
    many = replace(scene, points=Points(torch.zeros(1000, 3), torch.zeros(1000, 3, dtype=torch.uint8)))
    assert gaussian_cap(scene, FEW_PHOTOS) == gaussian_cap(scene, SplatConfig())
    assert gaussian_cap(many, FEW_PHOTOS) == 7000
    assert gaussian_cap(many, replace(FEW_PHOTOS, max_gaussians=55)) == 55
    assert WIDTH * HEIGHT < 20_000


def test_a_training_with_it_learns_and_is_repeatable():
    options = {"drop_share": 0.2, "bend_weight": 0.02, "steps": 60}
    first = train(make_scene(), **options)
    assert is_finite(first.gaussians)
    assert same(first.gaussians.tensors(), train(make_scene(), **options).gaussians.tensors())
    assert psnr_of(first.gaussians, make_scene()) > psnr_of(train(make_scene(), steps=2).gaussians, make_scene()) + 2
