"""Gaussians carried from one frame into another, their view-dependent colour with them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.reference.sh import sh_basis
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


def gaussians_in_frame(gaussians: Gaussians, b_from_a: Similarity) -> Gaussians:
    """The same Gaussians in frame b; seen from the mapped cameras they give the same pixels."""
    rotation = b_from_a.rotation.double()
    return replace(
        gaussians,
        means_world=b_from_a.apply(gaussians.means_world),
        log_scales=gaussians.log_scales + torch.log(torch.tensor(b_from_a.scale)).to(gaussians.log_scales),
        quats_wxyz=_rotated_quats(gaussians.quats_wxyz, rotation),
        sh=_rotated_sh(gaussians.sh, rotation),
    )


def _rotated_quats(quats_wxyz: Float[Tensor, "N 4"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "N 4"]:
    """Hamilton product of the rotation with each quaternion."""
    if torch.equal(rotation, torch.eye(3, dtype=rotation.dtype)):
        return quats_wxyz
    w, x, y, z = quat_wxyz(rotation).tolist()
    left = torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=torch.float64)
    return (quats_wxyz.double() @ left.T.to(quats_wxyz.device)).to(quats_wxyz.dtype)


def quat_wxyz(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "4"]:
    """The eigenvector that the rotation leaves largest.

    Source: Bar-Itzhack 2000, New method for extracting the quaternion from a rotation matrix.
    """
    r = rotation
    k = torch.zeros(4, 4, dtype=torch.float64)
    k[0, 0] = r.trace()
    k[0, 1:] = k[1:, 0] = torch.stack([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    k[1:, 1:] = r + r.T - r.trace() * torch.eye(3, dtype=torch.float64)
    return torch.linalg.eigh(k).eigenvectors[:, -1]


def _rotated_sh(sh: Float[Tensor, "N K 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "N K 3"]:
    """Coefficients whose colour in direction R d is that of the old ones in direction d.

    The map within each degree is found by asking for that equality in more directions than there are coefficients; it
    holds exactly, as rotations do not mix degrees.
    """
    degree = int(sh.shape[1] ** 0.5) - 1
    if degree == 0 or torch.equal(rotation, torch.eye(3, dtype=rotation.dtype)):
        return sh
    directions = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=-1, keepdim=True)
    new_from_old = torch.linalg.lstsq(sh_basis(directions @ rotation.T, degree), sh_basis(directions, degree)).solution
    return torch.einsum("ij,njc->nic", new_from_old.to(sh.device), sh.double()).to(sh.dtype)
