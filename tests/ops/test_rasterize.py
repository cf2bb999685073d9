"""Blending: pixels one can compute by hand, the cut-offs, and the derivative."""

import math
from collections.abc import Callable

import pytest
import torch
from emulator.build import emulated_operators
from torch import Tensor

from neural3d.ops.library import native as native_operators
from neural3d.ops.records import TileBins

from .backends import SMOOTH, Backend, Cutoffs, gradients, project
from .random_scenes import as_dtype, make_colors, make_gaussians, make_view
from .tolerances import FLIPPED_PIXELS, GRADCHECK, assert_close, assert_close_but_for_flips

ELLIPSES = ("means_px", "conics", "opacities", "colors")


def flat_ellipses(opacities: list[float], colors: list[list[float]], conic=(1e-16, 0.0, 1e-16)) -> dict[str, Tensor]:
    """Gaussians in the middle of a pixel, so wide that alpha is the opacity everywhere (or as the conic says)."""
    count = len(opacities)
    return {
        "means_px": torch.tensor([[8.5, 4.5]], dtype=torch.float64).repeat(count, 1),
        "conics": torch.tensor([conic], dtype=torch.float64).repeat(count, 1),
        "opacities": torch.tensor(opacities, dtype=torch.float64),
        "colors": torch.tensor(colors, dtype=torch.float64),
    }


