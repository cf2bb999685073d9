"""Photos of linear light: splats that are blended as light, compared with the photo as an eye compares.

A photo that holds light knows values far above what a display shows as white. Each Gaussian's colour is decoded before
it is blended, so that edges, fog and blur mix as they did before the lens; photo and render are then brought back to
display values, whose curve goes on above 1: differences in shadows and in highlights count about alike.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from neural3d.reference.photometric import C1, C2, SIGMA_PX, WINDOW_PX
from neural3d.srgb import decode_srgb, encode_slope, encode_srgb
from neural3d.train.photos import TrainingPhoto


def display_target(photo: TrainingPhoto, background: Float[Tensor, "3"]) -> Float[Tensor, "3 H W"]:
    """Display values of a photo of light, mixed with the background (a display colour) as light; may exceed 1."""
    light = photo.light.permute(2, 0, 1).float()
    if photo.alpha is not None:
        alpha = photo.alpha.float() / 255
        light = alpha * light + (1 - alpha) * decode_srgb(background)[:, None, None]
    return encode_srgb(light)


def light_loss(
    shown: Float[Tensor, "3 H W"],
    photo: TrainingPhoto,
    valid: Bool[Tensor, "H W"] | None,
    background: Float[Tensor, "3"],
    ssim_weight: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, "3 H W"]]:
    """(1 - w) L1 + w (1 - SSIM) of display values, its mean squared error up to white, and the gradient of `shown`.

    `shown` is light, over the background. As `neural3d.reference.photometric_loss`, of which this is the form for
    photos of floats; the same bytes at any number of threads.
    """
    target, image = display_target(photo, background), encode_srgb(shown)
    known = torch.ones_like(target[:1]) if valid is None else valid[None].to(target)
    image = torch.where(known > 0, image, target)
    weights = known / (3 * known.sum()).clamp(min=1)
    apart = image - target
    # A variance is the small difference of large numbers where light is bright: in float32 it would be noise.
    similarity, pull = _similarity(image.double(), target.double(), -ssim_weight * weights.expand_as(target).double())
    similarity, pull = similarity.to(image), pull.to(image)
    loss = (weights * ((1 - ssim_weight) * apart.abs() + ssim_weight * (1 - similarity))).sum()
    squared = (weights * (image.clamp(0, 1) - target.clamp(0, 1)).square()).sum()
    gradient = known * ((1 - ssim_weight) * weights * apart.sign() + pull)
    return loss, squared, gradient * encode_slope(shown)


def _similarity(
    x: Float[Tensor, "3 H W"], y: Float[Tensor, "3 H W"], pull: Float[Tensor, "3 H W"]
) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "3 H W"]]:
    """SSIM at every pixel, and what a pull at it pulls at `x`.

    The window is its own transpose, so that no gradient of a convolution is needed, whose sums depend on the threads.
    """
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (_window_mean(plane) for plane in (x, y, x * x, y * y, x * y))
    moments = [mean.requires_grad_() for mean in (mean_x, mean_xx, mean_xy)]
    with torch.enable_grad():
        mean_x, mean_xx, mean_xy = moments
        luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
        variances = mean_xx - mean_x**2 + mean_yy - mean_y**2
        similarity = luminance * (2 * (mean_xy - mean_x * mean_y) + C2) / (variances + C2)
        slopes = torch.autograd.grad(similarity, moments, pull)
    by_x, by_xx, by_xy = (_window_mean(slope) for slope in slopes)
    return similarity.detach(), by_x + 2 * x * by_xx + y * by_xy


def _window_mean(planes: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """Along rows, then along columns, the sum over the window in one order; beyond the border all is 0.

    Value by value, which at this size is quicker than torch's convolutions, those of float32 included.
    """
    middle = WINDOW_PX // 2
    profile = [math.exp(-0.5 * (offset / SIGMA_PX) ** 2) for offset in range(-middle, middle + 1)]
    for axis, around in ((2, (middle, middle)), (1, (0, 0, middle, middle))):
        length, padded = planes.shape[axis], pad(planes, around)
        planes = padded.narrow(axis, middle, length) * (profile[middle] / sum(profile))
        for near, far in zip(range(middle), range(2 * middle, middle, -1), strict=True):
            both = padded.narrow(axis, near, length) + padded.narrow(axis, far, length)
            planes += both.mul_(profile[near] / sum(profile))
    return planes
