"""The field in a hash grid: what it says of places and along rays, where that is known."""

import math

import pytest
import torch

from neural3d.fields import hashgrid
from neural3d.fields.field import RadianceField
from neural3d.fields.hashgrid import HashGridField, HashGridPlace, HashGridShape, HashGridWeights, march_rays
from neural3d.fields.rays import Rays
from neural3d.ops.records import HashLevels

SHAPE = HashGridShape(HashLevels(2, 4, 8, 8), features=2, width=16, appearance=3)
CENTER = (1.0, -2.0, 0.5)


def constant_field(density: float, half: float = 2.0, *, contracted: bool = False) -> HashGridField:
    """The same density (per length in the field's frame) and grey everywhere."""
    first, second, *others = SHAPE.layers.split(torch.zeros(SHAPE.layers.num_weights))
    first[0], second[0, 0] = 1 / 4, math.log(density)
    layers = torch.cat([matrix.flatten() for matrix in (first, second, *others)])
    weights = HashGridWeights(torch.ones(SHAPE.levels.rows, 2), layers, torch.zeros(5, 3))
    place = HashGridPlace(CENTER, half, contracted, **({"far": 50.0, "cone": 1 / 256} if contracted else {}))
    return HashGridField(SHAPE, place, weights, torch.ones(8, 8, 8, dtype=torch.bool))


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
            patched.setattr(hashgrid, "FIRST_SAMPLES", 5000)
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
    assert sum(looked_at) == hashgrid.FIRST_SAMPLES < thin / 10


def test_steps_are_as_long_as_those_of_a_ray_from_the_centre():
    """What is thin for a step nearby may be opaque for one far away."""
    field = constant_field(1.0, contracted=True)
    direction = torch.nn.functional.normalize(torch.tensor([[1.0, -2.0, 0.5]]), dim=1)
    samples = march_rays(Rays(torch.zeros(1, 3), direction), torch.zeros(1), field.occupied, field.place)
    steps = field.place.steps_at(samples.positions)
    torch.testing.assert_close(steps, samples.deltas, rtol=0.01, atol=0.0)
    assert steps.max() > 20 * steps.min()


def test_no_rays():
    nobody = constant_field(1.0).shade(Rays(torch.zeros(0, 3), torch.zeros(0, 3)))
    assert nobody.colors.shape == (0, 3) and nobody.distances.shape == (0,)