def list_all(count: int, width: int, height: int) -> TileBins:
    """Every Gaussian in every tile, in the order of its index."""
    num_tiles = -(-width // 16) * -(-height // 16)
    slots = torch.arange(num_tiles * count).reshape(count, num_tiles).T.reshape(-1)
    return TileBins(
        count * torch.arange(num_tiles + 1, dtype=torch.int32),
        torch.arange(count, dtype=torch.int32).repeat(num_tiles),
        slots.int(),
        num_tiles * torch.arange(count + 1, dtype=torch.int32),
        width,
        height,
    )


def blend(
    backend: Backend,
    ellipses: dict[str, Tensor],
    *,
    background: Tensor | None = None,
    cutoffs: Cutoffs = Cutoffs(),
    bins: TileBins | None = None,
) -> tuple[Tensor, Tensor]:
    """Rasterize a dict of ellipses, by default all of them on 20 x 18 pixels."""
    colors = ellipses["colors"]
    return backend.rasterize(
        *(ellipses[name] for name in ELLIPSES),
        list_all(len(colors), 20, 18) if bins is None else bins,
        colors.new_zeros(colors.shape[1]) if background is None else background,
        alpha_min=cutoffs.alpha_min,
        transmittance_min=cutoffs.transmittance_min,
    )


def test_one_gaussian_is_a_gaussian(backend):
    a, b, c = 0.05, 0.02, 0.08
    ellipses = flat_ellipses([0.7], [[1.0, 0.5]], conic=(a, b, c))
    background = torch.tensor([0.2, 0.4], dtype=torch.float64)
    image, alphas = blend(backend, ellipses, background=background)
    assert image.shape == (2, 18, 20) and alphas.shape == (18, 20)
    for x, y in ((8, 4), (9, 4), (8, 6), (5, 1), (17, 16), (11, 8)):
        dx, dy = x - 8, y - 4
        alpha = 0.7 * math.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        alpha = alpha if alpha >= 1 / 255 else 0.0
        assert alphas[y, x].item() == pytest.approx(alpha, rel=1e-12)
        expected = [alpha * 1.0 + (1 - alpha) * 0.2, alpha * 0.5 + (1 - alpha) * 0.4]
        assert image[:, y, x].tolist() == pytest.approx(expected, rel=1e-12)
    assert (alphas == 0).any() and (alphas > 0).any()


def test_front_to_back(backend):
    ellipses = flat_ellipses([0.5, 0.6, 0.7], [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    image, alphas = blend(backend, ellipses, background=torch.full((3,), 10.0, dtype=torch.float64))
    behind = 0.5 * 0.4 * 0.3
    assert image[:, 3, 3].tolist() == pytest.approx(
        [0.5 + 10 * behind, 0.5 * 0.6 + 10 * behind, 0.5 * 0.4 * 0.7 + 10 * behind], rel=1e-12
    )
    assert alphas[17, 19].item() == pytest.approx(1 - behind, rel=1e-12)


def test_alpha_is_at_most_099_and_has_no_gradient_there(backend):
    ellipses = flat_ellipses([1.0, 0.5], [[1.0], [0.0]])
    image, _ = blend(backend, ellipses, cutoffs=SMOOTH)
    assert image[0, 5, 5].item() == pytest.approx(0.99, rel=1e-12)
    grads = gradients(lambda e: blend(backend, e, cutoffs=SMOOTH), ellipses)
    assert grads["opacities"][0] == 0 and grads["opacities"][1] != 0


def test_faint_gaussians_are_skipped(backend):
    image, alphas = blend(backend, flat_ellipses([0.99 / 255, 1.01 / 255], [[1.0], [2.0]]))
    assert alphas[0, 0].item() == pytest.approx(1.01 / 255, rel=1e-12)
    assert image[0, 0, 0].item() == pytest.approx(2 * 1.01 / 255, rel=1e-12)


def test_the_gaussian_that_crosses_the_transmittance_limit_is_the_last(backend):
    # In front of the four: 1, 0.1, 0.01, 0.001.
    ellipses = flat_ellipses([0.9] * 4, [[1.0], [10.0], [100.0], [1000.0]])
    image, alphas = blend(backend, ellipses, cutoffs=Cutoffs(1 / 255, 0.005))
    assert image[0, 0, 0].item() == pytest.approx(0.9 + 10 * 0.09 + 100 * 0.009, rel=1e-12)
    assert alphas[0, 0].item() == pytest.approx(1 - 0.1**3, rel=1e-12)
    grads = gradients(lambda e: blend(backend, e, cutoffs=Cutoffs(1 / 255, 0.005)), ellipses)
    assert grads["colors"][3] == 0 and (grads["colors"][:3] != 0).all()


def test_without_gaussians_there_is_background(backend):
    background = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    image, alphas = blend(
        backend, {k: v[:0] for k, v in flat_ellipses([0.5], [[1.0, 1, 1]]).items()}, background=background
    )
    assert torch.equal(image, background[:, None, None].expand(3, 18, 20))
    assert (alphas == 0).all()


def random_ellipses(
    backend: Backend, dtype: torch.dtype, cutoffs: Cutoffs, channels: int, count: int = 60, size=(37, 29)
) -> tuple[dict[str, Tensor], TileBins]:
    """A projected random scene, the same in both precisions."""
    view = make_view(*size)
    seen = project(backend, make_gaussians(count, seed=2, size=0.2), view, alpha_min=cutoffs.alpha_min)
    bins = backend.bin_gaussians(seen, width=size[0], height=size[1], alpha_min=cutoffs.alpha_min)
    ellipses = {"means_px": seen.means_px, "conics": seen.conics, "opacities": seen.opacities}
    ellipses["colors"] = make_colors(count, channels)
    return as_dtype(ellipses, dtype), bins


@pytest.mark.parametrize("cutoffs", [Cutoffs(), SMOOTH], ids=["cut", "smooth"])
def test_weights_and_transmittance_sum_to_one(backend, reference, cutoffs):
    ellipses, bins = random_ellipses(reference, torch.float64, cutoffs, 1, count=300)
    ellipses["colors"] = torch.ones(300, 1, dtype=torch.float64)
    image, alphas = blend(backend, ellipses, bins=bins, cutoffs=cutoffs)
    assert_close(image[0], alphas, "float64 truth")
    assert 0.99 < alphas.max() < 1 and alphas.min() >= 0


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_derivative(backend, reference, channels):
    ellipses, bins = random_ellipses(reference, torch.float64, SMOOTH, channels, count=7, size=(19, 5))
    leaves = [ellipses[name].requires_grad_() for name in ELLIPSES]
    background = make_colors(1, channels, seed=9)[0]

    def function(*values: Tensor) -> tuple[Tensor, Tensor]:
        inputs = dict(zip(ELLIPSES, values, strict=True))
        return blend(backend, inputs, bins=bins, background=background, cutoffs=SMOOTH)

    assert torch.autograd.gradcheck(function, leaves, fast_mode=True, **GRADCHECK)


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("cutoffs", [Cutoffs(), SMOOTH, Cutoffs(1 / 255, 0.2)], ids=["cut", "smooth", "early"])
def test_twins_agree_in_double(native, reference, cutoffs, channels):
    ellipses, bins = random_ellipses(reference, torch.float64, cutoffs, channels)
    run = functions(bins, make_colors(1, channels, seed=9)[0], cutoffs)
    for actual, expected in zip(run(native)(ellipses), run(reference)(ellipses), strict=True):
        assert_close(actual, expected, "float64 twin")
    actual, expected = gradients(run(native), ellipses), gradients(run(reference), ellipses)
    for name in ELLIPSES:
        assert_close(actual[name], expected[name], "float64 twin")


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("cutoffs", [Cutoffs(), SMOOTH], ids=["cut", "smooth"])
def test_twins_agree_in_single(each_native, reference, cutoffs, channels):
    ellipses, bins = random_ellipses(reference, torch.float64, cutoffs, channels)
    single, background = as_dtype(ellipses, torch.float32), make_colors(1, channels, seed=9)[0]
    exact, rounded = functions(bins, background, cutoffs), functions(bins, background.float(), cutoffs)
    for actual, expected in zip(rounded(each_native)(single), exact(reference)(ellipses), strict=True):
        assert actual.dtype == torch.float32
        assert_close_but_for_flips(actual, expected, "float32 twin")
    if cutoffs == SMOOTH:  # a flipped pixel changes a gradient by any amount
        actual, expected = gradients(rounded(each_native), single), gradients(exact(reference), ellipses)
        for name in ELLIPSES:
            assert_close(actual[name], expected[name], "float32 gradient")


def needles(count: int, width: int, height: int, *, thinnest_px: float) -> dict[str, Tensor]:
    """Ellipses of 8 to 80 pixels, up to ten times as wide as the thinnest, in all directions and places."""
    random = torch.Generator().manual_seed(3)
    angle = math.pi * torch.rand(count, generator=random, dtype=torch.float64)
    long, short = (10 ** torch.rand(count, generator=random, dtype=torch.float64) * size for size in (8, thinnest_px))
    axes = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
    conics = axes.mT @ torch.diag_embed(torch.stack([long**-2, short**-2], dim=1)) @ axes
    spread = torch.rand(count, 2, generator=random, dtype=torch.float64) * 1.5 - 0.25
    return {
        "means_px": spread * torch.tensor([width, height]),
        "conics": torch.stack([conics[:, 0, 0], conics[:, 0, 1], conics[:, 1, 1]], dim=1),
        "opacities": 0.005 + 0.1 * torch.rand(count, generator=random, dtype=torch.float64),
        "colors": make_colors(count, 3),
    }


def test_needles_lose_no_pixel(each_native, reference):
    """What is skipped is decided for several pixels at once; more needles than are prepared together.

    The thinnest are thinner than any that projecting leaves: only these need each term of that decision.
    """
    width, height = 20, 18
    ellipses = needles(150, width, height, thinnest_px=0.1)
    expected, _ = blend(reference, ellipses)
    assert 0.2 < expected.max() < 1
    assert_close(blend(each_native, ellipses)[0], expected, "float64 twin")
    pulls, wanted = (gradients(lambda e, on=on: blend(on, e), ellipses) for on in (each_native, reference))
    for name in ELLIPSES:
        assert_close(pulls[name], wanted[name], "float64 twin")
    single, _ = blend(each_native, as_dtype(ellipses, torch.float32))
    # Rounding takes a hundredth of this from a needle so thin; a lost block takes 1/255 from each of its pixels.
    lost = (single.double() - expected).abs() > 0.1 / 255
    assert lost.any(dim=0).double().mean() <= FLIPPED_PIXELS


@pytest.mark.parametrize("operators", [native_operators, emulated_operators])
def test_lists_of_another_image_are_refused(operators):
    """By the drivers, too: pixels would be written where there are none."""
    ellipses, bins = flat_ellipses([0.5], [[1.0, 1, 1]]), list_all(1, 20, 18)
    lists = (bins.tile_offsets, bins.gaussian_from_intersection, bins.slot_from_intersection, bins.slot_offsets)
    seen = (*(ellipses[name] for name in ELLIPSES), torch.zeros(3, dtype=torch.float64), *lists)
    assert operators().rasterize(*seen, 20, 18, 0.0, 0.0, False)[0].shape == (3, 18, 20)
    for width, height in ((20, 16), (200, 18)):
        with pytest.raises(RuntimeError, match="the tiles are not those of the image"):
            operators().rasterize(*seen, width, height, 0.0, 0.0, False)


def functions(
    bins: TileBins, background: Tensor, cutoffs: Cutoffs
) -> Callable[[Backend], Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]]:
    """Blending with everything but the backend and the ellipses fixed."""
    return lambda backend: lambda e: blend(backend, e, bins=bins, background=background, cutoffs=cutoffs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sixteen_pixels_are_one_tile(backend, reference, dtype):
    """Moving everything by one tile moves the image, and changes no bit of it."""
    ellipses, _ = random_ellipses(reference, dtype, Cutoffs(), 3)
    ellipses["means_px"] = (ellipses["means_px"] * 64).round() / 64  # so that adding 16 is exact
    here, _ = blend(backend, ellipses, bins=list_all(60, 37, 29))
    moved = ellipses | {"means_px": ellipses["means_px"] + 16}
    there, _ = blend(backend, moved, bins=list_all(60, 53, 45))
    assert torch.equal(there[:, 16:, 16:], here)


def test_the_size_of_the_image_changes_no_pixel(backend, reference):
    ellipses, _ = random_ellipses(reference, torch.float32, Cutoffs(), 3)
    large, _ = blend(backend, ellipses, bins=list_all(60, 48, 32))
    for width, height in ((37, 29), (1, 1), (17, 16), (47, 1)):
        small, _ = blend(backend, ellipses, bins=list_all(60, width, height))
        assert torch.equal(small, large[:, :height, :width])
