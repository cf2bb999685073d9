"""Rays to samples in occupied space."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.ops.records import MarchRange, RaySamples


def march(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    offsets: Float[Tensor, "R"],
    box: Float[Tensor, "4"],
    occupied: Bool[Tensor, "G G G"],
    span: MarchRange,
) -> RaySamples:
    """The steps along each ray whose middle lies in an occupied cell.

    The first step begins `offsets` (a share of its length, in [0, 1)) behind the point where the ray comes near enough;
    a step at distance t is max(step, cone t) long. `box` is the centre of a cube and half its side, in the scene's
    frame. The grid, indexed [z, y, x], covers the cube, or where the scene is contracted the ball of radius 2 into
    which all of space goes: y -> (2 - 1 / |y|) y / |y| outside the unit ball, y = (x - centre) / half. Gradients reach
    the rays through the positions; distances and lengths are constants.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E; Barron et al. 2022, Mip-NeRF 360,
    eq. 10.
    """
    with torch.no_grad():
        ts, deltas, ray = _occupied_steps(origins, directions, offsets, box, occupied, span)
    positions = grid_positions(origins[ray] + ts[:, None] * directions[ray], box, contracted=span.contracted)
    counts = torch.bincount(ray, minlength=len(origins))
    ray_offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    return RaySamples(positions, ts, deltas, ray_offsets)


def grid_positions(points: Float[Tensor, "P 3"], box: Float[Tensor, "4"], *, contracted: bool) -> Float[Tensor, "P 3"]:
    """Points of the scene in the grid's unit cube."""
    y = (points - box[:3]) / box[3]
    if not contracted:
        return (y + 1) / 2
    length = y.norm(dim=-1, keepdim=True).clamp(min=1)
    return ((2 - 1 / length) * y / length + 2) / 4


def _occupied_steps(
    origins: Tensor, directions: Tensor, offsets: Tensor, box: Tensor, occupied: Tensor, span: MarchRange
) -> tuple[Tensor, Tensor, Tensor]:
    """Middle, length and ray of each sample, by ray and distance."""
    t, end = _ray_ranges(origins, directions, box, span)
    start = t = t + offsets * (span.cone * t).clamp(min=span.step)
    found = []
    for k in range(span.max_steps):
        if not (t < end).any():
            break
        delta = (span.cone * t).clamp(min=span.step)
        middle = t + delta / 2
        places = grid_positions(origins + middle[:, None] * directions, box, contracted=span.contracted)
        cells = (places * len(occupied)).nan_to_num().clamp(0, len(occupied) - 1).long()
        ray = ((t < end) & occupied[cells[:, 2], cells[:, 1], cells[:, 0]]).nonzero()[:, 0]
        found.append((middle[ray], delta[ray], ray))
        t = t + delta if span.cone > 0 else start + (k + 1) * span.step
    parts = [torch.cat(part) for part in zip(*found, strict=True)] if found else [t[:0], t[:0], t[:0].long()]
    by_ray = torch.sort(parts[2], stable=True).indices
    return tuple(part[by_ray] for part in parts)


def _ray_ranges(origins: Tensor, directions: Tensor, box: Tensor, span: MarchRange) -> tuple[Tensor, Tensor]:
    """Where each ray begins and ends."""
    begin, end = torch.full_like(origins[:, 0], span.near), torch.full_like(origins[:, 0], span.far)
    if span.contracted:
        return begin, end
    faces = torch.stack([(box[:3] + sign * box[3] - origins) / directions for sign in (-1, 1)])
    return torch.maximum(begin, faces.amin(0).amax(-1)), torch.minimum(end, faces.amax(0).amin(-1))
