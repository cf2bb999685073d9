"""What the textures table says of its rows, and what its textures are."""

import math

import pytest
import torch

from neural3d.bench.texture_cases import MADE, cases
from neural3d.bench.textures import by_texture, paired, summed_up


def row(method: str, texture: str, c2st: float, seam: float, psnr: float = 20.0) -> dict:
    scores = {"critic": c2st, "c2st": c2st, "swd": 0.1, "sharpness": 1.0, "seam": seam, "layout": 0.5, "psnr": psnr}
    return {"method": method, "texture": texture, "seed": 0, "seconds": 1.0, **scores}


def test_methods_are_compared_hole_by_hole():
    """One is told apart less by 0.1 in holes that differ by 0.3, and its seams are as far off, on the other side."""
    rows = [row("gpdm", "easy", 0.6, 1.25), row("gpdm", "hard", 0.9, 1.6), row("gpdm", "alone", 0.5, 1.0)]
    rows += [row("quilt", "easy", 0.5, 0.8), row("quilt", "hard", 0.8, 0.625), row("telea", "new", 1.0, 1.0)]
    found = paired(rows, "gpdm")
    assert set(found) == {"quilt"}
    assert found["quilt"]["critic"]["mean"] == pytest.approx(0.1)
    assert found["quilt"]["critic"]["interval"] == pytest.approx((0.1, 0.1))
    assert found["quilt"]["seam"]["mean"] == pytest.approx(0) and found["quilt"]["swd"]["mean"] == 0


def test_textures_are_drawn_again_and_not_their_holes():
    """A hundred holes in one texture say no more than its mean does."""
    found = by_texture([("often", 1.0)] * 100 + [("once", 0.0)])
    assert found["mean"] == 0.5 and found["interval"] == (0.0, 1.0)


def test_patterns_that_repeat_are_held_against_telea():
    """Other textures do not count for it."""
    rows = [row("telea", name, 1.0, 1.0, 15.0) for name in ("weave", "tiles", "grass")]
    rows += [row("quilt", name, 0.5, 1.0, psnr) for name, psnr in (("weave", 21.0), ("tiles", 25.0), ("grass", 15.0))]
    assert summed_up(rows)["periodic_db_over_telea"]["quilt"]["mean"] == pytest.approx(8.0)


def test_made_textures_are_images_that_a_seed_repeats():
    """And another seed changes."""
    first, again, other = ({case.name: case for case in cases(None, 48, seed)} for seed in (3, 3, 4))
    assert set(first) == set(MADE) and len(MADE) >= 14
    for name, case in first.items():
        assert case.image.shape == (3, 48, 48) and case.image.abs().max() <= 1
        assert case.image.std() > 0.05, name
        assert torch.equal(case.image, again[name].image) and not torch.equal(case.image, other[name].image)
        assert 0.03 < float(case.hole.float().mean()) < 0.4 and math.isfinite(float(case.image.sum()))
