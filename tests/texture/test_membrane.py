"""What is expected of an unknown side: a membrane between the colours around it, and texels of such colours."""

import pytest
import torch
from open3d_or_skip import open3d_or_skip

from neural3d.priors.exemplar.quilting import Texels
from neural3d.surface.unwrap import unwrap
from neural3d.texture.atlas import Atlas, atlas_of
from neural3d.texture.membrane import with_membrane
from neural3d.texture.proposals import alike, proposer

from .sheets import atlas_texture, sheet

pytest.importorskip("xatlas")
open3d_or_skip()
SIDE = 96


@pytest.fixture(scope="module")
def ramp() -> Atlas:
    """Colours that are linear in x; the middle half of the sheet, from y = -1 to 1, is unknown and has garbage."""
    flat = unwrap(sheet(24), SIDE)
    atlas = atlas_of(flat, atlas_texture(flat, SIDE))
    colors = (0.5 + 0.4 * atlas.texels.points[:, :1]) * torch.tensor([1.0, 0.5, 0.2])
    known = atlas.texels.points[:, 0].abs() > 0.5
    return atlas.with_colors(torch.where(known[:, None], colors, torch.rand(len(colors), 3)), known)


def test_a_ramp_is_led_over_and_known_texels_stay(ramp: Atlas):
    found = with_membrane(ramp)
    assert torch.equal(found.known, ramp.known)
    assert torch.equal(found.colors[ramp.known], ramp.colors[ramp.known])
    true = (0.5 + 0.4 * ramp.texels.points[:, :1]) * torch.tensor([1.0, 0.5, 0.2])
    assert (found.colors - true)[~ramp.known].abs().max() < 0.05
    other = ramp.with_colors(torch.where(ramp.known[:, None], ramp.colors, 0.9), ramp.known)
    assert torch.equal(with_membrane(other).colors, found.colors), "what lies in the unknown is never read"


def test_a_membrane_stays_between_its_border_s_colours(ramp: Atlas):
    noisy = ramp.with_colors((ramp.colors + 0.2 * torch.rand_like(ramp.colors)).clamp(0, 1), ramp.known)
    found = with_membrane(noisy).colors[~ramp.known]
    known = noisy.colors[ramp.known]
    assert (found >= known.amin(0)).all() and (found <= known.amax(0)).all()


def test_a_shaded_rim_is_not_led_on(ramp: Atlas):
    """What lies within a tenth of the longest side of the unknown is black."""
    shaded = ramp.texels.points[:, 0].abs() < 0.7
    dark = ramp.with_colors(torch.where(shaded[:, None], 0.0, ramp.colors), ramp.known)
    found, led = with_membrane(dark, rim=0.125), with_membrane(dark)
    open_ = ~ramp.known
    true = (0.5 + 0.4 * ramp.texels.points[:, :1]) * torch.tensor([1.0, 0.5, 0.2])
    assert (found.colors - true)[open_].abs().max() < 0.06
    assert led.colors[open_].mean() < 0.5 * true[open_].mean(), "without it the shade goes on"
    assert torch.equal(found.colors[ramp.known], dark.colors[ramp.known])
    assert torch.equal(with_membrane(dark, rim=2.0).colors, led.colors), "all of it would be rim"


def test_what_hangs_on_nothing_known_has_the_mean(ramp: Atlas):
    """Few known texels, in which no vertex lies, and none at all."""
    few = torch.zeros_like(ramp.known)
    few[ramp.known.nonzero()[0, 0]] = True
    found = with_membrane(ramp.with_colors(ramp.colors, few))
    assert torch.allclose(found.colors[~few], ramp.colors[few].expand(int((~few).sum()), 3), atol=1e-6)
    none = ramp.with_colors(ramp.colors, torch.zeros_like(few))
    assert with_membrane(none) is none


def test_texels_of_other_colours_are_not_copied():
    images = torch.full((3, 60, 160), -0.5)
    images[:, :, 80:] = torch.tensor([0.8, -0.2, -0.2])[:, None, None]
    known = torch.ones(60, 160, dtype=torch.bool)
    chosen = alike(Texels((images,), (known,)), torch.tensor([[0.75, -0.15, -0.2]]).expand(9, 3)).known[0]
    assert chosen[:, 90:].all() and not chosen[:, :70].any()
    lonely = alike(Texels((images,), (known,)), torch.tensor([[-1.0, 1.0, 1.0]])).known[0]
    assert lonely.sum() >= 3000, "where nothing is alike, the most alike is taken"


@pytest.mark.parametrize("method", ["smooth", "quilt", "patchnn"])
def test_what_is_filled_in_has_the_colours_that_are_expected(method):
    """Dark grain on the left, bright grain on the right, and a hole in the dark where something between is expected."""
    generator = torch.Generator().manual_seed(0)
    grain = 0.15 * torch.randn(3, 48, 96, generator=generator)
    image = torch.where(torch.arange(96) < 56, torch.tensor(-0.5), torch.tensor(0.5)) + grain
    unknown = torch.zeros(48, 96, dtype=torch.bool)
    unknown[8:40, 8:40] = True
    expected = torch.where(unknown, torch.tensor(-0.3), image)
    texels = Texels((expected,), (~unknown,))
    result = proposer(method, is_fast=True)(expected, unknown, texels, generator)
    inside = result[:, 14:34, 14:34]
    assert -0.55 < inside.mean() < -0.25, method
    assert method == "smooth" or inside.std() > 0.05, "grain is grain"
