"""The CUDA driver of binning lists what the CPU's lists, entry by entry."""

import pytest
import torch
from torch import Tensor

from neural3d.ops.library import native

from .build import ORDERS, emulated_operators

SIZES = [(1, 1), (1, 17), (33, 16), (80, 64), (257, 257), (700, 20), (20, 900)]


def ellipses(count: int, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """means_px, conics, depths, extents_px: round and thin, tiny and larger than the image, a few not visible."""
    generator = torch.Generator().manual_seed(count)
    uniform = torch.rand(6, count, generator=generator, dtype=torch.float64)
    means = (1.4 * uniform[:2].T - 0.2) * torch.tensor(size, dtype=torch.float64)
    long, thin = 0.5 * 400 ** uniform[2], 0.5 * 40 ** (uniform[2] * uniform[3])
    cos, sin = (torch.pi * uniform[4]).cos(), (torch.pi * uniform[4]).sin()
    covariance = torch.stack(
        [(long * cos) ** 2 + (thin * sin) ** 2, (long**2 - thin**2) * cos * sin, (long * sin) ** 2 + (thin * cos) ** 2]
    )
    conics = torch.stack([covariance[2], -covariance[1], covariance[0]], 1) / (long * thin)[:, None] ** 2
    extents = 3 * covariance[[0, 2]].sqrt().T
    extents[::7] = 0
    depths = (10 * uniform[5]).ceil() / 4  # many of them equal
    return tuple(tensor.to(dtype).contiguous() for tensor in (means, conics, depths, extents))


def assert_same_lists(arguments: tuple, size: tuple[int, int]) -> Tensor:
    """Returns the tiles' offsets."""
    expected = native().bin_gaussians(*arguments, *size)
    for actual, wanted in zip(emulated_operators().bin_gaussians(*arguments, *size), expected, strict=True):
        assert torch.equal(actual, wanted)
    return expected[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_the_same_lists_as_the_cpu(size, dtype):
    for count in (0, 1, 31, 400):
        offsets = assert_same_lists(ellipses(count, size, dtype), size)
    assert offsets[-1] > 100


@pytest.mark.parametrize("order", ORDERS)
def test_in_every_order_of_threads(order):
    emulated_operators().set_order(order)
    assert_same_lists(ellipses(600, (257, 129), torch.float32), (257, 129))
    emulated_operators().set_order(ORDERS[0])


def test_more_tiles_than_sixteen_bits_count():
    size = (4200, 4100)
    offsets = assert_same_lists(ellipses(40, size, torch.float32), size)
    assert len(offsets) - 1 > 65536


def test_nobody_is_visible():
    means, conics, depths, extents = ellipses(50, (80, 64), torch.float32)
    offsets = assert_same_lists((means, conics, depths, 0 * extents), (80, 64))
    assert (offsets == 0).all()


def test_numbers_that_nobody_should_pass():
    values = torch.tensor([0.0, -1.0, torch.nan, torch.inf, -torch.inf, 1e20, -1e20, 1e-40, 3e38])
    generator = torch.Generator().manual_seed(3)
    for _ in range(10):
        arguments = ellipses(200, (80, 64), torch.float32)
        for tensor in arguments:
            chosen = torch.rand(tensor.shape, generator=generator) < 0.05
            tensor[chosen] = values[torch.randint(len(values), tensor.shape, generator=generator)][chosen]
        assert_same_lists(arguments, (80, 64))


def test_too_many_pairs_are_refused_with_their_number():
    """Each of 129 Gaussians without an end meets each of 2^24 tiles."""
    means, conics, depths, extents = ellipses(129, (1 << 16, 1 << 16), torch.float32)
    extents[:] = 1e9
    with pytest.raises(RuntimeError, match=rf"{129 << 24} \(tile, Gaussian\) pairs in one image; at most 2147483647"):
        emulated_operators().bin_gaussians(means, conics, depths, extents, 1 << 16, 1 << 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_with_room_to_spare_they_are_the_same(drivers, size, dtype):
    for count in (0, 1, 31, 400):
        arguments = ellipses(count, size, dtype)
        pairs = len(native().bin_gaussians(*arguments, *size)[1])
        for capacity in (0, max(pairs - 1, 0), pairs, pairs + 1, 2 * pairs + 77):
            expected = native().bin_gaussians_within(*arguments, *size, capacity)
            for actual, wanted in zip(drivers.bin_gaussians_within(*arguments, *size, capacity), expected, strict=True):
                assert torch.equal(actual, wanted)


def test_the_host_waits_for_the_number_of_pairs_but_where_it_has_planned():
    """The counter itself is tested by the first half."""
    operators, arguments = emulated_operators(), ellipses(600, (257, 129), torch.float32)
    before = operators.host_waits()
    operators.bin_gaussians(*arguments, 257, 129)
    assert operators.host_waits() == before + 1
    operators.bin_gaussians_within(*arguments, 257, 129, 100_000)
    operators.bin_gaussians_within(*arguments, 257, 129, 10)
    assert operators.host_waits() == before + 1


def test_too_many_pairs_for_any_list_are_told_without_a_wait():
    """Their number is more than 32 bits hold: what is counted modulo 2^32 must not pass for few."""
    count, size = (1 << 16) + 3, (1 << 12, 1 << 12)
    means, conics, depths, extents = (tensor[:1].repeat(count, 1) for tensor in ellipses(2, size, torch.float32))
    extents[:] = 1e9
    *lists, pairs = emulated_operators().bin_gaussians_within(means, conics, depths[:, 0], extents, *size, 1 << 20)
    assert int(pairs) == count << 16 and int(pairs) % (1 << 32) < 1 << 20
    assert all(not offsets.any() for offsets in (lists[0], lists[3]))
