"""Per-photo exposure by a grid."""

import math

import pytest
import torch

from .backends import gradients
from .tolerances import GRADCHECK, assert_close

IDENTITY = torch.eye(3, 4).flatten()


def constant(matrix: torch.Tensor, *nodes: int) -> torch.Tensor:
    """A grid of equal matrices."""
    return matrix.flatten().view(12, 1, 1, 1).expand(12, *nodes).contiguous()


def away_from_kinks(height: int, width: int, nodes_z: int) -> torch.Tensor:
    """Colours whose luma, scaled to nodes, keeps 0.02 from every node, some of them outside [0, 1]."""
    image = torch.rand(3, height, width, dtype=torch.float64) * 1.4 - 0.2
    luma = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64), image)
    level = luma * max(nodes_z - 1, 1)
    return image + (level.floor() + 0.02 + 0.96 * (level - level.floor()) - level) / max(nodes_z - 1, 1)


def test_one_pixel_between_eight_nodes(backend):
    """In the middle of the picture and at luma 0.25 of a 2 x 2 x 2 grid: weights 3/16 below and 1/16 above."""
    grid = torch.zeros(12, 2, 2, 2, dtype=torch.float64)
    grid[3] = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]])
    grid[4, 1] = 1.0
    image = torch.full((3, 1, 1), 0.25, dtype=torch.float64)
    expected = [3 / 16 * 10 + 1 / 16 * 100, 1 / 4 * 0.25, 0.0]
    assert backend.bilateral_slice(image, grid).flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_nodes_span_the_picture_and_the_luma(backend):
    """A grid that is linear along each axis gives back the position."""
    grid = torch.zeros(12, 4, 5, 3, dtype=torch.float64)
    axes = [torch.linspace(0, 1, size, dtype=torch.float64) for size in (4, 5, 3)]
    grid[11], grid[7], grid[3] = torch.meshgrid(*axes, indexing="ij")
    image = torch.rand(1, 7, 90, dtype=torch.float64).expand(3, 7, 90).contiguous()
    out = backend.bilateral_slice(image, grid)
    x, y = (torch.arange(90) + 0.5) / 90, (torch.arange(7) + 0.5) / 7
    assert_close(out[0], x.double().expand(7, 90), "float32 law")
    assert_close(out[1], y.double()[:, None].expand(7, 90), "float32 law")
    assert_close(out[2], image[0], "float64 truth")


def test_the_luma_is_clamped(backend):
    grid = torch.zeros(12, 2, 1, 1, dtype=torch.float64)
    grid[3, :, 0, 0] = torch.tensor([5.0, 7.0])
    image = torch.tensor([-3.0, 0.0, 1.1, 9.0], dtype=torch.float64).expand(3, 1, 4).contiguous().requires_grad_()
    out = backend.bilateral_slice(image, grid)
    assert out[0, 0].tolist() == pytest.approx([5.0, 5.0, 7.0, 7.0])
    (slope,) = torch.autograd.grad(out[0].sum(), image)
    assert slope.sum(dim=0).flatten().tolist() == pytest.approx([0.0, 2.0, 0.0, 0.0])


def test_the_identity_changes_nothing(backend):
    image = torch.rand(3, 61, 130, dtype=torch.float64) * 1.5 - 0.25
    assert_close(backend.bilateral_slice(image, constant(IDENTITY.double(), 8, 16, 16)), image, "float64 truth")


@pytest.mark.parametrize("nodes", [(1, 1, 1), (8, 16, 16), (2, 1, 40)])
def test_equal_nodes_are_one_affine_map(precision, nodes):
    image, matrix = torch.rand(3, 19, 70).to(precision.dtype), torch.randn(3, 4).to(precision.dtype)
    expected = precision.native.color_affine(image, matrix)
    inputs = {"image": image, "grid": constant(matrix, *nodes)}
    assert_close(precision.native.bilateral_slice(**inputs), expected, precision.values)
    ours = gradients(lambda leaves: precision.native.bilateral_slice(**leaves), inputs)
    theirs = gradients(lambda leaves: precision.native.color_affine(**leaves), {"image": image, "matrix": matrix})
    assert_close(ours["grid"].sum(dim=(1, 2, 3)).view(3, 4), theirs["matrix"], precision.grads)
    assert_close(ours["image"], theirs["image"], precision.grads)


@pytest.mark.parametrize("nodes", [(1, 1, 1), (4, 3, 2)])
def test_derivative(backend, nodes):
    leaves = (away_from_kinks(3, 5, nodes[0]), torch.randn(12, *nodes, dtype=torch.float64))
    assert torch.autograd.gradcheck(backend.bilateral_slice, [leaf.requires_grad_() for leaf in leaves], **GRADCHECK)


@pytest.mark.parametrize("size, nodes", [((47, 133), (8, 16, 16)), ((5, 70), (3, 1, 4)), ((9, 3), (2, 12, 16))])
def test_twins_agree(precision, reference, size, nodes):
    exact = {"image": away_from_kinks(*size, nodes[0]), "grid": torch.randn(12, *nodes, dtype=torch.float64)}
    inputs = {name: tensor.to(precision.dtype) for name, tensor in exact.items()}
    assert_close(precision.native.bilateral_slice(**inputs), reference.bilateral_slice(**exact), precision.values)
    actual, expected = (
        gradients(lambda leaves, backend=backend: backend.bilateral_slice(**leaves), tensors)
        for backend, tensors in ((precision.native, inputs), (reference, exact))
    )
    for name in exact:
        assert_close(actual[name], expected[name], precision.grads)


def test_what_lies_in_memory_is_of_no_account(each_native):
    """Work space is used again: a picture of no numbers before leaves nothing behind."""
    image, grid = torch.rand(3, 40, 50), torch.randn(12, 8, 6, 5)
    run = lambda leaves: each_native.bilateral_slice(**leaves)  # noqa: E731
    expected = gradients(run, {"image": image, "grid": grid})
    gradients(run, {"image": torch.full((3, 90, 200), math.nan), "grid": torch.full((12, 9, 8, 7), math.nan)})
    actual = gradients(run, {"image": image, "grid": grid})
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
