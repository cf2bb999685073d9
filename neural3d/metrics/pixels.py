"""PSNR, plain and after a colour fit, and SSIM, of images in display sRGB."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def psnr(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None = None
) -> float:
    """Peak signal-to-noise ratio in dB, of the image clamped to [0, 1]; infinite where they are equal.

    Raises: ValueError when no pixel is valid.
    """
    errors = (image.clamp(0, 1) - photo).double().square()
    return float(-10 * torch.log10(masked_mean(errors.mean(-1), valid)))


def psnr_color_corrected(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None = None
) -> float:
    """PSNR after `fit_colors`, for captures whose exposure or white balance varies between photos.

    Limits: it also forgives a model its own global colour error, so it stands beside `psnr`, never in its place.
    """
    return psnr(fit_colors(image, photo, valid), photo, valid)


def fit_colors(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None = None
) -> Float[Tensor, "H W 3"]:
    """The image under the affine map of colours (3 x 4) that brings it nearest to the photo, by least squares."""
    rows = image[valid] if valid is not None else image.flatten(0, 1)
    targets = photo[valid] if valid is not None else photo.flatten(0, 1)
    design = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=-1).double()
    # The pseudo-inverse of the 4 x 4 normal matrix: an image of one colour has no unique map, but a least one.
    affine = torch.linalg.pinv(design.T @ design, hermitian=True) @ (design.T @ targets.double())
    return (image.double() @ affine[:3] + affine[3]).to(image.dtype)


def ssim(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None = None
) -> float:
    """Mean structural similarity over the valid pixels, of the image clamped to [0, 1].

    Windows that reach over invalid pixels see the photo there in both images.
    """
    return float(masked_mean(ssim_map(with_photo_where_invalid(image, photo, valid), photo), valid))


def ssim_map(image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
    """Structural similarity at each pixel, the mean of the channels, in [-1, 1].

    Source: Wang et al. 2004, eq. 13, with the 11 x 11 window of sigma 1.5 and the zero border that the INRIA code
    uses, so that numbers compare with those of the papers.
    """
    a, b = (side.movedim(-1, 0)[:, None].double() for side in (image.clamp(0, 1), photo))
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    denominator = (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    return (numerator / denominator)[:, 0].mean(0)


def masked_mean(values: Float[Tensor, "H W"], valid: Bool[Tensor, "H W"] | None) -> Float[Tensor, ""]:
    """The mean over the valid pixels.

    Raises: ValueError when there is none.
    """
    values = values.flatten() if valid is None else values[valid]
    if values.numel() == 0:
        raise ValueError("valid: no pixel of the view is valid, so there is nothing to measure")
    return values.double().mean()


def with_photo_where_invalid(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], valid: Bool[Tensor, "H W"] | None
) -> Float[Tensor, "H W 3"]:
    """The image, with the photo's own pixels where nothing is to be compared."""
    return image if valid is None else torch.where(valid[..., None], image, photo)


def _blur(planes: Float[Tensor, "C 1 H W"]) -> Float[Tensor, "C 1 H W"]:
    from kornia.filters import gaussian_blur2d  # a quarter of a second that only evaluation should pay

    return gaussian_blur2d(planes, (11, 11), (1.5, 1.5), border_type="constant")
