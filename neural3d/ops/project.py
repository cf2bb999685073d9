"""Gaussians in the world to ellipses on an image: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import Projected
from neural3d.ops.validation import check_floats, check_no_gradient, check_positive


def project(
    means_world: Float[Tensor, "N 3"],
    quats_wxyz: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    logit_opacities: Float[Tensor, "N"],
    camera_from_world: Float[Tensor, "4 4"],
    focal_px: Float[Tensor, "2"],
    principal_px: Float[Tensor, "2"],
    *,
    width: int,
    height: int,
    near: float = 0.01,
    blur_px2: float = 0.3,
    alpha_min: float = 1 / 255,
    antialiased: bool = False,
) -> Projected:
    """Project Gaussians to ellipses; `neural3d.reference.project` is the specification.

    Raises:
        ValueError: An argument has another dtype, device, shape or layout than stated, or the camera asks for a
            gradient.
    Limits: no gradient flows to the camera.
    """
    n = len(means_world)
    check_floats(
        means_world=(means_world, (n, 3)),
        quats_wxyz=(quats_wxyz, (n, 4)),
        log_scales=(log_scales, (n, 3)),
        logit_opacities=(logit_opacities, (n,)),
        camera_from_world=(camera_from_world, (4, 4)),
        focal_px=(focal_px, (2,)),
        principal_px=(principal_px, (2,)),
    )
    check_no_gradient(camera_from_world=camera_from_world, focal_px=focal_px, principal_px=principal_px)
    check_positive(width=width, height=height)
    outputs = native().project(
        means_world,
        quats_wxyz,
        log_scales,
        logit_opacities,
        camera_from_world,
        focal_px,
        principal_px,
        width,
        height,
        near,
        blur_px2,
        alpha_min,
        antialiased,
    )
    return Projected(*outputs)


def visible_rows(projected: Projected) -> Bool[Tensor, "N"]:
    """Which Gaussians the camera sees."""
    check_floats(extents_px=(projected.extents_px, (len(projected.extents_px), 2)))
    return native().visible_rows(projected.extents_px)


native()  # schemas must exist before fakes and gradients can be attached


@torch.library.register_fake("neural3d::project")
def _(means_world, *_rest):
    n = means_world.shape[0]
    return tuple(means_world.new_empty(size) for size in ((n, 2), (n, 3), (n,), (n,), (n, 2)))


@torch.library.register_fake("neural3d::visible_rows")
def _(extents_px):
    return extents_px.new_empty(extents_px.shape[:1], dtype=torch.bool)


@torch.library.register_fake("neural3d::project_vjp")
def _(means_world, quats_wxyz, log_scales, logit_opacities, *_rest):
    return tuple(torch.empty_like(t) for t in (means_world, quats_wxyz, log_scales, logit_opacities))


def _setup(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:7], output[4])
    ctx.options = inputs[7:]
    ctx.mark_non_differentiable(output[4])


def _backward(ctx, *grads):
    *tensors, extents_px = ctx.saved_tensors
    n = len(extents_px)
    filled = [
        extents_px.new_zeros(size) if grad is None else grad.contiguous()
        for grad, size in zip(grads[:3], ((n, 2), (n, 3), (n,)), strict=True)
    ]
    grad_depths = None if grads[3] is None else grads[3].contiguous()
    parameters = native().project_vjp(*tensors, *ctx.options, extents_px, *filled, grad_depths, None)
    return *parameters, *(None,) * 9


torch.library.register_autograd("neural3d::project", _backward, setup_context=_setup)
