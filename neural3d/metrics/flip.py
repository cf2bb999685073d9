"""FLIP: the difference a person sees when two images take turns on a screen.

Source: Andersson et al. 2020, FLIP: A Difference Evaluator for Alternating Images (LDR). The constants are the paper's.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.metrics.pixels import masked_mean, with_photo_where_invalid

PIXELS_PER_DEGREE = 0.7 * 3840 / 0.7 * math.pi / 180
"""A 0.7 m wide 4K monitor seen from 0.7 m: 67."""

_XYZ_FROM_RGB = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
_CONTRAST = ((1.0, 0.0047, 0.0, 1e-5), (1.0, 0.0053, 0.0, 1e-5), (34.1, 0.04, 13.5, 0.025))
"""Contrast sensitivity of the achromatic, red-green and blue-yellow channel: a1, b1, a2, b2 of table 1."""
_EXPONENT_COLOR, _EXPONENT_FEATURE = 0.7, 0.5
_KNEE, _KNEE_VALUE = 0.4, 0.95
_FEATURE_WIDTH_DEGREES = 0.082


def flip(
    image: Float[Tensor, "H W 3"],
    photo: Float[Tensor, "H W 3"],
    valid: Bool[Tensor, "H W"] | None = None,
    pixels_per_degree: float = PIXELS_PER_DEGREE,
) -> float:
    """Mean FLIP over the valid pixels: 0 where nothing is seen, 1 at most.

    Filters that reach over invalid pixels see the photo there in both images.
    """
    errors = flip_map(with_photo_where_invalid(image, photo, valid), photo, pixels_per_degree)
    return float(masked_mean(errors, valid))


def flip_map(
    image: Float[Tensor, "H W 3"], photo: Float[Tensor, "H W 3"], pixels_per_degree: float = PIXELS_PER_DEGREE
) -> Float[Tensor, "H W"]:
    """FLIP at each pixel of display sRGB images, in [0, 1]; the image is clamped to [0, 1]."""
    opponents = [_opponent_from_srgb(side.clamp(0, 1).movedim(-1, 0)) for side in (photo, image)]
    color = _color_difference(*(_perceived(planes, pixels_per_degree) for planes in opponents))
    feature = _feature_difference(*((planes[0] + 16) / 116 for planes in opponents), pixels_per_degree)
    return color ** (1 - feature)


def _color_difference(a: Float[Tensor, "3 H W"], b: Float[Tensor, "3 H W"]) -> Float[Tensor, "H W"]:
    """Section 4.1.2-3: the HyAB distance, its large values compressed."""
    green, blue = (_hunt_lab(_primary(a, channel)) for channel in (1, 2))
    largest = _hyab(green, blue) ** _EXPONENT_COLOR
    distance = _hyab(a, b) ** _EXPONENT_COLOR
    knee = _KNEE * largest
    above = _KNEE_VALUE + (distance - knee) / (largest - knee) * (1 - _KNEE_VALUE)
    return torch.where(distance < knee, _KNEE_VALUE / knee * distance, above)


def _feature_difference(a: Float[Tensor, "H W"], b: Float[Tensor, "H W"], ppd: float) -> Float[Tensor, "H W"]:
    """Section 4.2: the larger of the changes in edges and in points."""
    edges, points = ((_feature(a, ppd, order) - _feature(b, ppd, order)).abs() for order in (1, 2))
    return (torch.maximum(edges, points) / math.sqrt(2)) ** _EXPONENT_FEATURE


def _feature(plane: Float[Tensor, "H W"], ppd: float, order: int) -> Float[Tensor, "H W"]:
    """The length of the first (edges) or second (points) derivatives of a blurred luminance."""
    sigma = 0.5 * _FEATURE_WIDTH_DEGREES * ppd
    x = _offsets(math.ceil(3 * sigma), plane)
    bell = torch.exp(-(x**2) / (2 * sigma**2))
    derivative = -x * bell if order == 1 else (x**2 / sigma**2 - 1) * bell
    derivative = torch.where(
        derivative < 0, derivative / -derivative.clamp(max=0).sum(), derivative / derivative.clamp(min=0).sum()
    )
    bell = bell / bell.sum()
    return torch.hypot(_separable(plane, derivative, bell), _separable(plane, bell, derivative))


def _perceived(opponent: Float[Tensor, "3 H W"], ppd: float) -> Float[Tensor, "3 H W"]:
    """Section 4.1.1: what contrast sensitivity leaves, in Hunt-adjusted L*a*b*."""
    radius = math.ceil(3 * math.sqrt(max(max(b1, b2) for _, b1, _, b2 in _CONTRAST) / (2 * math.pi**2)) * ppd)
    x = _offsets(radius, opponent) / ppd
    planes = [_contrast_filter(plane, x, *constants) for plane, constants in zip(opponent, _CONTRAST, strict=True)]
    filtered = torch.stack(planes)
    scaled = torch.stack([(filtered[0] + 16) / 116, filtered[1] / 500, filtered[2] / 200])
    xyz = torch.stack([scaled[0] + scaled[1], scaled[0], scaled[0] - scaled[2]]) * _white(opponent)
    return _hunt_lab(_mix(torch.linalg.inv(_matrix(xyz)), xyz).clamp(0, 1))


def _contrast_filter(
    plane: Float[Tensor, "H W"], x: Float[Tensor, "R"], a1: float, b1: float, a2: float, b2: float
) -> Float[Tensor, "H W"]:
    """Blur by a sum of two Gaussians, which together have the sum 1; each of them is separable."""
    total, weights = torch.zeros_like(plane), 0.0
    for a, b in ((a1, b1), (a2, b2)):
        if a == 0:
            continue
        bell = torch.exp(-(math.pi**2) * x**2 / b)
        weight = a * math.sqrt(math.pi / b) * float(bell.sum()) ** 2
        total = total + weight * _separable(plane, bell / bell.sum(), bell / bell.sum())
        weights += weight
    return total / weights


def _separable(
    plane: Float[Tensor, "H W"], kernel_x: Float[Tensor, "R"], kernel_y: Float[Tensor, "R"]
) -> Float[Tensor, "H W"]:
    from kornia.filters import filter2d_separable  # a quarter of a second that only evaluation should pay

    # Correlation, as the paper's code does it: the sign of a first derivative does not matter to its length.
    return filter2d_separable(plane[None, None], kernel_x[None], kernel_y[None], border_type="replicate")[0, 0]


def _offsets(radius: int, like: Tensor) -> Float[Tensor, "R"]:
    return torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)


def _opponent_from_srgb(srgb: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """YCxCz, the linear opponent space in which contrast sensitivity was measured."""
    from kornia.color import rgb_to_linear_rgb

    linear = rgb_to_linear_rgb(srgb)
    x, y, z = _mix(_matrix(linear), linear) / _white(linear)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _hunt_lab(linear: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    """CIE L*a*b*, with the colourfulness following the lightness (Hunt effect)."""
    xyz = _mix(_matrix(linear), linear) / _white(linear)
    delta = 6 / 29
    root = xyz.clamp(min=delta**3) ** (1 / 3)
    x, y, z = torch.where(xyz > delta**3, root, xyz / (3 * delta**2) + 4 / 29)
    lightness = 116 * y - 16
    return torch.stack([lightness, 0.01 * lightness * 500 * (x - y), 0.01 * lightness * 200 * (y - z)])


def _hyab(a: Float[Tensor, "3 H W"], b: Float[Tensor, "3 H W"]) -> Float[Tensor, "H W"]:
    delta = a - b
    return delta[0].abs() + torch.hypot(delta[1], delta[2])


def _primary(like: Tensor, channel: int) -> Float[Tensor, "3 1 1"]:
    color = like.new_zeros(3, 1, 1)
    color[channel] = 1
    return color


def _matrix(like: Tensor) -> Float[Tensor, "3 3"]:
    return torch.tensor(_XYZ_FROM_RGB, dtype=like.dtype, device=like.device)


def _white(like: Tensor) -> Float[Tensor, "3 1 1"]:
    """White of the display: linear RGB (1, 1, 1)."""
    return _matrix(like).sum(dim=1)[:, None, None]


def _mix(matrix: Float[Tensor, "3 3"], planes: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
    return torch.einsum("ij,jhw->ihw", matrix, planes)
