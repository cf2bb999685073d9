"""Tiles that repeat without seams, from a patch of a material."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import Texels, quilt
from neural3d.priors.fitting import seeded

MIN_SIDE_PX = 32
_BAND = 0.2
"""Of a side: how wide the cross is that is filled in anew."""
_BLOCK_PX = 17


def tile(patch: Float[Tensor, "3 H W"], seed: int = 0) -> Float[Tensor, "3 H W"]:
    """A patch whose opposite sides fit, in [-1, 1].

    It is moved by half, so that its borders meet in its middle as a cross, and the cross is quilted over with its own
    texels; what lies at the borders now are neighbours of the patch's middle, and fit.

    Raises: InputError where the patch is too small.
    """
    height, width = patch.shape[1:]
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"the patch is {width} x {height}; a tile needs at least {MIN_SIDE_PX} x {MIN_SIDE_PX}")
    moved = patch.roll((height // 2, width // 2), dims=(1, 2))
    cross = torch.zeros(height, width, dtype=torch.bool)
    for axis, length in enumerate((height, width)):
        half = max(_BLOCK_PX // 2, round(_BAND * length / 2))
        cross.narrow(axis, length // 2 - half, 2 * half)[...] = True
    texels = Texels((patch,), (torch.ones(height, width, dtype=torch.bool),))
    # What the cross leaves at the borders is repeated there, so that it is known on all sides.
    reach = min(_BLOCK_PX, min(height, width) // 2)
    around, open_ = (_wrapped(layer, reach) for layer in (moved, cross[None]))
    filled = quilt(around, open_[0], texels, seeded(seed))[:, reach:-reach, reach:-reach]
    for axis in (0, 1):
        filled = _joined(filled, cross, axis, reach // 2, texels, seed)
    return filled.clamp(-1, 1)


def _joined(
    filled: Float[Tensor, "3 H W"], cross: Bool[Tensor, "H W"], axis: int, depth: int, texels: Texels, seed: int
) -> Float[Tensor, "3 H W"]:
    """Both ends of one arm of the cross filled anew, as one: each by itself, they would not fit where tiles meet."""
    length = cross.shape[axis]
    ends = torch.zeros_like(cross)
    for start in (0, length - depth):
        ends.narrow(axis, start, depth)[...] = cross.narrow(axis, start, depth)
    # The border becomes the middle.
    open_, turned = ends.roll(length // 2, dims=axis), filled.roll(length // 2, dims=axis + 1)
    return quilt(turned, open_, texels, seeded(seed)).roll(-(length // 2), dims=axis + 1)


def _wrapped(layer: Tensor, reach: int) -> Tensor:
    layer = torch.cat([layer[:, -reach:], layer, layer[:, :reach]], dim=1)
    return torch.cat([layer[:, :, -reach:], layer, layer[:, :, :reach]], dim=2)
