"""Copying: what is copied, where from, how it joins; against the smoothest fill."""

import math

import pytest
import torch

from neural3d.priors.exemplar.nearest import nearest_fill, normalized_nearest
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
