"""Binning: which tiles a Gaussian meets, in which order, and who owns which slot."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from neural3d.ops.records import Projected, TileBins

from .backends import Backend, project
from .random_scenes import make_gaussians, make_view

SIZES = [(37, 29), (16, 16), (1, 1), (1, 17), (33, 47), (80, 64)]


def random_projected(reference: Backend, width: int, height: int, dtype: torch.dtype, count: int = 300) -> Projected:
    """Gaussians of all sizes, some culled, some thin, as the twin projects them."""
    gaussians = make_gaussians(count, seed=5, size=0.08)
    gaussians["log_scales"] += torch.linspace(-2, 1.5, count, dtype=torch.float64)[:, None]
    gaussians["log_scales"][::3, 0] -= 3
    gaussians["means_world"] *= 1.5
    view = make_view(width, height, focal=0.8 * max(width, height))
    return cast(project(reference, gaussians, view), dtype)


def cast(projected: Projected, dtype: torch.dtype) -> Projected:
    """The same rows in another precision."""
    fields = {name: getattr(projected, name).to(dtype) for name in projected.__dataclass_fields__}
    return Projected(**fields)


def tile_of_intersection(bins: TileBins) -> Tensor:
    """The tile that each list entry belongs to."""
    counts = bins.tile_offsets.diff().long()
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def pairs(bins: TileBins) -> set[tuple[int, int]]:
    """(tile, Gaussian) pairs."""
    return set(zip(tile_of_intersection(bins).tolist(), bins.gaussian_from_intersection.tolist(), strict=True))


def pairs_with_light(projected: Projected, width: int, height: int, alpha_min: float) -> set[tuple[int, int]]:
    """Tiles with a pixel centre at which alpha >= alpha_min, by looking at all pixels."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    tile = ((y // 16) * -(-width // 16) + x // 16).long()
    dx, dy = x[..., None] - projected.means_px[:, 0], y[..., None] - projected.means_px[:, 1]
    a, b, c = projected.conics.unbind(-1)
    alphas = projected.opacities * torch.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
    lit = (alphas >= alpha_min) & (projected.extents_px[:, 0] > 0)
    pixel_y, pixel_x, gaussian = lit.nonzero(as_tuple=True)
    return set(zip(tile[pixel_y, pixel_x].tolist(), gaussian.tolist(), strict=True))


