"""Copying: what is copied, where from, how it joins; against the smoothest fill."""

import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neural3d.priors.exemplar import quilting
from neural3d.priors.exemplar.nearest import (
    NearestConfig,
    _voted,
    draw_patches,
    nearest_fill,
    normalized_nearest,
    whole_patches,
)
from neural3d.priors.exemplar.poisson import harmonic_fill, solve_poisson
from neural3d.priors.exemplar.quilting import Quilt, QuiltConfig, Texels, draw_blocks, fitting_block, quilt
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, Picture, to_signed
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget
from neural3d.priors.registry import make_prior

from .textures import flat, waves

SMALL = QuiltConfig(block=9, num_blocks=1500)


def signed(pixels) -> torch.Tensor:
    return to_signed(torch.from_numpy(pixels)[None])[0]


def with_hole(side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """A periodic texture and a hole of a third of its side."""
    unknown = torch.zeros(side, side, dtype=torch.bool)
    unknown[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = True
    return signed(waves(side, 8, 0.5)), unknown


def psnr(image: torch.Tensor, truth: torch.Tensor, unknown: torch.Tensor) -> float:
    """In the hole, of values in [-1, 1]."""
    return -10 * math.log10(float((image - truth)[:, unknown].square().mean()) / 4)


def test_an_image_comes_back_from_its_differences():
    truth = torch.randn(3, 12, 15)
    unknown = torch.zeros(12, 15, dtype=torch.bool)
    unknown[2:9, 0:13] = True
    across, down = truth[..., 1:] - truth[..., :-1], truth[:, 1:] - truth[:, :-1]
    solved = solve_poisson(truth.masked_fill(unknown, 0.0), unknown, across, down)
    assert torch.allclose(solved, truth, atol=2e-3)
    assert torch.equal(solved[:, ~unknown], truth[:, ~unknown])


def test_where_nothing_is_known_the_mean_stays():
    truth = torch.randn(3, 8, 8)
    across, down = truth[..., 1:] - truth[..., :-1], truth[:, 1:] - truth[:, :-1]
    solved = solve_poisson(torch.zeros(3, 8, 8), torch.ones(8, 8, dtype=torch.bool), across, down)
    assert torch.allclose(solved, truth - truth.mean((1, 2), keepdim=True), atol=2e-3)


def test_the_smoothest_continuation_of_a_ramp_is_the_ramp():
    ramp = torch.linspace(-1, 1, 16).expand(3, 10, 16)
    unknown = torch.zeros(10, 16, dtype=torch.bool)
    unknown[3:8, 4:12] = True
    assert torch.allclose(harmonic_fill(ramp.masked_fill(unknown, 0.0), unknown), ramp, atol=2e-3)


def test_every_texel_of_a_quilt_is_a_real_one():
    """Before blending: what is laid is the texel that its number says, and none of it is unknown."""
    image, unknown = with_hole()
    texels = Texels((image, signed(flat(30, 90))), (~unknown, torch.ones(30, 30, dtype=torch.bool)))
    work = Quilt(image, unknown, draw_blocks(texels, SMALL, seeded(0)), None, SMALL)
    work.fill(seeded(1))
    half = SMALL.block // 2
    inside = (..., slice(half, -half), slice(half, -half))
    everything = torch.cat([source.flatten(1) for source in texels.images], 1)
    may_be_copied = torch.cat([known.flatten() for known in texels.known])
    origins = work._origins[inside][unknown]
    assert torch.equal(work._canvas[inside][:, unknown], everything[:, origins])
    assert may_be_copied[origins].all() and (origins > 0).all()
    assert torch.equal(work._canvas[inside][:, ~unknown], image[:, ~unknown])


@pytest.mark.parametrize("fill", [quilt, nearest_fill])
def test_a_periodic_texture_goes_on_through_a_hole(fill):
    truth, unknown = with_hole()
    image = truth.masked_fill(unknown, 0.0)
    filled = fill(image, unknown, Texels((image,), (~unknown,)), seeded(0))
    assert torch.equal(filled[:, ~unknown], truth[:, ~unknown])
    assert psnr(filled, truth, unknown) > psnr(harmonic_fill(image, unknown), truth, unknown) + 5


def test_a_guide_decides_what_is_copied():
    """Dark and bright texels, nothing known; the guide is dark at the left and bright at the right."""
    sources = signed(flat(24, 50)), signed(flat(24, 205))
    texels = Texels(sources, (torch.ones(24, 24, dtype=torch.bool),) * 2)
    guide = torch.full((3, 27, 36), -0.6)
    guide[..., 18:] = 0.6
    unknown = torch.ones(27, 36, dtype=torch.bool)
    config = QuiltConfig(block=9, num_blocks=400, guidance=20.0)
    work = Quilt(torch.zeros(3, 27, 36), unknown, draw_blocks(texels, config, seeded(0)), guide, config)
    work.fill(seeded(1))
    laid = work._canvas[:, 4:-4, 4:-4]
    assert laid[..., :12].mean() < -0.4 and laid[..., 24:].mean() > 0.4


def test_a_key_that_is_used_already_is_dear():
    keys, queries = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.45]])
    assert normalized_nearest(queries, keys, 1e6).tolist() == [0, 0]
    assert normalized_nearest(queries, keys, 0.02).tolist() == [0, 1]


