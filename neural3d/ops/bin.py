"""Which Gaussians meet which tile, nearest first: the native operator and its fake."""

import torch

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
    n = len(projected.means_px)
    check_floats(
        means_px=(projected.means_px, (n, 2)),
        conics=(projected.conics, (n, 3)),
        depths=(projected.depths, (n,)),
        extents_px=(projected.extents_px, (n, 2)),
    )
    check_positive(width=width, height=height)
    lists = native().bin_gaussians(
        projected.means_px.detach(),
        projected.conics.detach(),
        projected.depths.detach(),
        projected.extents_px.detach(),
        width,
        height,
    )
    return TileBins(*lists, width, height)


native()


@torch.library.register_fake("neural3d::bin_gaussians")
def _(means_px, conics, depths, extents_px, width, height):
    tiles = -(-width // TILE_PX) * -(-height // TILE_PX)
    # How many pairs there are depends on the numbers.
    pairs = torch.library.get_ctx().new_dynamic_size()
    sizes = (tiles + 1, pairs, pairs, means_px.shape[0] + 1)
    return tuple(means_px.new_empty(size, dtype=torch.int32) for size in sizes)
