"""Per-photo exposure."""

import pytest
import torch

from .backends import gradients
from .tolerances import GRADCHECK, assert_close


def test_one_pixel(backend):
    image = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).reshape(3, 1, 1)
    matrix = torch.tensor([[1.0, 0, 0, 0.5], [0, 2.0, 0, 0], [1.0, 1.0, 1.0, -0.1]], dtype=torch.float64)
    assert backend.color_affine(image, matrix).flatten().tolist() == pytest.approx([0.6, 0.4, 0.5], rel=1e-12)


def test_the_identity_changes_no_bit(backend):
    image = torch.rand(3, 17, 33)
    assert torch.equal(backend.color_affine(image, torch.eye(3, 4)), image)


def test_derivative(backend):
    leaves = (torch.rand(3, 3, 5, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64))
    assert torch.autograd.gradcheck(backend.color_affine, [leaf.requires_grad_() for leaf in leaves], **GRADCHECK)


def test_twins_agree(precision, reference):
    exact = {"image": torch.rand(3, 47, 33, dtype=torch.float64), "matrix": torch.randn(3, 4, dtype=torch.float64)}
    inputs = {name: tensor.to(precision.dtype) for name, tensor in exact.items()}
    assert_close(precision.native.color_affine(**inputs), reference.color_affine(**exact), precision.values)
    actual, expected = (
        gradients(lambda leaves, backend=backend: backend.color_affine(**leaves), tensors)
        for backend, tensors in ((precision.native, inputs), (reference, exact))
    )
    for name in exact:
        assert_close(actual[name], expected[name], precision.grads)
