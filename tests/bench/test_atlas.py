"""The ball of the atlas table: papered all around, with so much of it in holes."""

import pytest
import torch
from open3d_or_skip import open3d_or_skip

from neural3d.bench.atlas import holes, papered_ball
from neural3d.bench.texture_cases import MADE

pytest.importorskip("xatlas")
open3d_or_skip()
SIDE = 128


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_so_much_of_it_is_unseen(share):
    ball = papered_ball(SIDE, "weave", 0)
    found = holes(ball, share, 0)
    assert abs(float(found.float().mean()) - share) < 0.002
    assert torch.equal(found, holes(ball, share, 0)) and not torch.equal(found, holes(ball, share, 1))


def test_the_ball_wears_the_paper_and_nothing_else():
    ball = papered_ball(SIDE, "tiles", 0)
    assert bool(ball.known.all())
    paper = ((MADE["tiles"](SIDE, 0) + 1) / 2).flatten(1).T
    worn = ball.colors[torch.linspace(0, len(ball.colors) - 1, 200).long()]
    apart = torch.cdist(worn, paper, compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.amin(1).max() < 1e-5
    assert (ball.texels.points.norm(dim=1) - 1).abs().max() < 0.02