def pairs_of_boxes(projected: Projected, width: int, height: int) -> set[tuple[int, int]]:
    """Tiles that the box around the ellipse touches, a pixel wider than it is."""
    tiles_x, tiles_y = -(-width // 16), -(-height // 16)
    found = set()
    for gaussian, (mean, extent) in enumerate(zip(projected.means_px, projected.extents_px, strict=True)):
        if extent[0] > 0:
            (x0, y0), (x1, y1) = (mean - extent - 1).tolist(), (mean + extent + 1).tolist()
            columns = [i for i in range(tiles_x) if x0 <= 16 * i + 16 and x1 >= 16 * i]
            rows = [j for j in range(tiles_y) if y0 <= 16 * j + 16 and y1 >= 16 * j]
            found |= {(j * tiles_x + i, gaussian) for i in columns for j in rows}
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_no_tile_with_light_is_missed_and_none_beyond_the_box_is_listed(backend, reference, size, dtype):
    projected = random_projected(reference, *size, dtype)
    found = pairs(backend.bin_gaussians(projected, width=size[0], height=size[1]))
    assert len(found) > 0
    # An alpha that rounds to either side of 1/255 may go either way.
    assert pairs_with_light(cast(projected, torch.float64), *size, (1 + 1e-5) / 255) <= found
    assert found <= pairs_of_boxes(projected, *size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ellipse_counts_and_not_its_box(native, reference, dtype):
    """Native drivers may take the box where it is one tile wide or high."""
    projected = random_projected(reference, 160, 128, dtype, count=1000)
    exact = pairs(reference.bin_gaussians(cast(projected, torch.float64), width=160, height=128))
    found = pairs(native.bin_gaussians(projected, width=160, height=128))
    assert len(exact) < 0.9 * len(pairs_of_boxes(projected, 160, 128))
    assert len(found - exact) <= 0.02 * len(exact)
    assert len(exact - found) <= (0 if dtype == torch.float64 else 1e-3 * len(exact))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_first_then_by_index(backend, reference, dtype):
    projected = random_projected(reference, 37, 29, dtype)
    projected = replace(projected, depths=(4 * projected.depths).round() / 4)  # many equal depths
    bins = backend.bin_gaussians(projected, width=37, height=29)
    depths = projected.depths[bins.gaussian_from_intersection.long()].tolist()
    entries = zip(tile_of_intersection(bins).tolist(), depths, bins.gaussian_from_intersection.tolist(), strict=True)
    keys = list(entries)
    assert keys == sorted(set(keys))
    assert len({depth for _, depth, _ in keys}) < len({gaussian for _, _, gaussian in keys})


def test_slots_are_owned_by_gaussians_in_the_order_of_their_tiles(backend, reference):
    projected = random_projected(reference, 80, 64, torch.float32)
    bins = backend.bin_gaussians(projected, width=80, height=64)
    tiles, slots = tile_of_intersection(bins), bins.slot_from_intersection.long()
    intersection_from_slot = torch.argsort(slots)
    assert torch.equal(slots.sort().values, torch.arange(len(slots)))
    owners = bins.gaussian_from_intersection.long()[intersection_from_slot]
    assert torch.equal(owners, torch.repeat_interleave(torch.arange(300), bins.slot_offsets.diff().long()))
    by_owner = (owners * 20 + tiles[intersection_from_slot]).diff()
    assert (by_owner > 0).all()


def test_offsets_span_the_lists(backend, reference):
    projected = random_projected(reference, 80, 64, torch.float32)
    bins = backend.bin_gaussians(projected, width=80, height=64)
    count = len(bins.gaussian_from_intersection)
    assert (bins.width, bins.height) == (80, 64)
    assert len(bins.tile_offsets) == 5 * 4 + 1 and len(bins.slot_offsets) == 300 + 1
    for offsets in (bins.tile_offsets, bins.slot_offsets):
        assert offsets[0] == 0 and offsets[-1] == count and (offsets.diff() >= 0).all()
    for indices in (bins.tile_offsets, bins.slot_offsets, bins.gaussian_from_intersection, bins.slot_from_intersection):
        assert indices.dtype == torch.int32
    culled = projected.extents_px[:, 0] == 0
    assert culled.any() and (bins.slot_offsets.diff()[culled] == 0).all()


def test_without_a_cutoff_everyone_meets_every_tile(backend, reference):
    seen = project(reference, make_gaussians(20), make_view(), alpha_min=0.0)
    bins = backend.bin_gaussians(seen, width=37, height=29, alpha_min=0.0)
    assert bins.tile_offsets.diff().tolist() == [20] * 6


def test_sixteen_pixels_are_one_tile(backend, reference):
    projected = random_projected(reference, 80, 80, torch.float64)
    inner = projected.means_px - projected.extents_px, projected.means_px + projected.extents_px
    kept = (projected.extents_px > 0) & (inner[0] > 1) & (inner[1] < 79)  # so that no border cuts them
    kept = kept.all(dim=1, keepdim=True)
    projected = replace(projected, extents_px=projected.extents_px * kept)
    here = pairs(backend.bin_gaussians(projected, width=80, height=80))
    moved = replace(projected, means_px=projected.means_px + 16 * kept)
    there = pairs(backend.bin_gaussians(moved, width=96, height=96))
    assert len(here) > 50
    assert there == {(6 * (tile // 5 + 1) + tile % 5 + 1, gaussian) for tile, gaussian in here}


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_gaussians(backend, reference, count):
    projected = project(reference, make_gaussians(count), make_view())
    bins = backend.bin_gaussians(projected, width=37, height=29)
    assert len(bins.tile_offsets) == 7 and len(bins.slot_offsets) == count + 1
    assert len(bins.gaussian_from_intersection) == bins.tile_offsets[-1] == bins.slot_offsets[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_lists_the_twins_pairs_in_the_twins_order(native, reference, dtype):
    projected = random_projected(reference, 80, 64, dtype)
    expected = reference.bin_gaussians(projected, width=80, height=64)
    actual = native.bin_gaussians(projected, width=80, height=64)
    common = pairs(expected) & pairs(actual)

    def listed(bins: TileBins) -> list[tuple[int, int]]:
        entries = zip(tile_of_intersection(bins).tolist(), bins.gaussian_from_intersection.tolist(), strict=True)
        return [entry for entry in entries if entry in common]

    assert listed(actual) == listed(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_needles_across_the_image_lose_no_tile(native, dtype):
    """A thousand times as long as wide, the determinant cancels to a few digits in single precision."""
    width, height, count = 640, 480, 48
    angle = torch.linspace(0.01, 3.1, count, dtype=torch.float64)
    along, across = torch.linspace(100, 700, count, dtype=torch.float64) ** 2, 0.55**2
    cos, sin = angle.cos(), angle.sin()
    xx, yy = along * cos**2 + across * sin**2, along * sin**2 + across * cos**2
    xy = (along - across) * cos * sin
    determinant, opacity = along * across, torch.full_like(angle, 0.9)
    reach = (2 * (opacity * 255).log()).sqrt()
    needles = Projected(
        means_px=torch.stack([320 + 200 * cos, 240 + 150 * (3 * angle).sin()], dim=-1),
        conics=torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None],
        depths=torch.linspace(1, 2, count, dtype=torch.float64),
        opacities=opacity,
        extents_px=reach[:, None] * torch.stack([xx.sqrt(), yy.sqrt()], dim=-1),
    )
    needles = cast(needles, dtype)
    found = pairs(native.bin_gaussians(needles, width=width, height=height))
    lit = pairs_with_light(cast(needles, torch.float64), width, height, 1.01 / 255)
    assert lit <= found
    assert len(found) < 1.5 * len(lit) < 0.3 * len(pairs_of_boxes(needles, width, height))


@pytest.mark.parametrize("spare", [0, 1, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(37, 29), (256, 256)])
def test_lists_within_a_capacity_are_the_lists(backend, reference, size, dtype, spare):
    """256 tiles are as many as eight bits count: the last tile has the key that stands behind all pairs."""
    projected = random_projected(reference, *size, dtype)
    exact = backend.bin_gaussians(projected, width=size[0], height=size[1])
    count = len(exact.gaussian_from_intersection)
    options = {"width": size[0], "height": size[1], "capacity": count + spare}
    within, pairs = backend.bin_gaussians_within(projected, **options)
    assert int(pairs) == count > 0 and exact.tile_offsets[-2] < count
    assert torch.equal(within.tile_offsets, exact.tile_offsets) and torch.equal(within.slot_offsets, exact.slot_offsets)
    for name in ("gaussian_from_intersection", "slot_from_intersection"):
        entries = getattr(within, name)
        assert torch.equal(entries[:count], getattr(exact, name)) and entries[count:].tolist() == [-1] * spare


@pytest.mark.parametrize("short", [1, 50, None])
def test_lists_without_room_are_empty_and_say_what_they_need(backend, reference, short):
    projected = random_projected(reference, 80, 64, torch.float32)
    count = len(backend.bin_gaussians(projected, width=80, height=64).gaussian_from_intersection)
    capacity = 0 if short is None else count - short
    bins, pairs = backend.bin_gaussians_within(projected, width=80, height=64, capacity=capacity)
    assert int(pairs) == count > 50 and pairs.shape == ()
    assert not bins.tile_offsets.any() and not bins.slot_offsets.any()
    assert (len(bins.tile_offsets), len(bins.slot_offsets)) == (21, 301)
    for entries in (bins.gaussian_from_intersection, bins.slot_from_intersection):
        assert entries.tolist() == [-1] * capacity


@pytest.mark.parametrize("count", [0, 1])
def test_a_capacity_for_hardly_any_gaussians(backend, reference, count):
    projected = project(reference, make_gaussians(count), make_view())
    expected = backend.bin_gaussians(projected, width=37, height=29)
    bins, pairs = backend.bin_gaussians_within(projected, width=37, height=29, capacity=9)
    assert int(pairs) == expected.tile_offsets[-1] <= 9 and len(bins.slot_from_intersection) == 9
    assert torch.equal(bins.tile_offsets, expected.tile_offsets)


@pytest.mark.parametrize("capacity", [-1, 1 << 31])
def test_no_list_has_such_a_capacity(backend, reference, capacity):
    if backend.name == "reference":
        pytest.skip("the specification leaves arguments to the wrappers")
    projected = random_projected(reference, 37, 29, torch.float32)
    with pytest.raises(ValueError, match="capacity: expected 0 to 2"):
        backend.bin_gaussians_within(projected, width=37, height=29, capacity=capacity)
