"""Laws of the whole pipeline, from Gaussians to an image."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from .backends import SMOOTH, Backend, Cutoffs, View, gradients, render
from .random_scenes import as_dtype, axis_angle, make_gaussians, make_view
from .test_project import quaternion, quaternion_product
from .tolerances import GRADCHECK, assert_close, assert_close_but_for_flips

BACKGROUND = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)


def test_the_order_of_the_gaussians_changes_no_bit(precision):
    native, dtype = precision.native, precision.dtype
    gaussians, view = as_dtype(make_gaussians(301), dtype), make_view().to(dtype)
    order = torch.randperm(301)
    shuffled = {name: tensor[order] for name, tensor in gaussians.items()}

    def function(g: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return render(native, g, view, BACKGROUND.to(dtype))

    for actual, expected in zip(function(shuffled), function(gaussians), strict=True):
        assert torch.equal(actual, expected)
    actual, expected = gradients(function, shuffled), gradients(function, gaussians)
    for name in gaussians:
        assert torch.equal(actual[name], expected[name][order])


def test_moving_world_and_camera_together_changes_no_pixel(backend):
    gaussians, view = make_gaussians(100), make_view()
    rotation, shift = axis_angle(torch.tensor([1.0, 2.0, 3.0]), 1.0), torch.tensor([5.0, -3.0, 2.0]).double()
    moved = gaussians | {
        "means_world": gaussians["means_world"] @ rotation.T + shift,
        "quats_wxyz": quaternion_product(quaternion(rotation), gaussians["quats_wxyz"]),
    }
    world_from_moved = torch.eye(4, dtype=torch.float64)
    world_from_moved[:3, :3], world_from_moved[:3, 3] = rotation.T, -rotation.T @ shift
    moved_view = View(view.camera_from_world @ world_from_moved, view.focal_px, view.principal_px, 37, 29)
    expected, _ = render(backend, gaussians, view, BACKGROUND, degree=0)
    actual, _ = render(backend, moved, moved_view, BACKGROUND, degree=0)
    assert_close(actual, expected, "float64 twin")


def test_colours_depend_on_directions_only(backend):
    """A pure shift of world and camera leaves the harmonics alone, whatever their degree."""
    gaussians, view = make_gaussians(100), make_view()
    shift = torch.tensor([5.0, -3.0, 2.0], dtype=torch.float64)
    moved = gaussians | {"means_world": gaussians["means_world"] + shift}
    camera_from_moved = view.camera_from_world.clone()
    camera_from_moved[:3, 3] -= view.camera_from_world[:3, :3] @ shift
    expected, _ = render(backend, gaussians, view, BACKGROUND)
    actual, _ = render(backend, moved, View(camera_from_moved, view.focal_px, view.principal_px, 37, 29), BACKGROUND)
    assert_close(actual, expected, "float64 twin")


def test_scaling_world_and_camera_together_changes_no_pixel(backend):
    gaussians, view = make_gaussians(100), make_view()
    larger = gaussians | {
        "means_world": 8 * gaussians["means_world"],
        "log_scales": gaussians["log_scales"] + torch.tensor(8.0, dtype=torch.float64).log(),
    }
    camera_from_world = view.camera_from_world.clone()
    camera_from_world[:3, 3] *= 8
    expected, _ = render(backend, gaussians, view, BACKGROUND)
    actual, _ = render(backend, larger, View(camera_from_world, view.focal_px, view.principal_px, 37, 29), BACKGROUND)
    assert_close(actual, expected, "float64 twin")


def test_the_background_shows_through_by_the_transmittance(backend):
    gaussians, view = make_gaussians(30), make_view()
    image, alphas = render(backend, gaussians, view, BACKGROUND)
    on_black, _ = render(backend, gaussians, view, torch.zeros_like(BACKGROUND))
    assert_close(image, on_black + (1 - alphas) * BACKGROUND[:, None, None], "float64 truth")
    assert alphas.min() < 0.5 < alphas.max()


def test_the_cutoffs_cut_little(backend):
    gaussians, view = make_gaussians(100, size=0.15), make_view()
    cut, _ = render(backend, gaussians, view, BACKGROUND)
    smooth, _ = render(backend, gaussians, view, BACKGROUND, cutoffs=SMOOTH)
    assert 0 < (cut - smooth).abs().max() < 0.05


@pytest.mark.parametrize("antialiased", [False, True])
def test_derivative(backend, antialiased):
    view, gaussians = make_view(20, 18, focal=16.0), make_gaussians(5)
    leaves = [tensor.requires_grad_() for tensor in gaussians.values()]

    def function(*values: Tensor) -> tuple[Tensor, Tensor]:
        inputs = dict(zip(gaussians, values, strict=True))
        return render(backend, inputs, view, BACKGROUND, cutoffs=SMOOTH, antialiased=antialiased)

    assert torch.autograd.gradcheck(function, leaves, fast_mode=True, **GRADCHECK)


def pipeline(view: View, cutoffs: Cutoffs, antialiased: bool) -> Callable[[Backend, dict[str, Tensor]], tuple]:
    """A render with all but the backend and the Gaussians fixed."""
    background = BACKGROUND.to(view.focal_px.dtype)
    return lambda backend, g: render(backend, g, view, background, cutoffs=cutoffs, antialiased=antialiased)


@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("size", [(37, 29), (1, 1), (1, 17), (17, 1), (33, 47)])
def test_twins_agree(native, reference, size, antialiased):
    gaussians, view = make_gaussians(150, size=0.1), make_view(*size)
    run = pipeline(view, Cutoffs(), antialiased)
    for actual, expected in zip(run(native, gaussians), run(reference, gaussians), strict=True):
        assert_close(actual, expected, "float64 twin")
    expected = gradients(lambda g: run(reference, g), gaussians)
    actual = gradients(lambda g: run(native, g), gaussians)
    for name in gaussians:
        assert_close(actual[name], expected[name], "float64 twin")


@pytest.mark.parametrize("antialiased", [False, True])
def test_single_precision_is_close_to_double(each_native, reference, antialiased):
    gaussians, view = make_gaussians(150, size=0.1), make_view(97, 61, focal=70.0)
    exact, rounded = (pipeline(v, Cutoffs(), antialiased) for v in (view, view.to(torch.float32)))
    expected, actual = exact(reference, gaussians), rounded(each_native, as_dtype(gaussians, torch.float32))
    for one, other in zip(actual, expected, strict=True):
        assert_close_but_for_flips(one, other, "float32 twin")


@pytest.mark.parametrize("antialiased", [False, True])
def test_single_precision_gradients_are_close_to_double(each_native, reference, antialiased):
    gaussians, view = make_gaussians(40, size=0.1), make_view(97, 61, focal=70.0)
    exact, rounded = (pipeline(v, SMOOTH, antialiased) for v in (view, view.to(torch.float32)))
    expected = gradients(lambda g: exact(reference, g), gaussians)
    actual = gradients(lambda g: rounded(each_native, g), as_dtype(gaussians, torch.float32))
    for name in gaussians:
        assert_close(actual[name], expected[name], "float32 gradient")
