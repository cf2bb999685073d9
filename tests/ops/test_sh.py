"""Spherical harmonics: the basis against its textbook definition, the clamp, and the derivative."""

import math

import pytest
import torch
from torch import Tensor

from neural3d.reference.sh import sh_basis

from .backends import Backend, gradients
from .random_scenes import as_dtype, make_gaussians
from .tolerances import GRADCHECK, assert_close

CENTER = torch.tensor([0.2, -0.3, -4.0], dtype=torch.float64)
ORIGIN = torch.zeros(3, dtype=torch.float64)


def basis(backend: Backend, directions: Tensor, degree: int = 3) -> Tensor:
    """Y_k at directions, read off the colours of Gaussians with one coefficient each."""
    num_bases = (degree + 1) ** 2
    columns = []
    for k in range(num_bases):
        sh = torch.zeros(len(directions), num_bases, 3, dtype=torch.float64)
        sh[:, k] = 0.1
        columns.append((backend.sh_colors(directions, sh, ORIGIN, degree, None)[:, 0] - 0.5) / 0.1)
    return torch.stack(columns, dim=1)


def textbook_harmonic(degree: int, order: int, direction: Tensor) -> float:
    """Real Y_lm with the Condon-Shortley phase from associated Legendre polynomials (Rodrigues' formula)."""
    x, y, z = direction.tolist()
    power = torch.tensor([1.0], dtype=torch.float64)
    for _ in range(degree):  # (t^2 - 1)^degree, coefficients in ascending order
        power = torch.nn.functional.pad(power, (2, 0)) - torch.nn.functional.pad(power, (0, 2))
    m = abs(order)
    for _ in range(degree + m):
        power = power[1:] * torch.arange(1, len(power), dtype=torch.float64)
    legendre = (-1) ** m * (1 - z * z) ** (m / 2) / (2**degree * math.factorial(degree))
    legendre *= sum(coefficient * z**i for i, coefficient in enumerate(power.tolist()))
    norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m))
    azimuth = m * math.atan2(y, x)
    turn = 1 if m == 0 else math.sqrt(2) * (math.cos(azimuth) if order > 0 else math.sin(azimuth))
    return norm * legendre * turn


def test_the_basis_is_the_textbooks(backend):
    directions = torch.nn.functional.normalize(make_gaussians(20)["means_world"], dim=1)
    orders = [(degree, order) for degree in range(4) for order in range(-degree, degree + 1)]
    expected = [[textbook_harmonic(*order, direction) for order in orders] for direction in directions]
    assert_close(basis(backend, directions), torch.tensor(expected, dtype=torch.float64), "float64 truth")


def test_only_the_direction_counts(backend):
    means_world = make_gaussians(20)["means_world"]
    assert_close(basis(backend, 100 * means_world), basis(backend, means_world), "float64 truth")


def test_at_the_camera_there_is_no_direction(backend):
    sh = make_gaussians(1)["sh"]
    colors = backend.sh_colors(CENTER[None].clone(), sh, CENTER, 1, None)
    assert_close(colors, 0.5 + 0.28209479177387814 * sh[:, 0], "float64 truth")


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_higher_coefficients_get_no_gradient(backend, degree):
    gaussians = make_gaussians(20)
    inputs = {name: gaussians[name] for name in ("means_world", "sh")}
    grads = gradients(lambda g: backend.sh_colors(g["means_world"], g["sh"], CENTER, degree, None), inputs)
    used = (degree + 1) ** 2
    assert (grads["sh"][:, :used] != 0).all() and (grads["sh"][:, used:] == 0).all()
    assert (grads["means_world"] != 0).any() == (degree > 0)


