"""How far an image is from a photo."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import conv2d

WINDOW_PX, SIGMA_PX = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def photometric_loss(
    image: Float[Tensor, "3 H W"],
    target: UInt8[Tensor, "H W 3"],
    *,
    target_alpha: UInt8[Tensor, "H W"] | None = None,
    valid: Bool[Tensor, "H W"] | None = None,
    background: Float[Tensor, "3"],
    ssim_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM), each a mean over the valid pixels and the three channels; 0 where none is valid.

    A target with (straight) alpha is composited over the background first. At pixels that are not valid the image is
    replaced by the target before everything else, so they add nothing and get no gradient. SSIM is taken per channel
    with an 11 x 11 Gaussian window of sigma 1.5 px; beyond the border both images are 0.

    Source: Kerbl et al. 2023, eq. 7; Wang et al. 2004, Image quality assessment, eq. 13.
    Limits: the gradient flows to the image only; the native driver refuses a background that requires one.
    """
    photo = target.permute(2, 0, 1).to(image.dtype) / 255
    if target_alpha is not None:
        alpha = target_alpha.to(image.dtype) / 255
        photo = alpha * photo + (1 - alpha) * background[:, None, None]
    if valid is None:
        valid = torch.ones_like(target[:, :, 0], dtype=torch.bool)
    image = torch.where(valid, image, photo)
    loss = (1 - ssim_weight) * (image - photo).abs() + ssim_weight * (1 - ssim_map(image, photo))
    return torch.where(valid, loss, 0).sum() / (3 * valid.sum()).clamp(min=1)


def ssim_map(image: Float[Tensor, "3 H W"], target: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """The structural similarity around every pixel."""
    x, y = image[:, None], target[:, None]
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = map(_window_mean, (x, y, x * x, y * y, x * y))
    var_x, var_y, cov = mean_xx - mean_x**2, mean_yy - mean_y**2, mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return (luminance * structure)[:, 0]


def _window_mean(planes: Float[Tensor, "3 1 H W"]) -> Float[Tensor, "3 1 H W"]:
    offsets = torch.arange(WINDOW_PX, dtype=planes.dtype, device=planes.device) - WINDOW_PX // 2
    profile = torch.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    profile = profile / profile.sum()
    return conv2d(planes, torch.outer(profile, profile)[None, None], padding=WINDOW_PX // 2)
