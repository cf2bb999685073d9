"""Which splats masks hold: masks that always take some of the ground are seen through by its colour."""

from dataclasses import replace

import torch
from surface_ball import ball

from neural3d.splats.gaussians import Gaussians, cat_gaussians
from neural3d.texture.objects import held

BASE = 0.28209479177387814


def painted(model: Gaussians, color: float) -> Gaussians:
    return replace(model, sh=torch.full_like(model.sh, (color - 0.5) / BASE))


def scene() -> tuple[Gaussians, int]:
    """A bright ball on dark ground; how many splats the ball has."""
    thing = painted(ball(1500), 0.8)
    x, y = torch.meshgrid(torch.linspace(-2, 2, 60), torch.linspace(-2, 2, 60), indexing="ij")
    flat = torch.stack([x.flatten(), y.flatten(), torch.full((3600,), -1.0)], dim=1)
    ground = painted(replace(ball(3600), means_world=flat), 0.3)
    return cat_gaussians([thing, ground]), len(thing)


def test_ground_that_masks_always_take_goes_and_the_thing_stays():
    model, count = scene()
    share = torch.zeros(len(model), 1, dtype=torch.float64)
    share[:count] = 0.97
    beside = (model.means_world[:, :2].norm(dim=1) < 0.25) & (torch.arange(len(model)) >= count)
    share[beside] = 0.9  # what lies beneath is in all the masks
    seen = torch.full((len(model),), 20.0, dtype=torch.float64)
    kept = held(model, seen[:, None] * share, seen)
    assert beside.sum() > 30 and (kept < count).all()
    assert len(kept) > 0.99 * count


def test_what_masks_hold_in_few_of_the_views_is_not_held_and_several_masks_count_together():
    model, count = scene()
    seen = torch.full((len(model),), 20.0, dtype=torch.float64)
    share = torch.zeros(len(model), 2, dtype=torch.float64)
    share[:count] = torch.tensor([0.55, 0.4], dtype=torch.float64)
    assert len(held(model, seen[:, None] * share, seen)) == count
    assert len(held(model, seen[:, None] * 0.6 * share, seen)) == 0
