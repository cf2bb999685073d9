"""Which Gaussians meet which tile, nearest first: the native operator and its fake."""

import torch
from jaxtyping import Int64
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import TILE_PX, Projected, TileBins
from neural3d.ops.validation import check_floats, check_positive


def bin_gaussians(projected: Projected, *, width: int, height: int, alpha_min: float = 1 / 255) -> TileBins:
    """List each tile's visible Gaussians by (depth, index); `neural3d.reference.bin_gaussians` is the specification.

    `alpha_min` must be the one of the projection; the native driver reads it from the extents.

    Raises:
        ValueError: A field of `projected` does not fit the others, or the image has no size.
        RuntimeError: More than 2^31 - 1 (tile, Gaussian) pairs; nothing was allocated for them.
    """
    lists = native().bin_gaussians(*_ellipses(projected, width, height), width, height)
    return TileBins(*lists, width, height)


def bin_gaussians_within(
    projected: Projected, *, width: int, height: int, capacity: int, alpha_min: float = 1 / 255
) -> tuple[TileBins, Int64[Tensor, ""]]:
    """As `bin_gaussians`, in lists of `capacity` entries; `neural3d.reference.bin_gaussians_within` specifies it.

    The host need not know how many pairs there are, so it waits for nothing on a GPU. The second result tells: where
    it is more than `capacity`, all lists are empty, and what is made of them must be thrown away.

    Raises:
        ValueError: A field of `projected` does not fit the others, the image has no size, or there can be no such
            capacity.
        RuntimeError: More than 2^31 - 1 (tile, Gaussian) pairs, on the CPU, which has to count them first.
    """
    if not 0 <= capacity < 1 << 31:
        raise ValueError(f"capacity: expected 0 to 2^31 - 1 pairs, got {capacity}")
    *lists, pairs = native().bin_gaussians_within(*_ellipses(projected, width, height), width, height, capacity)
    return TileBins(*lists, width, height), pairs


def _ellipses(projected: Projected, width: int, height: int) -> tuple[Tensor, ...]:
    """As the operators take them; raises: ValueError."""
    n = len(projected.means_px)
    check_floats(
        means_px=(projected.means_px, (n, 2)),
        conics=(projected.conics, (n, 3)),
        depths=(projected.depths, (n,)),
        extents_px=(projected.extents_px, (n, 2)),
    )
    check_positive(width=width, height=height)
    fields = (projected.means_px, projected.conics, projected.depths, projected.extents_px)
    return tuple(field.detach() for field in fields)


native()


@torch.library.register_fake("neural3d::bin_gaussians")
def _(means_px, conics, depths, extents_px, width, height):
    tiles = -(-width // TILE_PX) * -(-height // TILE_PX)
    # How many pairs there are depends on the numbers.
    pairs = torch.library.get_ctx().new_dynamic_size()
    sizes = (tiles + 1, pairs, pairs, means_px.shape[0] + 1)
    return tuple(means_px.new_empty(size, dtype=torch.int32) for size in sizes)


@torch.library.register_fake("neural3d::bin_gaussians_within")
def _(means_px, conics, depths, extents_px, width, height, capacity):
    tiles = -(-width // TILE_PX) * -(-height // TILE_PX)
    sizes = (tiles + 1, capacity, capacity, means_px.shape[0] + 1)
    return *(means_px.new_empty(size, dtype=torch.int32) for size in sizes), means_px.new_empty((), dtype=torch.int64)
