"""Gaussians in the world to ellipses on the image of one camera."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from neural3d.ops.records import Projected

EVERYWHERE_PX = 1e9
"""Half width of the box of a Gaussian that no alpha_min cuts off."""


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
    """Project Gaussians to ellipses; whoever cannot be seen is culled: zero in every field, with zero gradient.

    Culled are Gaussians with a parameter or a result that is not finite, with a quaternion shorter than 1e-12, nearer
    than `near`, with a singular image covariance, with an opacity <= alpha_min, and those whose box {mean +- extent}
    does not touch the image [0, width] x [0, height]. Where alpha_min is 0 a Gaussian reaches everywhere and its extent
    is 1e9 px. Opacities of an `antialiased` model are compensated for the blur.

    Source: Zwicker et al. 2002, EWA Splatting, eq. 29-31; Yu et al. 2024, Mip-Splatting, eq. 9 (the 2D filter).
    """
    gaussians = (means_world, quats_wxyz, log_scales, logit_opacities)
    camera = (camera_from_world, focal_px, principal_px)
    options = (width, height, blur_px2, alpha_min, antialiased)

    with torch.no_grad():
        seen = _ellipses(*gaussians, *camera, *options)
        visible = _is_visible(gaussians, seen, width, height, near, alpha_min)
    seen = _ellipses(*(parameter[visible] for parameter in gaussians), *camera, *options)

    def spread(rows: Tensor) -> Tensor:
        return rows.new_zeros(len(visible), *rows.shape[1:]).index_put((visible,), rows)

    return Projected(*map(spread, (seen.means_px, seen.conics, seen.opacities, seen.depths, seen.extents_px.detach())))


def _ellipses(
    means_world: Float[Tensor, "N 3"],
    quats_wxyz: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    logit_opacities: Float[Tensor, "N"],
    camera_from_world: Float[Tensor, "4 4"],
    focal_px: Float[Tensor, "2"],
    principal_px: Float[Tensor, "2"],
    width: int,
    height: int,
    blur_px2: float,
    alpha_min: float,
    antialiased: bool,
) -> Projected:
    """The formulas alone, culling nobody."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    means_camera = means_world @ rotation.T + translation
    axes_camera = rotation @ rotation_matrices(quats_wxyz) * log_scales.exp()[:, None, :]
    axes_px = perspective_jacobians(means_camera, focal_px, principal_px, width, height) @ axes_camera
    cov_sharp = axes_px @ axes_px.mT
    cov_px2 = cov_sharp + blur_px2 * torch.eye(2, dtype=cov_sharp.dtype, device=cov_sharp.device)

    (xx, xy), (_, yy) = cov_px2.permute(1, 2, 0)
    conics = torch.stack([yy, -xy, xx], dim=-1) / _determinant(cov_px2)[:, None]
    opacities = torch.sigmoid(logit_opacities)
    if antialiased:
        opacities = opacities * (_determinant(cov_sharp) / _determinant(cov_px2)).clamp(min=1e-12).sqrt()

    depths = means_camera[:, 2]
    means_px = focal_px * means_camera[:, :2] / depths[:, None] + principal_px
    variances = torch.stack([xx, yy], dim=-1)
    if alpha_min > 0:
        extents_px = (2 * (opacities / alpha_min).log()[:, None] * variances).sqrt()
    else:
        extents_px = torch.full_like(variances, EVERYWHERE_PX)
    return Projected(means_px, conics, opacities, depths, extents_px)


def rotation_matrices(quats_wxyz: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotations of quaternions of any length."""
    w, x, y, z = normalize(quats_wxyz, dim=-1, eps=0).unbind(-1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def perspective_jacobians(
    means_camera: Float[Tensor, "N 3"],
    focal_px: Float[Tensor, "2"],
    principal_px: Float[Tensor, "2"],
    width: int,
    height: int,
) -> Float[Tensor, "N 2 3"]:
    """d(pixel) / d(camera point), taken for directions far outside the image at 1.3 times its half width.

    The affine approximation is meaningless there and would smear such Gaussians over the whole image. The exact
    derivative of the clamped formula is what flows back.
    """
    size_px = torch.tensor([width, height], dtype=focal_px.dtype, device=focal_px.device)
    margin = 0.3 * 0.5 * size_px / focal_px
    depths = means_camera[:, 2:]
    tangents = means_camera[:, :2] / depths
    tangents = tangents.clamp(-principal_px / focal_px - margin, (size_px - principal_px) / focal_px + margin)
    return torch.cat([torch.diag_embed(focal_px / depths), (-focal_px / depths * tangents)[:, :, None]], dim=-1)


def _determinant(matrices: Float[Tensor, "N 2 2"]) -> Float[Tensor, "N"]:
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _is_visible(
    gaussians: tuple[Tensor, ...], seen: Projected, width: int, height: int, near: float, alpha_min: float
) -> Bool[Tensor, "N"]:
    results = (seen.means_px, seen.conics, seen.opacities, seen.depths, seen.extents_px)
    columns = [values[:, None] if values.dim() == 1 else values for values in (*gaussians, *results)]
    finite = torch.cat(columns, dim=1).isfinite().all(dim=1)
    shape_exists = (gaussians[1].norm(dim=1) >= 1e-12) & (seen.conics[:, 0] > 0)

    size_px = torch.tensor([width, height], dtype=seen.means_px.dtype, device=seen.means_px.device)
    touches = (seen.means_px + seen.extents_px >= 0) & (seen.means_px - seen.extents_px <= size_px)
    return finite & shape_exists & (seen.depths >= near) & (seen.opacities > alpha_min) & touches.all(dim=1)