@pytest.mark.parametrize("name", ["patchnn", "quilt"])
def test_samples_are_of_the_images_colours(name):
    """Red images make red samples, with their contrast."""
    pixels = flat(40, 120)
    pixels[..., 1:] = 20
    prior = make_prior(PriorConfig(name, 32))
    prior.fit(PatchSource([Picture(pixels)], 32), Budget(None, 1))
    sample = prior.sample(1, seed=1)[0]
    wanted = signed(pixels)
    assert torch.allclose(sample.mean((1, 2)), wanted.mean((1, 2)), atol=0.03)
    assert 0.5 < float(sample[0].std() / wanted[0].std()) < 1.3


def test_blocks_are_as_large_as_what_is_known_allows():
    def side(known_side: int) -> int:
        known = torch.zeros(40, 40, dtype=torch.bool)
        known[:known_side, :known_side] = True
        return fitting_block(Texels((torch.zeros(3, 40, 40),), (known,)), 17)

    assert [side(known_side) for known_side in (40, 27, 20, 14, 3)] == [17, 17, 11, 5, 3]


def _unfolded(texels: Texels, side: int) -> torch.Tensor:
    """All patches that are known as a whole, by torch's own means."""
    found = []
    for image, known in zip(texels.images, texels.known, strict=True):
        whole = functional.unfold(known[None, None].float(), side)[0].T.all(1)
        found.append(functional.unfold(image[None], side)[0].T[whole])
    return torch.cat(found)


def test_patches_and_blocks_are_drawn_as_if_all_were_cut():
    image, unknown = with_hole()
    texels = Texels((image, signed(flat(30, 90))[:, :, :21]), (~unknown, torch.ones(30, 21, dtype=torch.bool)))
    everything = _unfolded(texels, 7)
    assert torch.equal(whole_patches(texels, 7), everything)
    order = torch.randperm(len(everything), generator=seeded(3))
    assert torch.equal(draw_patches(texels, 7, 300, seeded(3)), everything[order[:300]])
    blocks = draw_blocks(texels, SMALL, seeded(0)).pixels.flatten(1)
    everything = _unfolded(texels, SMALL.block)
    chosen = torch.randint(len(everything), (SMALL.num_blocks,), generator=seeded(0))
    chosen = chosen.unique() if len(everything) <= SMALL.num_blocks else chosen
    assert torch.equal(blocks.sort(0).values, everything[chosen].sort(0).values)


def test_patches_of_a_hole_are_replaced_as_if_those_of_the_whole_image_were_there():
    """Folding patches of the hole's surroundings gives the bytes of folding all."""
    image, unknown = with_hole()
    source, config = Texels((image,), (~unknown,)), NearestConfig(num_patches=500)
    noisy = torch.where(unknown, torch.randn(3, 48, 48, generator=seeded(4)), image)
    keys = draw_patches(source, 7, 500, seeded(5))
    patches = functional.unfold(functional.pad(noisy[None], 4 * [3], mode="replicate"), 7)[0].T
    touched = functional.max_pool2d(unknown[None, None].float(), 7, 1, 3).flatten() > 0
    votes, counts = torch.zeros_like(patches), torch.zeros_like(patches)
    votes[touched], counts[touched] = keys[normalized_nearest(patches[touched], keys, config.completeness)], 1.0
    total, number = (functional.fold(t.T[None].contiguous(), (54, 54), 7)[0, :, 3:-3, 3:-3] for t in (votes, counts))
    expected = total / number.clamp_min(1)
    assert torch.equal(_voted(noisy, unknown, source, config, seeded(5))[:, unknown], expected[:, unknown])


