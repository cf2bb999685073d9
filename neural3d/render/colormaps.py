"""Numbers as colours."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

ColormapName = Literal["turbo", "viridis", "magma", "gray"]
COLORMAPS: tuple[ColormapName, ...] = get_args(ColormapName)

_MAGMA = (
    *((0, 0, 4), (10, 8, 34), (29, 17, 71), (54, 16, 107), (81, 18, 124), (106, 28, 129), (131, 38, 129)),
    *((156, 46, 127), (183, 55, 121), (208, 65, 111), (231, 82, 99), (245, 107, 92), (252, 137, 97)),
    *((254, 167, 114), (254, 196, 136), (253, 226, 163), (252, 253, 191)),
)
"""The map in which FLIP's authors show errors, at 17 even steps."""
_VIRIDIS = (
    *((68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142)),
    *((31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37)),
)
_TURBO = (
    (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943),
    (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604),
    (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973),
)
"""Polynomials of red, green and blue, constant first. Source: Mikhailov 2019, Turbo, an improved rainbow colormap."""


def colored(values: Float[Tensor, "*B"], name: ColormapName) -> Float[Tensor, "*B 3"]:
    """Display sRGB in [0, 1] of numbers, those outside [0, 1] like the nearest end."""
    position = values.clamp(0, 1)
    if name == "gray":
        return position[..., None].expand(*position.shape, 3)
    if name == "turbo":
        powers = torch.stack([position**k for k in range(6)], dim=-1)
        return (powers @ torch.tensor(_TURBO, dtype=values.dtype, device=values.device).T).clamp(0, 1)
    return _between(position, _MAGMA if name == "magma" else _VIRIDIS)


def _between(position: Float[Tensor, "*B"], table: tuple[tuple[int, int, int], ...]) -> Float[Tensor, "*B 3"]:
    colors = torch.tensor(table, dtype=position.dtype, device=position.device) / 255
    position = position * (len(colors) - 1)
    low = position.floor().long().clamp(max=len(colors) - 2)
    return torch.lerp(colors[low], colors[low + 1], (position - low)[..., None])
