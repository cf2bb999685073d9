"""Projection: closed forms, culling, invariances, and the derivative by finite differences."""

import math
from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from neural3d.ops.project import visible_rows
from neural3d.ops.records import Projected

from .backends import Backend, View, gradients, project
from .random_scenes import as_dtype, axis_angle, make_gaussians, make_view
from .tolerances import GRADCHECK, assert_close

AHEAD = View(
    torch.eye(4, dtype=torch.float64),
    torch.tensor([100.0, 80.0], dtype=torch.float64),
    torch.tensor([32.0, 24.0], dtype=torch.float64),
    64,
    48,
)
PARAMETERS = ("means_world", "quats_wxyz", "log_scales", "logit_opacities")
FIELDS = ("means_px", "conics", "opacities", "depths", "extents_px")


def one_gaussian(mean=(0.0, 0.0, 2.0), quat=(1.0, 0.0, 0.0, 0.0), scales=(0.1, 0.1, 0.1), opacity=0.8):
    """A Gaussian that one can do in one's head."""
    return {
        "means_world": torch.tensor([mean], dtype=torch.float64),
        "quats_wxyz": torch.tensor([quat], dtype=torch.float64),
        "log_scales": torch.tensor([scales], dtype=torch.float64).log(),
        "logit_opacities": torch.tensor([opacity], dtype=torch.float64).logit(),
    }


def outputs(backend: Backend, gaussians: dict[str, Tensor], view: View, **options) -> tuple[Tensor, ...]:
    """The differentiable fields."""
    seen = project(backend, gaussians, view, **options)
    return seen.means_px, seen.conics, seen.opacities, seen.depths


def is_culled(backend: Backend, gaussians: dict[str, Tensor], view: View = AHEAD) -> bool:
    """Every field of the only row is 0."""
    fields = astuple(project(backend, gaussians, view))
    zero = [bool((field == 0).all()) for field in fields]
    assert all(zero) or fields[4].gt(0).all(), "a row is either all zero or visible"
    return all(zero)


def test_on_the_axis(backend):
    seen = project(backend, one_gaussian(scales=(0.1, 0.2, 0.3)), AHEAD)
    var_x, var_y = (100 * 0.1 / 2) ** 2 + 0.3, (80 * 0.2 / 2) ** 2 + 0.3
    reach = 2 * math.log(0.8 * 255)
    truth = "float64 truth"
    assert_close(seen.means_px, torch.tensor([[32.0, 24.0]]), truth)
    assert_close(seen.conics, torch.tensor([[1 / var_x, 0, 1 / var_y]], dtype=torch.float64), truth)
    assert_close(seen.opacities, torch.tensor([0.8], dtype=torch.float64), truth)
    assert_close(seen.depths, torch.tensor([2.0]), truth)
    extents = torch.tensor([[var_x * reach, var_y * reach]], dtype=torch.float64).sqrt()
    assert_close(seen.extents_px, extents, truth)


def test_antialiasing_keeps_the_light_of_a_thin_gaussian(backend):
    seen = project(backend, one_gaussian(scales=(1e-2, 1e-2, 1e-2)), AHEAD, antialiased=True)
    sharp_x, sharp_y = (100 * 1e-2 / 2) ** 2, (80 * 1e-2 / 2) ** 2
    factor = math.sqrt(sharp_x * sharp_y / ((sharp_x + 0.3) * (sharp_y + 0.3)))
    assert_close(seen.opacities, torch.tensor([0.8 * factor], dtype=torch.float64), "float64 truth")


def test_antialiasing_without_thickness_has_a_floor(backend):
    flat = one_gaussian(scales=(0.1, 1e-30, 0.1))
    seen = project(backend, flat, AHEAD, antialiased=True, alpha_min=0.0)
    assert_close(seen.opacities, torch.tensor([0.8e-6], dtype=torch.float64), "float64 truth")
    grads = gradients(lambda g: outputs(backend, g, AHEAD, antialiased=True, alpha_min=0.0), flat)
    assert all(grad.isfinite().all() for grad in grads.values())


def test_a_quarter_turn_swaps_the_axes(backend):
    half = math.sqrt(0.5)
    turned = project(backend, one_gaussian(quat=(half, 0, 0, half), scales=(0.1, 0.3, 0.2)), AHEAD)
    swapped = project(backend, one_gaussian(scales=(0.3, 0.1, 0.2)), AHEAD)
    assert_close(turned.conics, swapped.conics, "float64 truth")


def test_the_turn_is_right_handed(backend):
    angle = 0.5
    quat = (math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2))
    view = View(AHEAD.camera_from_world, torch.tensor([90.0, 90.0], dtype=torch.float64), AHEAD.principal_px, 64, 48)
    a, b, c = project(backend, one_gaussian(quat=quat, scales=(0.3, 0.1, 0.1)), view).conics[0].tolist()
    long_axis = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    conic = torch.tensor([[a, b], [b, c]], dtype=torch.float64)
    least = torch.linalg.eigh(conic).eigenvectors[:, 0]
    assert abs(abs(least @ long_axis) - 1) < 1e-12


