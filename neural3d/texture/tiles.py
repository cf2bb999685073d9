"""Tiles that repeat without seams, from a patch of a material."""

import torch
from jaxtyping import Float
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
    # What the cross leaves at the borders is repeated there, so that the ends of its arms fit, too.
    reach = min(_BLOCK_PX, min(height, width) // 2)
    around, open_ = (_wrapped(layer, reach) for layer in (moved, cross[None]))
    inner = (slice(None), slice(reach, -reach), slice(reach, -reach))
    is_known = torch.ones(height, width, dtype=torch.bool)
    for _ in range(2):  # the arms' ends once from each side
        filled = quilt(around, open_[0], Texels((patch,), (is_known,)), seeded(seed))
        around, open_ = _wrapped(filled[inner], reach), _wrapped(_ends(cross, reach)[None], reach)
    return filled[inner].clamp(-1, 1)


def _ends(cross: Tensor, reach: int) -> Tensor:
    """Where the arms of the cross meet the border."""
    ends = torch.zeros_like(cross)
    for axis in (0, 1):
        length = cross.shape[axis]
        for start in (0, length - reach // 2):
            ends.narrow(axis, start, reach // 2)[...] |= cross.narrow(axis, start, reach // 2)
    return ends


def _wrapped(layer: Tensor, reach: int) -> Tensor:
    layer = torch.cat([layer[:, -reach:], layer, layer[:, :reach]], dim=1)
    return torch.cat([layer[:, :, -reach:], layer, layer[:, :, :reach]], dim=2)
