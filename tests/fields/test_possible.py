"""Networks that are not asked where nothing can be: the same pictures, and fewer questions."""

from dataclasses import replace

import torch

import neural3d.fields.nerf as nerf
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.fields.mlp import layers_of
from neural3d.fields.mlp_shape import MlpShape
from neural3d.fields.nerf import NerfModel, Networks, answers, samples_at
from neural3d.fields.possible import PossibleCells
from neural3d.fields.rays import Rays
from neural3d.fields.sampling import stratified
from neural3d.fields.space import Ball

SHAPE = MlpShape(depth=1, width=8, skip=1, position_frequencies=1, direction_frequencies=1)
BALL = Ball((0.3, -0.2, 0.1), 2.0)
BOX = HashGridPlace((0.0, 0.0, 0.0), 1.0, step=0.01)


def slab() -> Networks:
    """Dense where sin(pi x) > 0.4, which is from 0.131 to 0.869 of the ball's radius, and nowhere else."""
    vector = torch.zeros(SHAPE.padded_size)
    layers = layers_of(vector, SHAPE)
    weights, bias = layers["trunk.0"]
    weights[0, 0], bias[0] = 1.0, -0.4
    layers["density"][0][0, 0] = 20.0
    layers["color"][1][:] = torch.tensor([1.0, -1.0, 0.5])
    return Networks(SHAPE, vector, vector.clone())


def cells(low: int, high: int) -> PossibleCells:
    """Of sixteen along x those from one number to before another."""
    possible = torch.zeros(16, 16, 16, dtype=torch.bool)
    possible[:, :, low:high] = True
    return PossibleCells(BOX, possible)


def rays(count: int = 300) -> Rays:
    """From all sides, most of which pass through the ball."""
    random = torch.Generator().manual_seed(1)
    origins = 5 * torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=1)
    targets = 1.2 * torch.randn(count, 3, generator=random)
    origins, targets = (points + torch.tensor(BALL.center) for points in (origins, targets))
    return Rays(origins, torch.nn.functional.normalize(targets - origins, dim=1))


def model(possible: PossibleCells | None) -> NerfModel:
    return NerfModel(slab(), BALL, 24, 16, possible=possible)


def test_cells_that_hold_everything_change_no_pixel():
    everywhere = model(None).shade(rays())
    assert 0.2 < float((everywhere.alphas > 0.5).float().mean()) < 0.9
    for possible in (cells(0, 16), cells(9, 15)):  # the slab lies in cells 9 to 14
        seen = model(possible).shade(rays())
        for name in ("colors", "alphas", "distances"):
            torch.testing.assert_close(getattr(seen, name), getattr(everywhere, name), rtol=1e-5, atol=2e-6)


def test_cells_that_leave_something_out_do():
    everywhere, seen = model(None).shade(rays()), model(cells(9, 12)).shade(rays())
    assert float((seen.alphas - everywhere.alphas).abs().max()) > 0.1
    assert not model(cells(0, 0)).shade(rays()).alphas.any()


def test_networks_are_asked_about_samples_in_such_cells_alone():
    possible, placed = cells(9, 15), BALL.place(rays())
    unit = stratified(torch.full((300, 24), 0.5))
    samples = samples_at(unit, placed, BALL, SHAPE, torch.float32, possible)
    inside = placed.at(samples.t).flatten(0, 1)
    expected = (inside[:, 0] >= 9 / 8 - 1) & (inside[:, 0] < 15 / 8 - 1) & (inside.abs() < 1).all(dim=1)
    assert torch.equal(samples.asked, expected.nonzero()[:, 0]) and 0.1 < float(expected.float().mean()) < 0.5
    density, color = answers(layers_of(slab().coarse, SHAPE), SHAPE, samples)
    assert not density.flatten()[~expected].any() and not color.flatten(0, 1)[~expected].any()
    whole, _ = answers(layers_of(slab().coarse, SHAPE), SHAPE, samples_at(unit, placed, BALL, SHAPE, torch.float32))
    hits = placed.near < placed.far
    torch.testing.assert_close(density[hits], whole[hits].relu())


def test_rays_that_meet_no_such_cell_ask_nothing(monkeypatch):
    asked = []
    ask = nerf.samples_at
    monkeypatch.setattr(nerf, "samples_at", lambda unit, *given: asked.append(len(unit)) or ask(unit, *given))
    possible = cells(12, 13)
    model(possible).shade(rays())
    meeting = possible.meet(BALL.place(rays()))
    assert sum(asked) == 2 * int(meeting.sum()) and 30 < int(meeting.sum()) < 270
    away = replace(rays(), directions=-rays().directions)
    assert not possible.meet(BALL.place(away)).any()


def test_there_is_no_density_elsewhere():
    x = torch.linspace(-1.5, 1.5, 301)
    places = torch.tensor(BALL.center) + BALL.radius * torch.stack([x, 0 * x, 0 * x], dim=1)
    everywhere, found = model(None).densities(places), model(cells(9, 12)).densities(places)
    kept = (x >= 9 / 8 - 1) & (x < 12 / 8 - 1)
    assert torch.equal(found[kept], everywhere[kept]) and not found[~kept].any()
    assert everywhere[~kept].any() and found[kept].any()
