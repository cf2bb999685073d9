"""The network by hand against autograd, finite differences, and the paper's figure."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from neural3d.fields.encoding import positional_encoding
from neural3d.fields.mlp import ask, fresh_network, layers_of, teach
from neural3d.fields.mlp_shape import ROW, MlpShape

SHAPES = {
    "small": MlpShape(depth=4, width=8, skip=2, position_frequencies=2, direction_frequencies=1),
    "no skip": MlpShape(depth=2, width=6, skip=9, position_frequencies=1, direction_frequencies=2),
    "no direction": MlpShape(depth=3, width=6, skip=1, position_frequencies=2, direction_frequencies=0),
}


def autograds(vector: torch.Tensor, shape: MlpShape, places: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Figure 7 in five lines; density and colour before their last functions, side by side."""
    layers, hidden = layers_of(vector, shape), places
    for i in range(shape.depth):
        hidden = linear(torch.cat([hidden, places], dim=1) if i == shape.skip else hidden, *layers[f"trunk.{i}"]).relu()
    density, view = linear(hidden, *layers["density"]), hidden
    if shape.direction_frequencies:
        view = linear(torch.cat([linear(hidden, *layers["feature"]), directions], dim=1), *layers["view"]).relu()
    return torch.cat([density, linear(view, *layers["color"])], dim=1)


def case(shape: MlpShape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(4)
    vector = fresh_network(shape, np.random.default_rng(0)).double()
    vector += 0.05 * torch.randn(len(vector), generator=random)
    places = torch.randn(7, shape.position_size, generator=random, dtype=torch.float64)
    return vector, places, torch.randn(7, shape.direction_size, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("name", SHAPES)
def test_forward_and_backward_are_autograds(name):
    shape = SHAPES[name]
    vector, places, directions = case(shape)
    vector.requires_grad_()
    expected = autograds(vector, shape, places, directions)
    pulls = torch.randn(7, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (by_autograd,) = torch.autograd.grad((expected * pulls).sum(), vector)
    layers = layers_of(vector.detach(), shape)
    answer = ask(layers, shape, places, directions, remember=True)
    assert torch.allclose(torch.cat([answer.density[:, None], answer.color], dim=1), expected, atol=1e-12)
    gradient = torch.zeros_like(by_autograd)
    teach(layers, shape, answer, pulls[:, 0], pulls[:, 1:], gradient)
    assert torch.allclose(gradient, by_autograd, atol=1e-12)


def test_the_gradient_by_finite_differences():
    shape = MlpShape(depth=2, width=4, skip=1, position_frequencies=1, direction_frequencies=1)
    vector, places, directions = (tensor[:, :6] if tensor.dim() > 1 else tensor for tensor in case(shape))

    def out(numbers: torch.Tensor) -> torch.Tensor:
        return autograds(numbers, shape, places, directions)

    assert torch.autograd.gradcheck(out, vector.requires_grad_())


def test_the_papers_network_has_the_papers_layers():
    """Figure 7: 60 -> 8 x 256, the place again after the fifth, density, 256 features, 128 with the direction, 3."""
    shape = MlpShape()
    assert (shape.position_size, shape.direction_size) == (60, 24)
    expected = {f"trunk.{i}": (256, 256) for i in range(8)}
    expected |= {"trunk.0": (256, 60), "trunk.5": (256, 316), "density": (1, 256)}
    assert shape.layers() == {**expected, "feature": (256, 256), "view": (128, 280), "color": (3, 128)}
    assert shape.num_parameters == 593_924 and shape.padded_size % ROW == 0


def test_density_depends_on_the_place_alone():
    shape = SHAPES["small"]
    vector, places, directions = case(shape)
    layers = layers_of(vector, shape)
    one, other = ask(layers, shape, places, directions), ask(layers, shape, places, -directions)
    assert torch.equal(one.density, other.density) and not torch.equal(one.color, other.color)


def test_layers_share_the_vector_without_gap_or_overlap():
    shape = MlpShape()
    vector = torch.zeros(shape.padded_size)
    for weights, bias in layers_of(vector, shape).values():
        weights += 1
        bias += 1
    assert vector[: shape.num_parameters].eq(1).all() and not vector[shape.num_parameters :].any()


def test_signals_keep_their_size():
    """He's initialisation: neither do they vanish in eight layers, nor explode."""
    shape = MlpShape()
    layers = layers_of(fresh_network(shape, np.random.default_rng(1)), shape)
    places = positional_encoding(2 * torch.rand(512, 3) - 1, 10)
    answer = ask(layers, shape, places, torch.zeros(512, 24), remember=True)
    sizes = [float(hidden.square().mean()) for hidden in answer.trunk]
    assert all(0.2 < size / sizes[0] < 6 for size in sizes)


def test_the_encoding_is_equation_4():
    found = positional_encoding(torch.tensor([[0.25, -0.5]], dtype=torch.float64), 3)
    angles = [math.pi * 2**k * p for p in (0.25, -0.5) for k in range(3)]
    expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert torch.allclose(found[0], torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert positional_encoding(torch.zeros(4, 3), 0).shape == (4, 0)
