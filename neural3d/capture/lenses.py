"""Lenses: how a ray of the camera becomes a pixel of the photo, for every camera model that is supported.

Pixels follow the project's convention, which is COLMAP's, too: the top-left pixel is centred at (0.5, 0.5).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.capture.camera_models import FISHEYE_MODELS, PRISM_MODELS, SUPPORTED_MODELS

MAX_SIDE_PX = 100_000
MAX_COEFFICIENT = 1e9
"""Larger intrinsics are damage, and float32 could not square them."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one photo. A lens without distortion is a pinhole.

    Perspective: the normalised point (x, y) at radius r moves to (x, y) * (1 + sum radial_i r^2i) /
    (1 + sum radial_denominator_i r^2i), plus the tangential term. Fisheye: r becomes
    theta * (1 + sum radial_i theta^2i) with theta = atan(r).

    A prism adds (s0 q^2 + s1 q^4, s2 q^2 + s3 q^4), q being the radius that the tangential term sees. Other curves than
    the polynomial map r alone:

    - "division": r = d / (1 + k d^2), of which d is taken that is nearest 0; shape = (k,)
    - "inverse": r = d (1 + k d^2); shape = (k,)
    - "fov": d = atan(2 r tan(w / 2)) / w; shape = (w,)
    - "eucm": d = r / (a sqrt(b r^2 + 1) + 1 - a); shape = (a, b)

    Source: OpenCV calib3d and fisheye modules; COLMAP sensor/models.h; Fitzgibbon 2001 (division), Devernay and
    Faugeras 2001 (fov), Khomutenko et al. 2016 (eucm); VisualSFM's documentation (inverse).
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
    curve: Literal["polynomial", "division", "inverse", "fov", "eucm"] = "polynomial"
    shape: tuple[float, ...] = ()
    """Parameters of a curve that is no polynomial."""
    prism: tuple[float, ...] = ()

    @property
    def is_pinhole(self) -> bool:
        """Nothing to undistort."""
        bends = (*self.radial, *self.radial_denominator, *self.tangential, *self.prism)
        is_straight = self.curve == "polynomial" or (self.curve != "fov" and self.shape[0] == 0)
        return is_straight and not self.fisheye and not any(bends)

    def scaled(self, width: int, height: int) -> "Lens":
        """The same lens for the photo at another size."""
        factors = width / self.width, height / self.height
        focal_px = self.focal_px[0] * factors[0], self.focal_px[1] * factors[1]
        principal_px = self.principal_px[0] * factors[0], self.principal_px[1] * factors[1]
        return replace(self, width=width, height=height, focal_px=focal_px, principal_px=principal_px)

    def fault(self) -> str | None:
        """What makes these intrinsics unusable, None when they are fine."""
        numbers = (*self.focal_px, *self.principal_px, *self.radial, *self.radial_denominator, *self.tangential)
        numbers += (*self.shape, *self.prism)
        if not all(abs(number) <= MAX_COEFFICIENT for number in numbers):
            return "its intrinsics are not finite numbers"
        if min(self.focal_px) <= 0:
            return f"its focal length is {min(self.focal_px):g}, expected more than 0 pixels"
        if not (0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX):
            return f"its camera claims {self.width} x {self.height} pixels"
        if self.curve == "fov" and not 0 < self.shape[0] < math.pi:
            return f"its angle of view is {self.shape[0]:g}, expected radians between 0 and pi"
        if self.curve == "eucm" and not (0 <= self.shape[0] <= 1 and self.shape[1] > 0):
            return f"its alpha and beta are {self.shape[0]:g} and {self.shape[1]:g}, expected 0 to 1 and more than 0"
        return None


_CURVES = {"FOV": "fov", "SIMPLE_DIVISION": "division", "DIVISION": "division", "EUCM": "eucm"}


def lens_from_colmap(model: str, width: int, height: int, params: tuple[float, ...]) -> Lens:
    """Build a lens from a supported COLMAP model and its parameters in COLMAP's order."""
    num_focal = 1 if model.startswith(("SIMPLE_", "RADIAL")) else 2
    focal_px = (params[0], params[num_focal - 1])
    principal_px = (params[num_focal], params[num_focal + 1])
    rest = params[num_focal + 2 :]
    lens = Lens(model, width, height, focal_px, principal_px, fisheye=model in FISHEYE_MODELS + PRISM_MODELS)
    if model in _CURVES:
        return replace(lens, curve=_CURVES[model], shape=rest)
    if model == "THIN_PRISM_FISHEYE":
        radial = (*rest[:2], *rest[4:6])
        return replace(lens, radial=radial, tangential=(rest[2], rest[3]), prism=(rest[6], 0.0, rest[7], 0.0))
    if model == "RAD_TAN_THIN_PRISM_FISHEYE":
        # Its tangential coefficients stand in the other order than OpenCV's.
        return replace(lens, radial=rest[:6], tangential=(rest[7], rest[6]), prism=rest[8:12])
    if model == "OPENCV":
        return replace(lens, radial=rest[:2], tangential=(rest[2], rest[3]))
    if model == "FULL_OPENCV":
        radial = (rest[0], rest[1], rest[4])
        return replace(lens, radial=radial, radial_denominator=rest[5:8], tangential=(rest[2], rest[3]))
    return replace(lens, radial=rest)


