"""The field in a hash grid: what it says of places and along rays, where that is known."""

import math

import pytest
import torch

from neural3d.fields import along_rays, hashgrid
from neural3d.fields.field import RadianceField
from neural3d.fields.guides import OccupancyGuide, ProposalGuide, interval_samples
from neural3d.fields.hashgrid import HashGridField, HashGridPlace, HashGridShape, HashGridWeights
from neural3d.fields.rays import Rays
from neural3d.ops.records import HashLevels, RayScale
from neural3d.reference.march import grid_positions

SHAPE = HashGridShape(HashLevels(2, 4, 8, 8), features=2, width=16, appearance=3)
CENTER = (1.0, -2.0, 0.5)


def constant_field(density: float, half: float = 2.0, *, contracted: bool = False) -> HashGridField:
    """The same density (per length in the field's frame) and grey everywhere."""
    first, second, *others = SHAPE.layers.split(torch.zeros(SHAPE.layers.num_weights))
    first[0], second[0, 0] = 1 / 4, math.log(density)
    layers = torch.cat([matrix.flatten() for matrix in (first, second, *others)])
    weights = HashGridWeights(torch.ones(SHAPE.levels.rows, 2), layers, torch.zeros(5, 3))
    if not contracted:
        place = HashGridPlace(CENTER, half)
        guide = OccupancyGuide(torch.ones(8, 8, 8, dtype=torch.bool), place.span)
        return HashGridField(SHAPE, place, weights, guide)
    place = HashGridPlace(CENTER, half, True, near=0.0, far=50.0, knee=half)
    levels = HashLevels(1, 8, 8, 10)
    guide = ProposalGuide(torch.full((levels.rows, 1), math.log(density)), levels, place.scale, 64, 128)
    return HashGridField(SHAPE, place, weights, guide)


def ray_along_x(distance: float = 10.0) -> Rays:
    """From so far before the box's centre through it."""
    origin = torch.tensor([CENTER]) - torch.tensor([[distance, 0.0, 0.0]])
    return Rays(origin, torch.tensor([[1.0, 0.0, 0.0]]))


def test_it_is_a_field():
    field = constant_field(1.5)
    assert isinstance(field, RadianceField)
    assert field.num_parameters == SHAPE.levels.rows * 2 + SHAPE.layers.num_weights + 15


@pytest.mark.parametrize("half", [0.01, 2.0, 300.0])
def test_a_ray_through_a_full_box(half):
    """Alpha = 1 - exp(-1.5 * 2) whatever the box's size; the colour is grey, sigmoid(0)."""
    seen = constant_field(1.5, half).shade(ray_along_x(3 * half))
    assert seen.alphas.item() == pytest.approx(1 - math.exp(-3.0), rel=2e-3)
    assert seen.colors[0].tolist() == pytest.approx([seen.alphas.item() / 2] * 3, rel=1e-5)
    mean = 1 / 1.5 - 2 * math.exp(-3.0) / (1 - math.exp(-3.0))  # of the exponential over [0, 2]
    assert seen.distances.item() == pytest.approx(2 * half + half * mean, rel=2e-3)


def test_densities_count_by_scene_units_and_end_with_the_box():
    field = constant_field(1.5, half=4.0)
    inside, outside = torch.tensor([CENTER]), torch.tensor([CENTER]) + 4.1
    assert field.densities(torch.cat([inside, outside])).tolist() == pytest.approx([1.5 / 4, 0.0])
    assert constant_field(1.5, contracted=True).densities(outside).item() == pytest.approx(1.5 / 2)


def test_a_contracted_field_is_seen_outside_its_box():
    """From the centre outwards: all of the way to `far`."""
    field = constant_field(0.1, half=2.0, contracted=True)
    seen = field.shade(Rays(torch.tensor([CENTER]), torch.tensor([[0.0, 0.0, 1.0]])))
    assert seen.alphas.item() == pytest.approx(1 - math.exp(-0.1 * 50 / 2), rel=0.01)


def test_a_ray_is_the_same_however_its_samples_are_divided(monkeypatch):
    """Looked at in parts, or all at once; and one that ends early is as opaque as light that is left says."""
    one, aside = ray_along_x(), torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 9, 0]])
    rays = Rays(one.origins + aside, one.directions.repeat(3, 1))
    for density in (1.5, 400.0):
        field = constant_field(density)
        in_parts = field.shade(rays)
        with monkeypatch.context() as patched:
            patched.setattr(along_rays, "FIRST_SAMPLES", 5000)
            at_once = field.shade(rays)
        for name in ("colors", "alphas", "distances"):
            torch.testing.assert_close(getattr(in_parts, name), getattr(at_once, name), rtol=1e-4, atol=1e-4)
    assert in_parts.alphas.tolist() == pytest.approx([1, 1, 0], abs=2e-4)


def test_nobody_looks_behind_what_is_opaque(monkeypatch):
    looked_at, before = [], hashgrid.hash_encode
    monkeypatch.setattr(hashgrid, "hash_encode", lambda p, *rest: (looked_at.append(len(p)), before(p, *rest))[1])
    constant_field(1.5).shade(ray_along_x())
    thin, looked_at[:] = sum(looked_at), []
    constant_field(1e5).shade(ray_along_x())
    assert sum(looked_at) == along_rays.FIRST_SAMPLES < thin / 10


def test_proposals_look_where_the_guess_is():
    """A guess that something stands behind a wall's distance: nearly all samples lie there, in all directions."""
    levels = HashLevels(1, 64, 64, 20)
    z, y, x = torch.meshgrid(*(torch.arange(65.0) / 64,) * 3, indexing="ij")
    away = 4 * ((x - 0.5).square() + (y - 0.5).square() + (z - 0.5).square()).sqrt()  # 1 at the box's ball
    table = torch.where((away > 0.75) & (away < 1), 4.0, -20.0).flatten()[:, None]
    scale = HashGridPlace(CENTER, 1.0, True, far=50.0, knee=1.0).scale
    guide = ProposalGuide(table, levels, scale, 64, 32)
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    found = guide.samples(Rays(torch.zeros(20, 3), directions), torch.full((20,), 0.5))
    assert ((found.ts > 0.65) & (found.ts < 1.1)).double().mean() > 0.9
    assert found.ray_offsets.diff().tolist() == [48] * 20


def test_intervals_of_a_contracted_scene_lie_where_the_march_says():
    rays = Rays(torch.tensor([[0.2, -3.0, 0.1], [0.5, 0.1, 0.0]]), torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]))
    edges = torch.linspace(0, 1, 9).repeat(2, 1)
    found = interval_samples(rays, edges, RayScale(0.1, 1.0, 50.0))
    places = rays.origins.repeat_interleave(8, 0) + found.ts[:, None] * rays.directions.repeat_interleave(8, 0)
    expected = grid_positions(places, torch.tensor([0.0, 0.0, 0.0, 1.0]), contracted=True)
    torch.testing.assert_close(found.positions, expected)
    torch.testing.assert_close(found.deltas.view(2, 8).sum(dim=1), torch.full((2,), 49.9))


def test_no_rays():
    nobody = constant_field(1.0).shade(Rays(torch.zeros(0, 3), torch.zeros(0, 3)))
    assert nobody.colors.shape == (0, 3) and nobody.distances.shape == (0,)