def test_shape_is_that_of_a_tiny_cloud_of_points(backend):
    """The image covariance is J Sigma J^T with J of the whole map from world to pixels, by autograd."""
    gaussian, view = make_gaussians(1), make_view()
    matrix = torch.cat([view.focal_px, view.principal_px])

    def pixel(point_world: Tensor) -> Tensor:
        x, y, z = view.camera_from_world[:3, :3] @ point_world + view.camera_from_world[:3, 3]
        return matrix[:2] * torch.stack([x / z, y / z]) + matrix[2:]

    mean, quat = gaussian["means_world"][0], gaussian["quats_wxyz"][0]
    w, axis = quat[0] / quat.norm(), quat[1:] / quat.norm()
    rotation = axis_angle(axis, 2 * torch.atan2(axis.norm(), w).item())
    axes_px = torch.autograd.functional.jacobian(pixel, mean) @ rotation @ gaussian["log_scales"][0].exp().diag()
    conic = (axes_px @ axes_px.T + 0.3 * torch.eye(2, dtype=torch.float64)).inverse()
    seen = project(backend, gaussian, view)
    assert_close(seen.means_px[0], pixel(mean), "float64 truth")
    assert_close(seen.conics[0], conic[[0, 0, 1], [0, 1, 1]], "float64 truth")


def test_length_and_sign_of_the_quaternion_do_not_matter(backend):
    gaussians, view = make_gaussians(50), make_view()
    for factor in (-1.0, 1e-6, 1e6):
        scaled = gaussians | {"quats_wxyz": factor * gaussians["quats_wxyz"]}
        assert_close(project(backend, scaled, view).conics, project(backend, gaussians, view).conics, "float64 truth")


@pytest.mark.parametrize(
    "gaussian",
    [
        pytest.param(one_gaussian(mean=(0, 0, 0.009)), id="nearer than near"),
        pytest.param(one_gaussian(mean=(0, 0, -2)), id="behind"),
        pytest.param(one_gaussian(quat=(0, 0, 0, 0)), id="no rotation"),
        pytest.param(one_gaussian(quat=(1e-13, 0, 0, 0)), id="hardly a rotation"),
        pytest.param(one_gaussian(opacity=0.0039), id="transparent"),
        pytest.param(one_gaussian(mean=(5, 0, 2)), id="right of the image"),
        pytest.param(one_gaussian(mean=(0, -5, 2)), id="above the image"),
        pytest.param(one_gaussian(scales=(math.inf, 0.1, 0.1)), id="infinite"),
        pytest.param(one_gaussian(scales=(math.nan, 0.1, 0.1)), id="no number"),
        pytest.param(one_gaussian(opacity=math.nan), id="no opacity"),
        pytest.param(one_gaussian(opacity=1.0), id="infinite logit"),
        pytest.param(one_gaussian(scales=(0.1, 0.1, 0.0)), id="infinite log scale"),
        pytest.param(one_gaussian(mean=(0, 0, math.inf)), id="infinitely far"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_culled_rows_are_zero_with_zero_gradient(backend, gaussian, dtype):
    gaussian, view = as_dtype(gaussian, dtype), AHEAD.to(dtype)
    assert is_culled(backend, gaussian, view)
    grads = gradients(lambda g: outputs(backend, g, view), gaussian)
    assert all((grad == 0).all() for grad in grads.values())


def test_the_box_decides_at_the_border(backend):
    small = one_gaussian(scales=(0.03, 0.03, 0.03))
    half_width = project(backend, small, AHEAD).extents_px[0, 0].item()
    assert half_width < 9.6  # else its direction is clamped when the image moves away, and its shape changes
    for offset_px, culled in ((-1e-6, False), (1e-6, True)):
        principal_px = torch.tensor([64 + half_width + offset_px, 24.0], dtype=torch.float64)
        moved = View(AHEAD.camera_from_world, AHEAD.focal_px, principal_px, 64, 48)
        assert is_culled(backend, small, moved) == culled


def test_without_a_cutoff_gaussians_reach_everywhere(backend):
    seen = project(backend, one_gaussian(mean=(5, 0, 2), opacity=1e-6), AHEAD, alpha_min=0.0)
    assert seen.extents_px.tolist() == [[1e9, 1e9]]


def test_far_outside_the_shape_is_that_of_the_clamped_direction(backend):
    """The Jacobian clamps x / z to 1.3 half images from the axis; the mean is not clamped."""
    wide = one_gaussian(mean=(4.0, 0.0, 2.0), scales=(1.0, 1.0, 1.0))
    seen = project(backend, wide, AHEAD)
    limit = (64 - 32) / 100 + 0.3 * 0.5 * 64 / 100
    var_x = (100 / 2) ** 2 * (1 + limit**2) + 0.3
    assert_close(seen.means_px, torch.tensor([[232.0, 24.0]]), "float64 truth")
    assert seen.conics[0, 0].item() == pytest.approx(1 / var_x, rel=1e-12)


def test_moving_world_and_camera_together_changes_nothing(backend):
    gaussians, view = make_gaussians(50), make_view()
    rotation, shift = axis_angle(torch.tensor([1.0, 2.0, 3.0]), 1.0), torch.tensor([5.0, -3.0, 2.0]).double()
    moved = gaussians | {
        "means_world": gaussians["means_world"] @ rotation.T + shift,
        "quats_wxyz": quaternion_product(quaternion(rotation), gaussians["quats_wxyz"]),
    }
    world_from_moved = torch.eye(4, dtype=torch.float64)
    world_from_moved[:3, :3], world_from_moved[:3, 3] = rotation.T, -rotation.T @ shift
    moved_view = View(view.camera_from_world @ world_from_moved, view.focal_px, view.principal_px, 37, 29)
    pairs = zip(astuple(project(backend, moved, moved_view)), astuple(project(backend, gaussians, view)), strict=True)
    for actual, expected in pairs:
        assert_close(actual, expected, "float64 twin")


def quaternion(rotation: Tensor) -> Tensor:
    """Of a rotation by less than half a turn."""
    w = 0.5 * (1 + rotation.trace()).sqrt()
    skew = rotation - rotation.T
    return torch.stack([w, *(torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]]) / (4 * w))])