def unsupported(model: str) -> str:
    """Why a camera model cannot be used, and what can."""
    return (
        f"camera model {model[:40]} is not supported; supported are {', '.join(SUPPORTED_MODELS)}; "
        "undistort the photos to PINHOLE first"
    )


def distort(lens: Lens, points: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Map points of the normalised image plane (x/z, y/z) to pixels of the photo.

    Limits: meaningless beyond `largest_radius`, where a polynomial folds back.
    """
    moved = points * _radial_ratio(lens, points.square().sum(-1))[..., None]
    if lens.prism:
        bent = moved * _polynomial(lens.radial, moved.square().sum(-1))[..., None]
        # Of the two models with a prism the second sees points that the polynomial has moved.
        moved = bent + _off_axis(lens, moved if lens.model == "THIN_PRISM_FISHEYE" else bent)
    elif any(lens.tangential):
        moved = moved + _off_axis(lens, points)
    focal = torch.tensor(lens.focal_px, dtype=points.dtype)
    return moved * focal + torch.tensor(lens.principal_px, dtype=points.dtype)


def _radial_ratio(lens: Lens, squared: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """By how much a point at this squared radius of the normalised plane moves from the centre, prism apart."""
    if lens.fisheye:
        # The clamp keeps 0 / 0 away from the centre, where the ratio is 1 to more digits than float64 has.
        radius = squared.sqrt().clamp(min=1e-9)
        theta = torch.atan(radius)
        # A prism's lens bends off the axis what the angle alone has placed; its polynomial belongs to that.
        return theta / radius if lens.prism else theta * _polynomial(lens.radial, theta * theta) / radius
    match lens.curve:
        case "polynomial":
            return _polynomial(lens.radial, squared) / _polynomial(lens.radial_denominator, squared)
        case "division":
            return 2 / (1 + torch.sqrt(1 - 4 * lens.shape[0] * squared))
        case "inverse":
            return _inverse_ratio(lens.shape[0], squared)
        case "fov":
            radius = squared.sqrt().clamp(min=1e-9)
            return torch.atan(2 * radius * math.tan(lens.shape[0] / 2)) / (lens.shape[0] * radius)
        case "eucm":
            alpha, beta = lens.shape
            return 1 / (alpha * torch.sqrt(beta * squared + 1) + 1 - alpha)


def _inverse_ratio(k: float, squared: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Ratio d / r of r = d (1 + k d^2), by Newton's method from d = r; NaN where no d on the rising branch gives r."""
    radius = squared.sqrt().clamp(min=1e-9)
    moved = radius.clone() if k >= 0 else torch.minimum(radius, torch.full_like(radius, 1 / math.sqrt(-3 * k)) * 0.5)
    for _ in range(20):
        moved = moved - (moved * (1 + k * moved**2) - radius) / (1 + 3 * k * moved**2)
    residual = (moved * (1 + k * moved**2) - radius).abs()
    found = (residual <= 1e-6 * (1 + radius)) & (1 + 3 * k * moved**2 > 0)
    return torch.where(found, moved / radius, torch.full_like(moved, math.nan))


def _off_axis(lens: Lens, points: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """The tangential shift and the prism's at these points."""
    x, y = points.unbind(-1)
    squared = x * x + y * y
    p1, p2 = lens.tangential
    dx = 2 * p1 * x * y + p2 * (squared + 2 * x * x)
    dy = p1 * (squared + 2 * y * y) + 2 * p2 * x * y
    if lens.prism:
        s0, s1, s2, s3 = lens.prism
        dx, dy = dx + s0 * squared + s1 * squared**2, dy + s2 * squared + s3 * squared**2
    return torch.stack([dx, dy], dim=-1)


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
    squared = radius * radius
    mapped = radius * _radial_ratio(lens, squared)
    if lens.prism:
        mapped = mapped * _polynomial(lens.radial, mapped * mapped)
    falls = np.flatnonzero((mapped.diff() <= 0).numpy() | ~mapped.diff().isfinite().numpy())
    return float(radius[falls[0]]) if len(falls) else bound


def seen_by(lens: Lens, pixels: Float[Tensor, "*B 2"]) -> Bool[Tensor, "*B"]:
    """Whether these pixels lie on the photo."""
    x, y = pixels.unbind(-1)
    return (x >= 0) & (x <= lens.width) & (y >= 0) & (y <= lens.height)
