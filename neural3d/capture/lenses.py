"""Lenses: how a ray of the camera becomes a pixel of the photo, for every camera model that is supported.

Pixels follow the project's convention, which is COLMAP's, too: the top-left pixel is centred at (0.5, 0.5).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

COLMAP_MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
"""COLMAP's number of each model: its name and its number of parameters. Source: COLMAP, sensor/models.h."""

PINHOLE_MODELS = ("SIMPLE_PINHOLE", "PINHOLE")
PERSPECTIVE_MODELS = ("SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV")
FISHEYE_MODELS = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE")
SUPPORTED_MODELS = PINHOLE_MODELS + PERSPECTIVE_MODELS + FISHEYE_MODELS

MAX_SIDE_PX = 100_000
MAX_COEFFICIENT = 1e9
"""Larger intrinsics are damage, and float32 could not square them."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one photo. A lens without distortion is a pinhole.

    Perspective: the normalised point (x, y) at radius r moves to (x, y) * (1 + sum radial_i r^2i) /
    (1 + sum radial_denominator_i r^2i), plus the tangential term. Fisheye: r becomes
    theta * (1 + sum radial_i theta^2i) with theta = atan(r).

    Source: OpenCV calib3d and fisheye modules; COLMAP sensor/models.h.
    """

    model: str
    width: int
    height: int
    focal_px: tuple[float, float]
    principal_px: tuple[float, float]
    radial: tuple[float, ...] = ()
    radial_denominator: tuple[float, ...] = ()
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False

    @property
    def is_pinhole(self) -> bool:
        """Nothing to undistort."""
        return not (self.fisheye or any(self.radial) or any(self.radial_denominator) or any(self.tangential))

    def scaled(self, width: int, height: int) -> "Lens":
        """The same lens for the photo at another size."""
        factors = width / self.width, height / self.height
        focal_px = self.focal_px[0] * factors[0], self.focal_px[1] * factors[1]
        principal_px = self.principal_px[0] * factors[0], self.principal_px[1] * factors[1]
        return replace(self, width=width, height=height, focal_px=focal_px, principal_px=principal_px)

    def fault(self) -> str | None:
        """What makes these intrinsics unusable, None when they are fine."""
        numbers = (*self.focal_px, *self.principal_px, *self.radial, *self.radial_denominator, *self.tangential)
        if not all(abs(number) <= MAX_COEFFICIENT for number in numbers):
            return "its intrinsics are not finite numbers"
        if min(self.focal_px) <= 0:
            return f"its focal length is {min(self.focal_px):g}, expected more than 0 pixels"
        if not (0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX):
            return f"its camera claims {self.width} x {self.height} pixels"
        return None


def lens_from_colmap(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    """Build a lens from a supported COLMAP model and its parameters in COLMAP's order."""
    num_focal = 1 if model.startswith(("SIMPLE_", "RADIAL")) else 2
    focal_px = (params[0], params[num_focal - 1])
    principal_px = (params[num_focal], params[num_focal + 1])
    rest = params[num_focal + 2 :]
    lens = Lens(model, width, height, focal_px, principal_px, fisheye=model in FISHEYE_MODELS)
    if model == "OPENCV":
        return replace(lens, radial=rest[:2], tangential=(rest[2], rest[3]))
    if model == "FULL_OPENCV":
        radial = (rest[0], rest[1], rest[4])
        return replace(lens, radial=radial, radial_denominator=rest[5:8], tangential=(rest[2], rest[3]))
    return replace(lens, radial=rest)


def unsupported(model: str) -> str:
    """Why a camera model cannot be used, and what can."""
    return (
        f"camera model {model} is not supported; supported are {', '.join(SUPPORTED_MODELS)}; "
        "undistort the photos to PINHOLE first"
    )


def distort(lens: Lens, points: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Map points of the normalised image plane (x/z, y/z) to pixels of the photo.

    Limits: meaningless beyond `largest_radius`, where a polynomial folds back.
    """
    moved = _distort_fisheye(lens, points) if lens.fisheye else _distort_perspective(lens, points)
    focal = torch.tensor(lens.focal_px, dtype=points.dtype)
    return moved * focal + torch.tensor(lens.principal_px, dtype=points.dtype)


def _distort_perspective(lens: Lens, points: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    x, y = points.unbind(-1)
    squared = x * x + y * y
    ratio = _polynomial(lens.radial, squared) / _polynomial(lens.radial_denominator, squared)
    moved = points * ratio[..., None]
    if not any(lens.tangential):
        return moved
    p1, p2 = lens.tangential
    dx = 2 * p1 * x * y + p2 * (squared + 2 * x * x)
    dy = p1 * (squared + 2 * y * y) + 2 * p2 * x * y
    return moved + torch.stack([dx, dy], dim=-1)


def _distort_fisheye(lens: Lens, points: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    # The clamp keeps 0 / 0 away from the centre, where the ratio is 1 to more digits than float64 has.
    radius = points.square().sum(-1).sqrt().clamp(min=1e-9)
    theta = torch.atan(radius)
    ratio = theta * _polynomial(lens.radial, theta * theta) / radius
    return points * ratio[..., None]


def _polynomial(coefficients: tuple[float, ...], squared: Tensor) -> Tensor:
    """1 + c0 s + c1 s^2 + ... by Horner's rule."""
    value = torch.zeros_like(squared)
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * squared
    return value + 1.0


def largest_radius(lens: Lens, bound: float) -> float:
    """The normalised radius up to which the radial distortion grows, at most `bound`.

    Beyond it a polynomial folds back into the photo, and pixels there would show the wrong place.
    """
    radius = torch.linspace(0.0, bound, 4097, dtype=torch.float64)
    if lens.fisheye:
        theta = torch.atan(radius)
        mapped = theta * _polynomial(lens.radial, theta * theta)
    else:
        squared = radius * radius
        mapped = radius * _polynomial(lens.radial, squared) / _polynomial(lens.radial_denominator, squared)
    falls = np.flatnonzero((mapped.diff() <= 0).numpy() | ~mapped.diff().isfinite().numpy())
    return float(radius[falls[0]]) if len(falls) else bound


def seen_by(lens: Lens, pixels: Float[Tensor, "*B 2"]) -> Bool[Tensor, "*B"]:
    """Whether these pixels lie on the photo."""
    x, y = pixels.unbind(-1)
    return (x >= 0) & (x <= lens.width) & (y >= 0) & (y <= lens.height)
