"""From display sRGB, in which models are trained and blended, to the scene-linear light that compositors work in."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.srgb import decode_srgb, encode_srgb

ColorSpace = Literal["linear", "acescg", "srgb"]
"""Linear light with the primaries of Rec.709 (those of sRGB); of AP1 with the white of ACES; display sRGB as it is."""

CHROMATICITIES = {
    "linear": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    "srgb": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    "acescg": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
}
"""x and y of red, green, blue and white."""
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def to_scene(
    colors: Float[Tensor, "*B 3"], alphas: Float[Tensor, "*B 1"], space: ColorSpace, *, is_light: bool = False
) -> Float[Tensor, "*B 3"]:
    """Premultiplied display sRGB (a render over black) to premultiplied colours of another space.

    Of colours that are light (`is_light`, linear Rec.709) only the primaries change, or the curve, for display sRGB.

    Splats and fields are fitted so that their colours, blended by alpha *as display values*, give the photo. So
    blending comes first and the curve after it: decoding each Gaussian's colour would blend in linear light and
    brighten every soft edge. And the curve is not linear, so it must see the colour of what is there, not that colour
    dimmed by its coverage: divide by alpha, decode, change primaries, multiply by alpha again. Where alpha is 0 there
    is no colour. Values above 1 go on along the curve; negative ones, which no display shows, become 0.
    """
    if space == "srgb":
        return encode_srgb(straight_alpha(colors, alphas)) * alphas if is_light else colors
    straight = straight_alpha(colors, alphas).clamp(min=0)
    light = straight if is_light else decode_srgb(straight)
    if space == "acescg":
        light = light @ acescg_from_linear().to(light).T
    return light * alphas


def straight_alpha(colors: Float[Tensor, "*B 3"], alphas: Float[Tensor, "*B 1"]) -> Float[Tensor, "*B 3"]:
    """The colour of what is there, undimmed by its coverage; 0 where nothing is."""
    return torch.where(alphas > 0, colors / alphas.clamp(min=1e-8), 0)


def acescg_from_linear() -> Float[Tensor, "3 3"]:
    """Linear Rec.709 to ACEScg, whites matched; float64.

    Source: SMPTE RP 177 (matrices from chromaticities); Bradford's adaptation, as the ACES transforms have it.
    """
    bradford = torch.tensor(_BRADFORD, dtype=torch.float64)
    here, there = (bradford @ _white(CHROMATICITIES[space]) for space in ("linear", "acescg"))
    adapted = torch.linalg.inv(bradford) @ torch.diag(there / here) @ bradford
    return torch.linalg.inv(_xyz_from_rgb(CHROMATICITIES["acescg"])) @ adapted @ _xyz_from_rgb(CHROMATICITIES["linear"])


def _xyz_from_rgb(chromaticities: tuple[float, ...]) -> Float[Tensor, "3 3"]:
    columns = torch.stack([_xyz(*chromaticities[2 * i : 2 * i + 2]) for i in range(3)], dim=1)
    return columns @ torch.diag(torch.linalg.solve(columns, _white(chromaticities)))


def _white(chromaticities: tuple[float, ...]) -> Float[Tensor, "3"]:
    return _xyz(*chromaticities[6:])


def _xyz(x: float, y: float) -> Float[Tensor, "3"]:
    return torch.tensor([x / y, 1.0, (1 - x - y) / y], dtype=torch.float64)
