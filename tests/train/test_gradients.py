"""The engine's own chain of operators gives what autograd gives, byte for byte."""

from dataclasses import replace

import pytest
import torch

from neural3d.ops.color_affine import color_affine
from neural3d.ops.photometric import photometric_loss
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import splat_view
from neural3d.train.exposure import AffineMap
from neural3d.train.gradients import photo_gradient
from neural3d.train.photos import TrainingPhoto, build_pyramid

from .small_scenes import HEIGHT, WIDTH, gradient_for, make_scene, same, truth

BACKGROUND = torch.tensor([0.2, 0.5, 0.8])


def gradient_by_autograd(
    gaussians: Gaussians, photo: TrainingPhoto, background: torch.Tensor, *, sh_degree: int, ssim_weight: float
) -> Gaussians:
    """What `photo_gradient` computes, by torch from the differentiable operators."""
    leaves = gaussians.map(lambda t: t.detach().clone().requires_grad_())
    image = splat_view(leaves, photo.view, background, sh_degree=sh_degree).image
    target = {"target_alpha": photo.alpha, "valid": photo.valid, "background": background}
    loss = photometric_loss(image, photo.pixels, **target, ssim_weight=ssim_weight)
    grads = torch.autograd.grad(loss, list(leaves.tensors().values()))
    return replace(gaussians, **dict(zip(leaves.tensors(), grads, strict=True)))


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("has_alpha", [False, True])
@pytest.mark.parametrize("degree", [0, 2, 3])
def test_the_chain_is_autograds(degree, has_alpha, antialiased):
    gaussians = replace(truth(sh_degree=3), antialiased=antialiased)
    gaussians.sh[:, 1:] = 0.1 * torch.randn(30, 15, 3)
    photo = build_pyramid(make_scene(has_alpha=has_alpha), 0).levels[0][2]
    photo = replace(photo, valid=torch.rand(HEIGHT, WIDTH) < 0.9)
    given = {"sh_degree": degree, "ssim_weight": 0.2}
    ours = photo_gradient(gaussians, photo, BACKGROUND, exposure=None, **given)
    autograds = gradient_by_autograd(gaussians, photo, BACKGROUND, **given)
    assert same(ours.gaussians.tensors(), autograds.tensors())
    for name, gradient in ours.gaussians.tensors().items():
        assert gradient.abs().max() > 0, name


def test_exposure_is_part_of_the_chain():
    gaussians, exposure = truth(), torch.eye(3, 4) + 0.1 * torch.randn(3, 4)
    photo = build_pyramid(make_scene(), 0).levels[0][0]
    ours = photo_gradient(gaussians, photo, BACKGROUND, sh_degree=0, exposure=AffineMap(exposure), ssim_weight=0.2)
    leaves, matrix = gaussians.map(lambda t: t.clone().requires_grad_()), exposure.clone().requires_grad_()
    shown = color_affine(splat_view(leaves, photo.view, BACKGROUND).image, matrix)
    loss = photometric_loss(shown, photo.pixels, background=BACKGROUND, ssim_weight=0.2)
    d_matrix, d_means, d_sh = torch.autograd.grad(loss, [matrix, leaves.means_world, leaves.sh])
    assert torch.equal(ours.loss, loss)
    assert torch.equal(ours.exposure, d_matrix)
    assert torch.equal(ours.gaussians.means_world, d_means) and torch.equal(ours.gaussians.tensors()["sh"], d_sh)


def test_the_squared_error_is_the_photos():
    gaussians, scene = truth(20), make_scene()
    photo = build_pyramid(scene, 0).levels[0][0]
    shown = splat_view(gaussians, photo.view, torch.zeros(3)).image.clamp(0, 1).permute(1, 2, 0)
    expected = (shown - photo.pixels / 255).square().mean()
    assert gradient_for(gaussians, scene).squared_error.item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_on_the_screen_are_those_of_moving_the_picture():
    """The sum over the Gaussians is how the loss changes when all of them move by a pixel."""
    gaussians, scene = truth(), make_scene()
    photo = build_pyramid(scene, 0).levels[0][1]

    def loss(shift: float) -> float:
        view = replace(photo.view, principal_px=photo.view.principal_px + torch.tensor([shift, 0.0]))
        image = splat_view(gaussians, view, BACKGROUND).image
        return photometric_loss(image, photo.pixels, background=BACKGROUND, ssim_weight=0.2).item()

    gaussians.sh.mul_(0.5)
    ours = photo_gradient(gaussians, photo, BACKGROUND, sh_degree=0, exposure=None, ssim_weight=0.2)
    assert ours.view is photo.view
    assert ours.means_px[:, 0].sum().item() == pytest.approx((loss(0.01) - loss(-0.01)) / 0.02, rel=0.05, abs=1e-5)
