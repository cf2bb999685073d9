"""The CUDA drivers of the rasterizer against the CPU's: many channels, long lists, odd sizes, bad numbers."""

from dataclasses import dataclass

import pytest
import torch
from ops.tolerances import FROM_SCALE, assert_close, assert_close_but_for_flips
from torch import Tensor

from neural3d.ops.library import native

from .build import ORDERS, emulated_operators

TOLERANCES = {
    torch.float32: ("float32 devices", "float32 devices' gradients"),
    torch.float64: ("float64 twin", "float64 twin"),
}
FLIPPED_GRADIENTS = 0.01
"""Share of the numbers of a gradient."""
SIZES = [(1, 1), (1, 17), (17, 1), (16, 16), (33, 47), (257, 40), (40, 257)]


@dataclass(frozen=True)
class Scene:
    """Ellipses, their tiles' lists, an image's size, and what pulls on the image."""

    ellipses: tuple[Tensor, ...]
    """means_px, conics, opacities, colors, background."""
    bins: tuple[Tensor, ...]
    size: tuple[int, int]
    pulls: tuple[Tensor, Tensor]

    def blend(self, operators, cutoffs: tuple[float, float], *, with_state: bool = True) -> tuple[Tensor, ...]:
        return operators.rasterize(*self.ellipses, *self.bins, *self.size, *cutoffs, with_state)

    def pull(self, operators, cutoffs: tuple[float, float], blended: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return operators.rasterize_vjp(*self.ellipses, *self.bins, *self.size, *cutoffs, *blended, *self.pulls)


def scene(
    count: int,
    size: tuple[int, int],
    channels: int,
    dtype: torch.dtype,
    *,
    faintest: float = 0.02,
    spread: float = 0.15,
) -> Scene:
    """Random ellipses and their lists by the CPU's binning; `spread` is their size as a part of the image."""
    generator = torch.Generator().manual_seed(count + channels)
    uniform = torch.rand(5, count, generator=generator, dtype=torch.float64)
    means = uniform[:2].T * torch.tensor(size, dtype=torch.float64)
    deviation = 0.6 + spread * max(size) * uniform[2:4].T
    lean = 1.6 * (uniform[4] - 0.5)
    conics = torch.stack([1 / deviation[:, 0] ** 2, lean / deviation.prod(1), 1 / deviation[:, 1] ** 2], 1)
    opacities = faintest + 0.95 * torch.rand(count, generator=generator, dtype=torch.float64) ** 2
    reach = (2 * (255 * opacities).log()).clamp(min=0) / (1 - lean**2)
    extents = deviation * reach.sqrt()[:, None]
    numbers = (
        torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((count, channels), (channels,))
    )
    pulls = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((channels, *size[::-1]), size[::-1])
    )
    ellipses = tuple(tensor.to(dtype).contiguous() for tensor in (means, conics, opacities, *numbers))
    depths = torch.rand(count, generator=generator).to(dtype) + 1
    bins = native().bin_gaussians(*ellipses[:2], depths, extents.to(dtype).contiguous(), *size)
    return Scene(ellipses, bins, size, tuple(tensor.to(dtype) for tensor in pulls))


def assert_as_on_the_cpu(drivers, made: Scene, cutoffs: tuple[float, float] = (1 / 255, 1e-4)) -> tuple[Tensor, ...]:
    """Compares images and gradients; returns the gradients."""
    dtype = made.ellipses[0].dtype
    ours, theirs = (made.blend(operators, cutoffs) for operators in (drivers, native()))
    for actual, expected in zip(ours[:2], theirs[:2], strict=True):
        assert_close_but_for_flips(actual, expected, TOLERANCES[dtype][0])
    pulled = made.pull(drivers, cutoffs, ours)
    flips = dtype == torch.float32 and cutoffs != (0.0, 0.0)
    for actual, expected in zip(pulled, made.pull(native(), cutoffs, theirs), strict=True):
        if flips:
            assert_few_flips(actual, expected)
        else:
            assert_close(actual, expected, TOLERANCES[dtype][1])
    assert all(gradient.isfinite().all() for gradient in pulled)
    return pulled


def assert_few_flips(actual: Tensor, expected: Tensor) -> None:
    """A pixel that falls on another side of a cut-off changes a few gradients by any amount."""
    if expected.numel() > 0:
        wrong = (actual - expected).abs() > FROM_SCALE["float32 devices' gradients"] * expected.abs().max()
        assert wrong.double().mean() <= FLIPPED_GRADIENTS
    assert actual.shape == expected.shape


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 32])
def test_any_number_of_channels(drivers, channels, dtype):
    for cutoffs in ((1 / 255, 1e-4), (0.0, 0.0)):
        pulled = assert_as_on_the_cpu(drivers, scene(60, (37, 29), channels, dtype), cutoffs)
        assert all((gradient != 0).any(dim=0).all() for gradient in pulled)