@pytest.mark.parametrize("fill", [quilt, nearest_fill])
def test_a_small_hole_in_a_large_image_takes_little_memory(fill):
    """Of 1.4 million texels all patches would be 800 MB, and a block would be looked for in all of them."""
    image = torch.rand(3, 1200, 1200, generator=seeded(0))
    unknown = torch.zeros(1200, 1200, dtype=torch.bool)
    unknown[600:610, 700:712] = True
    largest = []

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            largest.extend(t.numel() * t.element_size() for t in tree_leaves(result) if isinstance(t, torch.Tensor))
            return result

    with Largest():
        filled = fill(image, unknown, Texels((image,), (~unknown,)), seeded(0))
    assert max(largest) < 40 * 2**20 and torch.equal(filled[:, ~unknown], image[:, ~unknown])


def test_a_large_image_is_quilted_as_its_part_about_the_hole(monkeypatch: pytest.MonkeyPatch):
    """The same blocks; their seams are blended by sums of another order."""
    image = signed(waves(150, 8, 0.5))
    unknown = torch.zeros(150, 150, dtype=torch.bool)
    unknown[70:95, 0:20] = True
    texels = Texels((image,), (~unknown,))
    whole = quilt(image, unknown, texels, seeded(0), image, SMALL)
    monkeypatch.setattr(quilting, "_SMALL_PIXELS", 0)
    part = quilt(image, unknown, texels, seeded(0), image, SMALL)
    assert (part - whole).abs().max() < 2e-3 and torch.equal(part[:, ~unknown], image[:, ~unknown])


def test_what_a_source_says_is_worked_out_once(monkeypatch: pytest.MonkeyPatch):
    image, unknown = with_hole()
    texels, calls, blurred = Texels((image,), (~unknown,)), [], quilting.smoothed
    monkeypatch.setattr(quilting, "smoothed", lambda *of: calls.append(of) or blurred(*of))
    first = quilt(image, unknown, texels, seeded(0), None, SMALL)
    assert torch.equal(quilt(image, unknown, texels, seeded(0), None, SMALL), first) and len(calls) == 1


def test_differences_of_texels_are_those_of_their_images():
    images = signed(waves(12, 8, 0.5)), signed(flat(9, 100))[:, :, :5]
    across, down = ([image.diff(dim=axis) for image in images] for axis in (2, 1))
    pads = ((across, (0, 1)), (across, (1, 0)), (down, (0, 0, 0, 1)), (down, (0, 0, 1, 0)))
    everywhere = torch.cat(
        [torch.stack([functional.pad(d[i], pad) for d, pad in pads]).flatten(2) for i in range(2)], 2
    )
    origins = torch.arange(everywhere.shape[2]).flip(0).view(3, -1)
    assert torch.equal(quilting._differences(images, origins), everywhere[..., origins])


@pytest.mark.parametrize("fill", [quilt, nearest_fill])
def test_without_a_hole_nothing_changes(fill):
    image, unknown = with_hole()
    assert torch.equal(fill(image, torch.zeros_like(unknown), Texels((image,), (~unknown,)), seeded(0)), image)


@pytest.mark.parametrize("fill", [quilt, nearest_fill])
def test_texels_without_a_patch(fill):
    image, unknown = with_hole()
    nothing = Texels((image,), (torch.zeros_like(unknown),))
    with pytest.raises(ValueError, match="nowhere are . x . known; give larger images"):
        fill(image, unknown, nothing, seeded(0))


def test_an_anchor_keeps_colours_in_the_middle_of_a_wide_hole_and_blends_its_border():
    """Differences that ask for nothing, a border of 0, copied colours of 1: e to the minus distance times its root."""
    start = torch.zeros(1, 81, 81)
    start[:, 20:61, 20:61] = 1
    unknown = start[0] > 0
    flat = torch.zeros(1, 81, 80), torch.zeros(1, 80, 81)
    blended = solve_poisson(start, unknown, *flat, anchor=0.04)
    assert solve_poisson(start, unknown, *flat)[0, 40, 40].abs() < 1e-3
    assert blended[0, 40, 40] > 0.93 and torch.equal(blended[:, ~unknown], start[:, ~unknown])
    falls = (1 - blended[0, 40, 21:27]) / (1 - blended[0, 40, 20:26])
    assert (falls - math.exp(-0.2)).abs().max() < 0.02
