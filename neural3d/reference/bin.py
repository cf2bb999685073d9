"""Which Gaussians meet which tile, nearest first."""

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from neural3d.ops.records import TILE_PX, Projected, TileBins


def bin_gaussians(projected: Projected, *, width: int, height: int, alpha_min: float = 1 / 255) -> TileBins:
    """List for every tile the visible Gaussians whose ellipse {alpha >= alpha_min} touches it, by (depth, index).

    Tiles are closed squares of 16 px in row-major order; those at the right and lower border reach beyond the image.

    Limits: compares every Gaussian with every tile. A native driver may list a Gaussian for a tile that its ellipse
    misses by a rounding error.
    """
    tiles_x, tiles_y = -(-width // TILE_PX), -(-height // TILE_PX)
    nearest_first = torch.sort(projected.depths.detach(), stable=True).indices
    tile, rank = _meets(projected, tiles_x, tiles_y, alpha_min)[:, nearest_first].nonzero(as_tuple=True)
    gaussian = nearest_first[rank]

    order = torch.argsort(gaussian * tiles_x * tiles_y + tile)
    slot = torch.empty_like(order)
    slot[order] = torch.arange(len(order), device=order.device)
    return TileBins(
        _offsets(tile, tiles_x * tiles_y),
        gaussian.int(),
        slot.int(),
        _offsets(gaussian, len(nearest_first)),
        width,
        height,
    )


def bin_gaussians_within(
    projected: Projected, *, width: int, height: int, capacity: int, alpha_min: float = 1 / 255
) -> tuple[TileBins, Int64[Tensor, ""]]:
    """The same in lists of `capacity` entries, -1 behind the last pair, and how many pairs there are.

    Where they are more than `capacity`, all lists are empty.
    """
    bins = bin_gaussians(projected, width=width, height=height, alpha_min=alpha_min)
    lists = [bins.gaussian_from_intersection, bins.slot_from_intersection]
    offsets = [bins.tile_offsets, bins.slot_offsets]
    pairs = len(lists[0])
    if pairs > capacity:
        lists, offsets = [entries[:0] for entries in lists], [torch.zeros_like(numbers) for numbers in offsets]
    gaussian, slot = (torch.nn.functional.pad(entries, (0, capacity - len(entries)), value=-1) for entries in lists)
    return TileBins(offsets[0], gaussian, slot, offsets[1], width, height), torch.tensor(pairs, device=gaussian.device)


def _offsets(owner: Int[Tensor, "I"], num_owners: int) -> Int[Tensor, "num_owners_plus_1"]:
    counts = torch.bincount(owner, minlength=num_owners)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()


def _meets(projected: Projected, tiles_x: int, tiles_y: int, alpha_min: float) -> Bool[Tensor, "T N"]:
    """Whether the least value of the quadratic form over each tile lies within the ellipse."""
    device = projected.means_px.device
    y, x = torch.meshgrid(torch.arange(tiles_y, device=device), torch.arange(tiles_x, device=device), indexing="ij")
    corners_px = TILE_PX * torch.stack([x, y], dim=-1).reshape(-1, 1, 2)
    low, high = (corners_px - projected.means_px).detach(), (corners_px + TILE_PX - projected.means_px).detach()

    a, b, c = projected.conics.detach().unbind(-1)
    inside = ((low <= 0) & (high >= 0)).all(dim=-1)
    (low_x, low_y), (high_x, high_y) = low.unbind(-1), high.unbind(-1)
    least = torch.stack([_least_on_edge(a, b, c, edge, low_y, high_y) for edge in (low_x, high_x)])
    least = torch.cat([least, torch.stack([_least_on_edge(c, b, a, edge, low_x, high_x) for edge in (low_y, high_y)])])
    least = torch.where(inside, 0, least.amin(dim=0))

    reach = torch.full_like(a, torch.inf) if alpha_min == 0 else 2 * (projected.opacities.detach() / alpha_min).log()
    return (projected.extents_px[:, 0] > 0) & (least <= reach)


def _least_on_edge(
    a: Float[Tensor, "N"],
    b: Float[Tensor, "N"],
    c: Float[Tensor, "N"],
    x: Float[Tensor, "T N"],
    low: Float[Tensor, "T N"],
    high: Float[Tensor, "T N"],
) -> Float[Tensor, "T N"]:
    """The minimum of a x^2 + 2 b x y + c y^2 over y in [low, high] for a fixed x."""
    y = torch.minimum(torch.maximum(-b / c * x, low), high)
    return a * x * x + 2 * b * x * y + c * y * y
