"""Numbers that nobody should pass: the image stays finite, and whoever is culled leaves no trace."""

import math
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from .backends import Backend, Cutoffs, gradients, project, render
from .random_scenes import as_dtype, make_gaussians, make_view

MAGNITUDES = (1e-45, 1.1754944e-38, 1e-10, 1.1920929e-07, 1.0, 30.0, 100.0, 1e10, 1e20, 3.4028234e38, math.inf)
POISON = (0.0, -0.0, math.nan, *MAGNITUDES, *(-magnitude for magnitude in MAGNITUDES))
SIZES = [(1, 1), (1, 17), (17, 1), (33, 47)]
FIELDS = ("means_world", "quats_wxyz", "log_scales", "logit_opacities", "sh")
BACKGROUND = torch.tensor([0.2, 0.5, 0.8])
ROW = 2


def poisoned(field: str, value: float, whole_row: bool) -> dict[str, Tensor]:
    """Five Gaussians, of which one has the value in one number of one field, or in all."""
    gaussians = as_dtype(make_gaussians(5, size=0.5), torch.float32)
    row = gaussians[field].reshape(5, -1)[ROW]
    row[slice(None) if whole_row else slice(-1, None)] = value
    return gaussians


def check(backend: Backend, gaussians: dict[str, Tensor], size: tuple[int, int], row: int | None) -> None:
    """All outputs are finite; culled rows are zero with zero gradient and change no pixel."""
    view = make_view(*size).to(torch.float32)
    seen = project(backend, gaussians, view)
    culled = seen.extents_px[:, 0] == 0
    assert all(field.isfinite().all() and (field[culled] == 0).all() for field in astuple(seen))

    image, alphas = render(backend, gaussians, view, BACKGROUND)
    assert image.isfinite().all() and alphas.isfinite().all()
    assert (alphas >= 0).all() and (alphas < 1).all()
    grads = gradients(lambda g: render(backend, g, view, BACKGROUND), gaussians)
    assert all((grad[culled] == 0).all() for grad in grads.values())

    if row is not None and culled[row]:
        others = torch.arange(len(culled)) != row
        without = {name: tensor[others] for name, tensor in gaussians.items()}
        assert all(map(torch.equal, render(backend, without, view, BACKGROUND), (image, alphas)))
        assert all(grad[others].isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("field", FIELDS)
def test_one_bad_number(each_native, field):
    for index, value in enumerate(POISON):
        for whole_row in (False, True):
            check(each_native, poisoned(field, value, whole_row), SIZES[index % len(SIZES)], ROW)


@pytest.mark.parametrize("field", FIELDS)
def test_bad_numbers_in_the_twin(reference, field):
    gaussians = as_dtype(make_gaussians(len(POISON), size=0.5), torch.float32)
    gaussians[field].copy_(torch.tensor(POISON).reshape(-1, *(1,) * (gaussians[field].dim() - 1)))
    check(reference, gaussians, (33, 47), None)


@pytest.mark.parametrize("size", SIZES)
def test_bad_numbers_everywhere(each_native, size):
    generator = torch.Generator().manual_seed(11)
    values = torch.tensor(POISON)
    for seed in range(20):
        gaussians = as_dtype(make_gaussians(30, seed=seed, size=0.5), torch.float32)
        for tensor in gaussians.values():
            chosen = torch.rand(tensor.shape, generator=generator) < 0.05
            poison = values[torch.randint(len(values), tensor.shape, generator=generator)]
            tensor[chosen] = poison[chosen]
        check(each_native, gaussians, size, None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hardly_any_gaussians(backend, count, size, dtype):
    view, gaussians = make_view(*size).to(dtype), as_dtype(make_gaussians(count, size=2.0), dtype)
    background = BACKGROUND.to(dtype)
    image, alphas = render(backend, gaussians, view, background)
    assert image.shape == (3, size[1], size[0]) and alphas.shape == (size[1], size[0])
    assert (alphas > 0).any() == (count > 0)
    if count == 0:
        assert torch.equal(image, background[:, None, None].expand_as(image))
    grads = gradients(lambda g: render(backend, g, view, background), gaussians)
    assert all(grad.shape == gaussians[name].shape and grad.isfinite().all() for name, grad in grads.items())


def test_everyone_culled_is_background(backend):
    gaussians = as_dtype(make_gaussians(20), torch.float32)
    gaussians["means_world"][:, 2] -= 100
    view = make_view().to(torch.float32)
    image, alphas = render(backend, gaussians, view, BACKGROUND)
    assert torch.equal(image, BACKGROUND[:, None, None].expand_as(image)) and (alphas == 0).all()
    grads = gradients(lambda g: render(backend, g, view, BACKGROUND), gaussians)
    assert all((grad == 0).all() for grad in grads.values())


def test_a_wall_of_opaque_gaussians(backend):
    """A hundred Gaussians of alpha 0.99 behind one another: 1 / (1 - alpha) a hundred times over."""
    gaussians = as_dtype(make_gaussians(100, size=3.0), torch.float32)
    gaussians["logit_opacities"][:] = 20.0
    view = make_view().to(torch.float32)
    for cutoffs in (Cutoffs(), Cutoffs(0.0, 0.0)):
        image, alphas = render(backend, gaussians, view, BACKGROUND, cutoffs=cutoffs)
        assert image.isfinite().all() and (alphas <= 1).all() and alphas.min() > 0.999
        grads = gradients(lambda g, cutoffs=cutoffs: render(backend, g, view, BACKGROUND, cutoffs=cutoffs), gaussians)
        assert all(grad.isfinite().all() for grad in grads.values())