@pytest.mark.parametrize("size", SIZES)
def test_any_size(drivers, size):
    assert_as_on_the_cpu(drivers, scene(40, size, 3, torch.float64))
    assert_as_on_the_cpu(drivers, scene(40, size, 3, torch.float32))


@pytest.mark.parametrize("cutoffs", [(1 / 255, 1e-4), (1 / 255, 0.3), (0.0, 0.0)], ids=["cut", "early", "smooth"])
@pytest.mark.parametrize("order", ORDERS)
def test_lists_of_many_segments(order, cutoffs):
    """Parts of a tile turn opaque in different segments, or never."""
    made = scene(500, (40, 33), 3, torch.float64, spread=0.3)
    assert made.bins[0].diff().max() > 4 * 64
    emulated_operators().set_order(order)
    assert_as_on_the_cpu(emulated_operators(), made, cutoffs)
    emulated_operators().set_order(ORDERS[0])


def test_longer_segments(drivers):
    """So many pairs that segments are longer, though hardly anybody can be seen."""
    made = scene(110_000, (37, 29), 3, torch.float64, spread=3.0)
    made.ellipses[2][torch.arange(110_000) % 100 > 0] = 0.001
    assert len(made.bins[1]) > 8192 * 64
    assert_as_on_the_cpu(drivers, made)


@pytest.mark.parametrize("room", [6_000, 600_000])
def test_no_bit_depends_on_the_room_in_the_lists(drivers, room):
    """The larger would make segments longer, which decides how the backward pass rounds."""
    made, cutoffs = scene(500, (40, 33), 3, torch.float32, spread=0.3), (1 / 255, 1e-4)
    offsets, *lists, slot_offsets = made.bins
    assert made.bins[0].diff().max() > 4 * 64 and len(lists[0]) < 6_000 and 600_000 > 8192 * 64
    longer = tuple(torch.nn.functional.pad(entries, (0, room - len(entries)), value=-1) for entries in lists)
    roomy = Scene(made.ellipses, (offsets, *longer, slot_offsets), made.size, made.pulls)
    results = []
    for one in (made, roomy):
        blended = one.blend(drivers, cutoffs)
        results.append([*blended[:2], *one.pull(drivers, cutoffs, blended)])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(actual, expected)


def test_without_gradients_no_state_is_kept(drivers):
    made, cutoffs = scene(300, (40, 33), 3, torch.float32), (1 / 255, 1e-4)
    image, alphas, state = made.blend(drivers, cutoffs)
    again = made.blend(drivers, cutoffs, with_state=False)
    assert torch.equal(again[0], image) and torch.equal(again[1], alphas)
    assert len(again[2]) == 0 < len(state)
    with pytest.raises(RuntimeError, match="kept no state for this backward pass"):
        made.pull(drivers, cutoffs, again)


def test_only_the_image_pulls(drivers):
    made, cutoffs = scene(60, (37, 29), 3, torch.float64), (1 / 255, 1e-4)
    only = Scene(made.ellipses, made.bins, made.size, (made.pulls[0], None))
    assert_as_on_the_cpu(drivers, only, cutoffs)


@pytest.mark.parametrize("count", [0, 30])
def test_nobody_is_listed(drivers, count):
    made = scene(count, (37, 29), 3, torch.float32)
    empty = tuple(torch.zeros_like(t) if t.numel() in (7, count + 1) else t[:0] for t in made.bins)
    pulled = assert_as_on_the_cpu(drivers, Scene(made.ellipses, empty, made.size, made.pulls))
    assert all((gradient == 0).all() for gradient in pulled)


def test_bad_colors_stay_where_they_are_seen(drivers):
    """Who blends with nothing at a pixel leaves no trace there, whatever its colour is."""
    made, cutoffs = scene(40, (64, 64), 3, torch.float32, spread=0.05), (1 / 255, 1e-4)
    clean = made.blend(drivers, cutoffs)[0]
    made.ellipses[3][7] = torch.nan
    image = made.blend(drivers, cutoffs)[0]
    touched = image.isnan().any(dim=0)
    assert 0 < touched.sum() < 64 * 64 / 2
    assert torch.equal(image[:, ~touched], clean[:, ~touched])