def test_dark_channels_culled_rows_and_broken_colours_are_black_without_gradient(backend):
    gaussians = make_gaussians(6)
    gaussians["sh"][0, 0] = torch.tensor([-9.0, 1.0, 1.0])
    gaussians["sh"][2, 3, 1] = torch.nan
    gaussians["sh"][3, 0, 2] = torch.inf
    gaussians["means_world"][4] = torch.nan
    extents_px = torch.ones(6, 2, dtype=torch.float64)
    extents_px[[1, 4]] = 0
    inputs = {name: gaussians[name] for name in ("means_world", "sh")}

    def function(g: dict[str, Tensor]) -> Tensor:
        return backend.sh_colors(g["means_world"], g["sh"], CENTER, 3, extents_px)

    colors, grads = function(inputs), gradients(function, inputs)
    assert colors[0, 0] == 0 and (grads["sh"][0, :, 0] == 0).all() and (grads["sh"][0, :, 1:] != 0).all()
    for row in (1, 2, 3, 4):
        assert (colors[row] == 0).all()
        assert all((grad[row] == 0).all() for grad in grads.values())
    assert (colors[5] > 0).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_derivative(backend, degree):
    gaussians = make_gaussians(4)
    leaves = (gaussians["means_world"].requires_grad_(), gaussians["sh"].requires_grad_())
    assert torch.autograd.gradcheck(
        lambda means_world, sh: backend.sh_colors(means_world, sh, CENTER, degree, None), leaves, **GRADCHECK
    )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_twins_agree(precision, reference, degree):
    gaussians = make_gaussians(203, degree=3)
    inputs = {name: gaussians[name] for name in ("means_world", "sh")}
    extents_px = torch.rand(203, 2, dtype=torch.float64).round()

    def colors(backend: Backend, g: dict[str, Tensor]) -> Tensor:
        dtype = g["sh"].dtype
        return backend.sh_colors(g["means_world"], g["sh"], CENTER.to(dtype), degree, extents_px.to(dtype))

    native, rounded = precision.native, as_dtype(inputs, precision.dtype)
    assert_close(colors(native, rounded), colors(reference, inputs), precision.values)
    expected, actual = (
        gradients(lambda g: colors(reference, g), inputs),
        gradients(lambda g: colors(native, g), rounded),
    )
    for name in inputs:
        assert_close(actual[name], expected[name], precision.grads)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_pulls_and_basis_are_the_gradient(precision, degree):
    """The outer product that the optimiser makes is what autograd finds, and so is the gradient by the means."""
    gaussians = as_dtype(make_gaussians(53, degree=3), precision.dtype)
    gaussians["sh"][7, 0] = -9.0  # dark
    extents_px = torch.rand(53, 2, dtype=precision.dtype).round()
    leaves = [gaussians[name].requires_grad_() for name in ("means_world", "sh")]
    center = CENTER.to(precision.dtype)
    colors = precision.native.sh_colors(*leaves, center, degree, extents_px)
    pull = torch.randn_like(colors)
    d_means, d_sh = torch.autograd.grad(colors, leaves, pull)
    inputs = [tensor.detach() for tensor in leaves]
    found, pulls = precision.native.sh_pulls(*inputs, center, degree, extents_px, colors.detach(), pull)
    assert torch.equal(found, d_means)
    directions = torch.nn.functional.normalize(inputs[0] - center, dim=1)
    products = sh_basis(directions, degree)[:, :, None] * pulls[:, None]
    assert_close(products, d_sh[:, : (degree + 1) ** 2].double(), precision.grads)
    assert (pulls[7] == 0).all() and (pulls[extents_px[:, 0] == 0] == 0).all() and (pulls != 0).any()


def test_pulls_of_both_twins_agree(precision, reference):
    gaussians = make_gaussians(203, degree=3)
    colors, pull = reference.sh_colors(gaussians["means_world"], gaussians["sh"], CENTER, 3), torch.randn(203, 3)
    exact = (gaussians["means_world"], gaussians["sh"], CENTER, 3, None, colors, pull.double())
    rounded = (value.to(precision.dtype) if isinstance(value, Tensor) else value for value in exact)
    for actual, expected in zip(precision.native.sh_pulls(*rounded), reference.sh_pulls(*exact), strict=True):
        assert_close(actual, expected, precision.grads)
