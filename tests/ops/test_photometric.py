"""The photometric loss: a window-by-window oracle, masks, alpha, and the derivative."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from .backends import Backend, gradients
from .tolerances import GRADCHECK, assert_close

BACKGROUND = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)


def random_image(height: int, width: int) -> Tensor:
    """Values around [0, 1], some outside."""
    return 1.2 * torch.rand(3, height, width, dtype=torch.float64) - 0.1


def random_target(height: int, width: int) -> Tensor:
    """A photo of noise."""
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8)


def ssim_at(x: Tensor, y: Tensor, row: int, column: int) -> float:
    """SSIM of two planes around one pixel, term by term; beyond the border both are 0."""
    weights, xs, ys = [], [], []
    for i in range(-5, 6):
        for j in range(-5, 6):
            weights.append(math.exp(-(i * i + j * j) / (2 * 1.5**2)))
            inside = 0 <= row + i < x.shape[0] and 0 <= column + j < x.shape[1]
            xs.append(x[row + i, column + j].item() if inside else 0.0)
            ys.append(y[row + i, column + j].item() if inside else 0.0)
    weight, x, y = (torch.tensor(values, dtype=torch.float64) for values in (weights, xs, ys))
    weight = weight / weight.sum()
    mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
    var_x, var_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
    cov = (weight * (x - mean_x) * (y - mean_y)).sum()
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return (top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).item()


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 17), (13, 3)])
def test_it_is_what_it_says(backend, size):
    image, target = random_image(*size), random_target(*size)
    photo = target.permute(2, 0, 1).double() / 255
    similarity = [
        ssim_at(x, y, row, column)
        for x, y in zip(image, photo, strict=True)
        for row in range(size[0])
        for column in range(size[1])
    ]
    expected = 0.8 * (image - photo).abs().mean().item() + 0.2 * (1 - sum(similarity) / len(similarity))
    loss = backend.photometric_loss(image, target, background=BACKGROUND)
    assert loss.shape == () and loss.item() == pytest.approx(expected, rel=1e-10)


def test_the_photo_itself_costs_nothing(backend):
    target = random_target(20, 33)
    image = (target.permute(2, 0, 1).double() / 255).contiguous()
    assert abs(backend.photometric_loss(image, target, background=BACKGROUND).item()) < 1e-12


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_weight_chooses(backend, weight):
    image, target = random_image(20, 33), random_target(20, 33)
    half = backend.photometric_loss(image, target, background=BACKGROUND, ssim_weight=0.5)
    one = backend.photometric_loss(image, target, background=BACKGROUND, ssim_weight=weight)
    other = backend.photometric_loss(image, target, background=BACKGROUND, ssim_weight=1 - weight)
    assert one.item() != other.item()
    assert (one + other).item() == pytest.approx(2 * half.item(), rel=1e-12)


def test_a_transparent_target_is_composited_over_the_background(backend):
    image, target = random_image(20, 33), random_target(20, 33)
    target_alpha = torch.randint(0, 256, (20, 33), dtype=torch.uint8)
    target_alpha[:10] = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(5)[:, None]
    alpha = target_alpha.double() / 255
    photo = alpha * target.permute(2, 0, 1) / 255 + (1 - alpha) * BACKGROUND[:, None, None]
    loss = backend.photometric_loss(image, target, target_alpha=target_alpha, background=BACKGROUND, ssim_weight=0.0)
    assert loss.item() == pytest.approx((image - photo).abs().mean().item(), rel=1e-12)
    exact = backend.photometric_loss(photo.contiguous(), target, target_alpha=target_alpha, background=BACKGROUND)
    assert abs(exact.item()) < 1e-12


def test_an_opaque_target_ignores_the_background(backend):
    image, target = random_image(20, 33), random_target(20, 33)
    opaque = torch.full((20, 33), 255, dtype=torch.uint8)
    losses = [
        backend.photometric_loss(image, target, target_alpha=alpha, background=background).item()
        for alpha, background in ((None, BACKGROUND), (opaque, BACKGROUND), (opaque, 0 * BACKGROUND))
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-12)


def test_what_is_not_valid_does_not_matter(backend):
    image, target = random_image(20, 33), random_target(20, 33)
    valid = torch.rand(20, 33) < 0.7
    other = torch.where(valid, image, torch.nan)

    def loss(inputs: dict[str, Tensor]) -> Tensor:
        return backend.photometric_loss(inputs["image"], target, valid=valid, background=BACKGROUND)

    assert loss({"image": image}).item() == loss({"image": other}).item()
    grads = gradients(loss, {"image": other})["image"]
    assert (grads[:, ~valid] == 0).all() and (grads[:, valid] != 0).all()


def test_means_are_over_the_valid_pixels(backend):
    """A constant error, half masked: the L1 term does not change."""
    target = torch.full((20, 33, 3), 51, dtype=torch.uint8)
    image = torch.full((3, 20, 33), 0.5, dtype=torch.float64)
    valid = torch.rand(20, 33) < 0.5
    loss = backend.photometric_loss(image, target, valid=valid, background=BACKGROUND, ssim_weight=0.0)
    assert loss.item() == pytest.approx(0.3, rel=1e-12)


def test_nothing_valid_costs_nothing(backend):
    image, target = random_image(20, 33), random_target(20, 33)
    valid = torch.zeros(20, 33, dtype=torch.bool)

    def loss(inputs: dict[str, Tensor]) -> Tensor:
        return backend.photometric_loss(inputs["image"], target, valid=valid, background=BACKGROUND)

    assert loss({"image": image}).item() == 0
    assert (gradients(loss, {"image": image})["image"] == 0).all()


def masked_loss(height: int, width: int, masked: bool) -> Callable[[Backend, Tensor], Tensor]:
    """A loss of an image alone, with every option or with none."""
    target = random_target(height, width)
    options = {}
    if masked:
        options["target_alpha"] = torch.randint(0, 256, (height, width), dtype=torch.uint8)
        options["valid"] = torch.rand(height, width) < 0.8
    return lambda backend, image: backend.photometric_loss(
        image, target, background=BACKGROUND.to(image.dtype), ssim_weight=0.3, **options
    )


@pytest.mark.parametrize("masked", [False, True])
def test_the_raw_operator_tells_the_squared_error_as_well(each_native, masked):
    """Of the image clamped to [0, 1], a mean over valid pixels: what PSNR is made of."""
    image, target, valid = random_image(20, 300), random_target(20, 300), torch.rand(20, 300) < 0.8
    shown, photo = image.clamp(0, 1), target.permute(2, 0, 1) / 255
    expected = (shown - photo).square()[:, valid if masked else slice(None)].mean()
    options = (None, valid if masked else None, BACKGROUND.float(), 0.2)
    _, squared_error, _ = torch.ops.neural3d.photometric(image.float(), target, *options)
    assert_close(squared_error, expected, "float32 twin")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [(9, 7), (1, 1), (1, 19)])
def test_derivative(backend, size, masked):
    image, loss = random_image(*size).requires_grad_(), masked_loss(*size, masked)
    assert torch.autograd.gradcheck(lambda image: loss(backend, image), image, fast_mode=True, **GRADCHECK)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [(29, 37), (1, 1), (1, 17), (17, 1), (20, 300)])
def test_twins_agree(precision, reference, size, masked):
    """One size is wider than the 256 columns that the native loops take at a time."""
    image, loss = random_image(*size).to(precision.dtype), masked_loss(*size, masked)
    assert_close(loss(precision.native, image), loss(reference, image.double()), precision.values)
    actual = gradients(lambda inputs: loss(precision.native, inputs["image"]), {"image": image})["image"]
    expected = gradients(lambda inputs: loss(reference, inputs["image"]), {"image": image.double()})["image"]
    assert actual.dtype == precision.dtype
    assert_close(actual, expected, precision.grads)
