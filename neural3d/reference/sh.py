"""View-dependent colour from real spherical harmonics."""

import torch
from jaxtyping import Float
from torch import Tensor


def sh_colors(
    means_world: Float[Tensor, "N 3"],
    sh: Float[Tensor, "N K 3"],
    camera_center_world: Float[Tensor, "3"],
    degree: int,
    extents_px: Float[Tensor, "N 2"] | None = None,
) -> Float[Tensor, "N 3"]:
    """max(0, 0.5 + sum_k sh[k] Y_k(d)), where d is the unit direction from the camera to the Gaussian.

    Only the first (degree + 1)^2 coefficients count. A Gaussian that `extents_px` says is culled (not > 0) is black,
    and so is one whose colour is not finite, each with zero gradient. A Gaussian within 1e-15 of the camera centre is
    seen from direction 0. Where the colour is clamped its gradient is zero.

    Source: Kerbl et al. 2023, section 4; the basis of the INRIA code (Condon-Shortley signs).
    """
    visible = torch.ones(len(sh), dtype=torch.bool, device=sh.device) if extents_px is None else extents_px[:, 0] > 0
    num_used = (degree + 1) ** 2

    def evaluate(rows: Tensor) -> Tensor:
        offsets = means_world[rows] - camera_center_world
        distances = offsets.norm(dim=-1, keepdim=True)
        directions = torch.where(distances > 1e-15, offsets / distances.clamp(min=1e-15), 0)
        return 0.5 + (sh_basis(directions, degree)[:, :, None] * sh[rows, :num_used]).sum(dim=1)

    with torch.no_grad():
        visible = visible & evaluate(torch.arange(len(sh), device=sh.device)).isfinite().all(dim=-1)
    return sh.new_zeros(len(sh), 3).index_put((visible,), evaluate(visible).relu())


def sh_pulls(
    means_world: Float[Tensor, "N 3"],
    sh: Float[Tensor, "N K 3"],
    camera_center_world: Float[Tensor, "3"],
    degree: int,
    extents_px: Float[Tensor, "N 2"] | None,
    colors: Float[Tensor, "N 3"],
    grad_colors: Float[Tensor, "N 3"],
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """The gradient of `sh_colors` by the means, and what of `grad_colors` passes the clamp.

    `colors` are those of `sh_colors`: where they are 0 nothing passes. The gradient by sh[k] is Y_k(d) times the pulls.
    """
    pulls = torch.where(colors > 0, grad_colors, 0)
    with torch.enable_grad():
        means = means_world.detach().requires_grad_()
        seen = sh_colors(means, sh.detach(), camera_center_world, degree, extents_px)
    return torch.autograd.grad(seen, means, grad_colors, materialize_grads=True)[0], pulls


def sh_basis(directions: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K"]:
    """Y_k of unit vectors, orthonormal over the sphere, k = l^2 + l + m; degree 0 to 3."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        basis += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree >= 3:
        basis += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, dim=-1)
