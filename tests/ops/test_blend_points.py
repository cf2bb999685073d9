"""Features of near points, blended at places."""

import pytest
import torch
from torch import Tensor

from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.point_index import index_points

from .backends import gradients
from .tolerances import GRADCHECK, assert_close

RADIUS = 0.2


def make_inputs(width: int, dtype: torch.dtype = torch.float64, points: int = 90, places: int = 130) -> tuple:
    """What is learnt, and what is not: places, points, neighbours."""
    generator = torch.Generator().manual_seed(3)

    def random(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator, dtype=torch.float64)

    learnt = {"embeddings": random(points, width) - 0.5, "confidences": random(points), "mix": random(3, width) - 0.5}
    where = {"positions": 1.1 * random(places, 3), "points": random(points, 3)}
    index = index_points(where["points"], RADIUS)
    neighbors = nearest_points(where["positions"], index, 5)
    cast = {name: tensor.to(dtype) for name, tensor in learnt.items()}
    return cast, {name: tensor.to(dtype) for name, tensor in where.items()} | {"neighbors": neighbors, "radius": RADIUS}


@pytest.mark.parametrize("width", [16, 32, 64])
def test_twins_agree(precision, reference, width):
    exact, where = make_inputs(width)
    learnt, places = make_inputs(width, precision.dtype)
    expected = reference.blend_points(**exact, **where)
    for ours, theirs in zip(precision.native.blend_points(**learnt, **places), expected, strict=True):
        assert_close(ours, theirs, precision.values)
    ours = gradients(lambda leaf: precision.native.blend_points(**leaf, **places), learnt)
    theirs = gradients(lambda leaf: reference.blend_points(**leaf, **where), exact)
    for name in exact:
        assert_close(ours[name], theirs[name], precision.grads)


def test_derivative(backend):
    learnt, where = make_inputs(16, points=12, places=6)
    where["neighbors"] = nearest_points(where["positions"], index_points(where["points"], 1.0), 3)
    where["radius"] = 1.0
    leaves = [tensor.requires_grad_() for tensor in learnt.values()]
    function = lambda *values: backend.blend_points(**dict(zip(learnt, values, strict=True)), **where)  # noqa: E731
    assert torch.autograd.gradcheck(function, leaves, **GRADCHECK)


def test_one_point_by_hand(backend):
    """Half a radius away the weight is 1 / 0.5 - 1 = 1, and the share of it and of empty space a half each."""
    x, point = torch.tensor([[0.1, 0.0, 0.0]], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    embeddings = torch.linspace(-1, 1, 16, dtype=torch.float64)[None]
    mix = torch.zeros(3, 16, dtype=torch.float64)
    mix[0] = 1.0
    neighbors = torch.tensor([[0, -1]], dtype=torch.int32)
    confidences = torch.tensor([0.6], dtype=torch.float64)
    features, confidence = backend.blend_points(x, point, embeddings, confidences, mix, neighbors, RADIUS)
    assert_close(features, 0.5 * 0.6 * (embeddings + 0.5).clamp(min=0), "float64 truth")
    assert confidence.item() == pytest.approx(0.3)


def test_all_fades_out_at_the_radius(backend):
    """A step over the border of a point's reach changes (nearly) nothing."""
    points = torch.tensor([[0.0, 0, 0], [0.05, 0, 0]], dtype=torch.float64)
    border = torch.tensor([[RADIUS + 0.05 - 1e-9, 0, 0]], dtype=torch.float64)
    features, confidence = backend.blend_points(
        border, points, torch.ones(2, 16, dtype=torch.float64), torch.ones(2, dtype=torch.float64),
        torch.ones(3, 16, dtype=torch.float64), torch.tensor([[1]], dtype=torch.int32), RADIUS,
    )  # fmt: skip
    assert 0 < confidence.item() < 1e-7 and features.abs().max() < 1e-6


def test_on_a_point_and_near_nothing(backend):
    points = torch.rand(2, 3, dtype=torch.float64)
    neighbors = torch.tensor([[0], [-1]], dtype=torch.int32)
    ones = torch.ones(2, 16, dtype=torch.float64)
    features, confidence = backend.blend_points(
        points, points, ones, torch.ones(2, dtype=torch.float64), torch.zeros(3, 16, dtype=torch.float64), neighbors,
        RADIUS,
    )  # fmt: skip
    assert confidence.tolist() == [pytest.approx(0.999), 0] and features[0, 0] == pytest.approx(0.999)
    assert (features[1] == 0).all()


def test_the_order_of_points_changes_nothing(backend):
    learnt, where = make_inputs(16)
    turned = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    back = torch.argsort(turned).int()
    rows = {"embeddings": learnt["embeddings"][turned], "confidences": learnt["confidences"][turned]}
    neighbors = torch.where(where["neighbors"] >= 0, back[where["neighbors"].clamp(min=0).long()], -1)
    moved = where | {"points": where["points"][turned], "neighbors": neighbors}
    for one, other in zip(
        backend.blend_points(**learnt, **where), backend.blend_points(**(learnt | rows), **moved), strict=True
    ):
        assert torch.equal(one, other)


def test_threads_change_no_bit(each_native):
    learnt, where = make_inputs(32, torch.float32, points=1500, places=2500)
    torch.set_num_threads(1)
    expected = gradients(lambda leaf: each_native.blend_points(**leaf, **where), learnt)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        found = gradients(lambda leaf: each_native.blend_points(**leaf, **where), learnt)
        assert all(torch.equal(found[name], expected[name]) for name in learnt)


def test_no_places_and_no_points(native):
    for sizes in ({"places": 0}, {"points": 0}, {"places": 0, "points": 0}):
        learnt, where = make_inputs(16, torch.float32, **sizes)
        features, confidence = native.blend_points(**learnt, **where)
        assert features.shape == (len(where["positions"]), 16) and confidence.shape == (len(where["positions"]),)
        assert (features == 0).all() and (confidence == 0).all()
        found = gradients(lambda leaf, where=where: native.blend_points(**leaf, **where), learnt)
        assert all((gradient == 0).all() for gradient in found.values())


def test_there_is_no_such_point():
    """For whoever calls the operator past its wrapper."""
    learnt, where = make_inputs(16, torch.float32)
    with pytest.raises(RuntimeError, match="there is no such point"):
        torch.ops.neural3d.blend_points(
            where["positions"], where["points"], *learnt.values(), where["neighbors"] + 90, RADIUS
        )
