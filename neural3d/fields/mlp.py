"""The network of the first paper: a place and a direction in, density and colour out; forward and backward by hand.

Written out layer by layer instead of with autograd, as most samples of a ray pull on nothing: the backward pass takes
only those rows that do, and remembers nothing of the others.

Source: Mildenhall et al. 2020, section 5.1 and figure 7.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.mlp_shape import MlpShape

Layers = Mapping[str, tuple[Float[Tensor, "O I"], Float[Tensor, "O"]]]
"""Weights and bias of each layer, views of one vector."""


def layers_of(vector: Float[Tensor, "P"], shape: MlpShape) -> Layers:
    """Views of the vector that holds a network."""
    found, start = {}, 0
    for name, (outputs, inputs) in shape.layers().items():
        middle, end = start + outputs * inputs, start + outputs * (inputs + 1)
        found[name] = (vector[start:middle].view(outputs, inputs), vector[middle:end])
        start = end
    return found


def fresh_network(shape: MlpShape, random: np.random.Generator) -> Float[Tensor, "P"]:
    """Weights spread evenly so that a ReLU keeps their signals' size, biases 0.

    Source: He et al. 2015, equation 10; Glorot and Bengio 2010 for the last layers, which have no ReLU in front.
    """
    vector = torch.zeros(shape.padded_size)
    for name, (weights, _) in layers_of(vector, shape).items():
        outputs, inputs = weights.shape
        ends = ("density", "feature", "color")
        bound = (6 / (inputs + outputs)) ** 0.5 if name in ends else (6 / inputs) ** 0.5
        drawn = random.uniform(-bound, bound, (outputs, inputs))
        weights.copy_(torch.from_numpy(drawn.astype(np.float32)))
    return vector


@dataclass(frozen=True)
class Answer:
    """What a network says of B samples, and what it takes to learn from it."""

    density: Float[Tensor, "B"]
    """Before the ReLU."""
    color: Float[Tensor, "B 3"]
    """Before the sigmoid."""
    trunk: tuple[Tensor, ...]
    """The encoded places, and each layer's output."""
    view: tuple[Tensor, ...]
    """Inputs of the layers behind the trunk."""


def ask(
    layers: Layers,
    shape: MlpShape,
    places: Float[Tensor, "B K"],
    directions: Float[Tensor, "B M"],
    *,
    remember: bool = False,
) -> Answer:
    """One pass through the network, for encoded places and directions, in the layers' precision."""
    hidden, trunk = places, [places]
    for i in range(shape.depth):
        given = torch.cat([hidden, places], dim=1) if i == shape.skip else hidden
        hidden = _linear(layers[f"trunk.{i}"], given).relu_()
        if remember:
            trunk.append(hidden)
    density = _linear(layers["density"], hidden)[:, 0]
    view: tuple[Tensor, ...] = ()
    if shape.direction_frequencies:
        given = torch.cat([_linear(layers["feature"], hidden), directions], dim=1)
        hidden = _linear(layers["view"], given).relu_()
        view = (given, hidden) if remember else ()
    color = _linear(layers["color"], hidden)
    kept = torch.promote_types(color.dtype, torch.float32)
    return Answer(density.to(kept), color.to(kept), tuple(trunk) if remember else (), view)


def teach(
    layers: Layers,
    shape: MlpShape,
    answer: Answer,
    d_density: Float[Tensor, "B"],
    d_color: Float[Tensor, "B 3"],
    gradient: Float[Tensor, "P"],
) -> None:
    """Add what the pulls on a remembered answer mean for the network's numbers to `gradient`."""
    grads, dtype = layers_of(gradient, shape), layers["density"][0].dtype
    pull_density, pull = d_density[:, None].to(dtype), d_color.to(dtype)
    top = answer.trunk[-1]
    if shape.direction_frequencies:
        given, hidden = answer.view
        pull = _linear_vjp(layers["color"], hidden, pull, grads["color"])
        pull = _linear_vjp(layers["view"], given, _relu_vjp(pull, hidden), grads["view"])
        pull = _linear_vjp(layers["feature"], top, pull[:, : shape.width].contiguous(), grads["feature"])
    else:
        pull = _linear_vjp(layers["color"], top, pull, grads["color"])
    pull = pull + _linear_vjp(layers["density"], top, pull_density, grads["density"])
    for i in reversed(range(shape.depth)):
        pull, given = _relu_vjp(pull, answer.trunk[i + 1]), answer.trunk[i]
        if i == shape.skip:
            given = torch.cat([given, answer.trunk[0]], dim=1)
        pull = _linear_vjp(layers[f"trunk.{i}"], given, pull, grads[f"trunk.{i}"], goes_on=i > 0)
        pull = pull[:, : shape.width]


def _linear(layer: tuple[Tensor, Tensor], given: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
    weights, bias = layer
    return torch.addmm(bias, given, weights.t())


def _linear_vjp(
    layer: tuple[Tensor, Tensor], given: Tensor, pull: Tensor, grads: tuple[Tensor, Tensor], *, goes_on: bool = True
) -> Tensor:
    grads[0].add_(pull.t() @ given)
    # A product with ones: in bfloat16 a sum would make a float32 copy of all rows first.
    grads[1].add_((pull.new_ones(1, len(pull)) @ pull)[0])
    return pull @ layer[0] if goes_on else pull


def _relu_vjp(pull: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(pull, output, 0)