def quaternion_product(left: Tensor, right: Tensor) -> Tensor:
    """One quaternion times each of many."""
    w, x, y, z = left
    matrix = torch.stack([torch.stack(row) for row in ((w, -x, -y, -z), (x, w, -z, y), (y, z, w, -x), (z, -y, x, w))])
    return right @ matrix.T


@pytest.mark.parametrize("antialiased", [False, True])
def test_derivative(backend, antialiased):
    view = make_view()
    gaussians = make_gaussians(6)
    gaussians["means_world"][0] = torch.tensor([5.0, 0.0, 1.0])  # where the direction is clamped
    leaves = [gaussians[name].requires_grad_() for name in PARAMETERS]

    def function(*parameters: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(PARAMETERS, parameters, strict=True))
        return outputs(backend, inputs, view, alpha_min=0.0, antialiased=antialiased)

    assert torch.autograd.gradcheck(function, leaves, **GRADCHECK)


def test_the_raw_gradient_takes_what_else_pulls_on_the_means(each_native):
    """The gradient by colour is added on the way, to every row."""
    gaussians, view = as_dtype(make_gaussians(203), torch.float32), make_view().to(torch.float32)
    parameters = [gaussians[name] for name in PARAMETERS]
    camera = (view.camera_from_world, view.focal_px, view.principal_px)
    inputs = (*parameters, *camera, view.width, view.height, 0.01, 0.3, 1 / 255, False)
    *_, extents_px = torch.ops.neural3d.project(*inputs)
    pulls = (torch.rand(203, 2), torch.rand(203, 3), torch.rand(203), torch.rand(203))
    more = torch.rand(203, 3)
    alone = torch.ops.neural3d.project_vjp(*inputs, extents_px, *pulls, None)
    together = torch.ops.neural3d.project_vjp(*inputs, extents_px, *pulls, more)
    assert torch.equal(together[0], alone[0] + more)
    assert all(map(torch.equal, together[1:], alone[1:]))
    no_depths = torch.ops.neural3d.project_vjp(*inputs, extents_px, *pulls[:3], None, None)
    zero_depths = torch.ops.neural3d.project_vjp(*inputs, extents_px, *pulls[:3], torch.zeros(203), None)
    assert all(map(torch.equal, no_depths, zero_depths))


@pytest.mark.parametrize("antialiased", [False, True])
def test_twins_agree(precision, reference, antialiased):
    gaussians, view = make_gaussians(500, seed=1), make_view()
    gaussians["means_world"] *= 2  # so that some are culled for each reason
    gaussians["logit_opacities"] -= 3
    native, rounded, rounded_view = precision.native, as_dtype(gaussians, precision.dtype), view.to(precision.dtype)
    expected = project(reference, gaussians, view, antialiased=antialiased)
    actual = project(native, rounded, rounded_view, antialiased=antialiased)
    assert 50 < (expected.extents_px[:, 0] > 0).sum() < 450
    for field in FIELDS:
        assert getattr(actual, field).dtype == precision.dtype
        assert_close(getattr(actual, field), getattr(expected, field), precision.values)

    del gaussians["sh"], rounded["sh"]
    expected_grads = gradients(lambda g: outputs(reference, g, view, antialiased=antialiased), gaussians)
    actual_grads = gradients(lambda g: outputs(native, g, rounded_view, antialiased=antialiased), rounded)
    for name in PARAMETERS:
        assert_close(actual_grads[name], expected_grads[name], precision.grads)


def test_visible_rows_are_those_with_an_extent():
    extents = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [1e-20, 1e-20]])
    zeros = torch.zeros(4)
    seen = Projected(torch.zeros(4, 2), torch.zeros(4, 3), zeros, zeros, extents)
    assert visible_rows(seen).tolist() == [False, True, False, True]
