"""Features to densities and colours through small dense layers."""

import math

import pytest
import torch

from neural3d.ops.records import RadianceLayers

from .backends import gradients
from .random_rays import LAYERS, make_samples
from .tolerances import GRADCHECK, assert_close

BIG = RadianceLayers(inputs=32, ray_inputs=16)
SHAPES = [LAYERS, BIG, RadianceLayers(1, 1, width=16, geometry=1), RadianceLayers(33, 20, width=128, geometry=17)]


def make_inputs(layers: RadianceLayers, rays: int, most: int = 9) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Leaves in double, and the rays' offsets."""
    generator = torch.Generator().manual_seed(2)
    offsets = make_samples(rays, most=most).ray_offsets
    sizes = {
        "features": (int(offsets[-1]), layers.inputs),
        "weights": (layers.num_weights,),
        "ray_features": (rays, layers.ray_inputs),
    }
    leaves = {name: torch.randn(*size, generator=generator, dtype=torch.float64) for name, size in sizes.items()}
    leaves["weights"] *= (2 / layers.width) ** 0.5
    return leaves, offsets


def test_one_unit_by_hand(backend):
    """From x = 3 through W1 = 2: g = 6 W2 with W2 = (1/6, 1/2); the colour's layers see (1, 3, v = 1) by ones."""
    layers = RadianceLayers(inputs=1, ray_inputs=1, width=1, geometry=2)
    weights = torch.tensor([2.0, 1 / 6, 0.5, 1.0, 1.0, 1.0, 0.1, 1.0, -1.0, 0.0], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    density, color = backend.radiance_mlp(3 * one, weights, one, torch.tensor([0, 1], dtype=torch.int32), layers)
    assert density.item() == pytest.approx(math.e)
    assert color[0].tolist() == pytest.approx([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5)), 0.5])


def test_densities_alone_are_those_with_colours(backend):
    leaves, offsets = make_inputs(LAYERS, 30)
    whole, _ = backend.radiance_mlp(**leaves, ray_offsets=offsets, layers=LAYERS)
    alone = backend.density_mlp(leaves["features"], leaves["weights"], LAYERS)
    assert_close(alone, whole, "float64 truth")
    some = {name: leaves[name] for name in ("features", "weights")}
    pull = gradients(lambda leaf: backend.density_mlp(**leaf, layers=LAYERS), some)["weights"]
    assert (pull[LAYERS.num_density_weights :] == 0).all() and (pull[: LAYERS.num_density_weights] != 0).any()


def test_a_ray_tells_its_own_samples_alone(backend):
    leaves, offsets = make_inputs(LAYERS, 30)
    density, color = backend.radiance_mlp(**leaves, ray_offsets=offsets, layers=LAYERS)
    leaves["ray_features"][7] += 1
    other_density, other_color = backend.radiance_mlp(**leaves, ray_offsets=offsets, layers=LAYERS)
    changed = (other_color != color).any(dim=1).nonzero()[:, 0]
    assert torch.equal(density, other_density)
    assert changed.tolist() == list(range(int(offsets[7]), int(offsets[8]))) != []


def test_a_density_stays_finite_and_finds_back(backend):
    """At g = 40 the density is e^15, and falls with a slope as if it were e^x there."""
    layers = RadianceLayers(inputs=1, ray_inputs=1, width=1, geometry=1)
    leaves = {"features": torch.tensor([[40.0]]), "weights": torch.ones(layers.num_weights)}
    pull = gradients(lambda leaf: backend.density_mlp(**leaf, layers=layers), leaves)
    assert backend.density_mlp(**leaves, layers=layers).item() == pytest.approx(math.exp(15), rel=1e-6)
    assert pull["features"].abs().item() > 1


@pytest.mark.parametrize("layers", [RadianceLayers(2, 2, width=3, geometry=2), RadianceLayers(5, 1, 16, 3)])
def test_derivative(backend, layers):
    leaves, offsets = make_inputs(layers, 5, most=3)
    run = lambda f, w, r: backend.radiance_mlp(f, w, r, offsets, layers)  # noqa: E731
    assert torch.autograd.gradcheck(run, [leaf.requires_grad_() for leaf in leaves.values()], **GRADCHECK)


@pytest.mark.parametrize("layers", SHAPES)
def test_twins_agree(precision, reference, layers):
    """150 rays: several groups, of which the last is not full, and blocks that hold pieces of rays."""
    exact, offsets = make_inputs(layers, 150)
    typed = {name: value.to(precision.dtype) for name, value in exact.items()}

    def run(backend, values):
        def look(leaf):
            density, color = backend.radiance_mlp(**leaf, ray_offsets=offsets, layers=layers)
            return density.log(), color

        return look(values), gradients(look, values)

    (ours, our_pulls), (theirs, their_pulls) = run(precision.native, typed), run(reference, exact)
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other, precision.values)
    for name in exact:
        assert_close(our_pulls[name], their_pulls[name], precision.grads)


def test_no_samples(each_native):
    leaves = {
        "features": torch.zeros(0, BIG.inputs),
        "weights": torch.rand(BIG.num_weights),
        "ray_features": torch.rand(3, BIG.ray_inputs),
    }
    offsets = torch.zeros(4, dtype=torch.int32)
    density, color = each_native.radiance_mlp(**leaves, ray_offsets=offsets, layers=BIG)
    assert density.shape == (0,) and color.shape == (0, 3)
    pulls = gradients(lambda leaf: each_native.radiance_mlp(**leaf, ray_offsets=offsets, layers=BIG), leaves)
    assert (pulls["weights"] == 0).all() and (pulls["ray_features"] == 0).all()
