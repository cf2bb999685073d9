"""Moving Gaussians into another frame changes no pixel: colours and shapes follow."""

import torch

from neural3d.export.frames import gaussians_in_frame
from neural3d.reference.sh import sh_basis, sh_colors
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


def random_gaussians(count: int, degree: int) -> Gaussians:
    return Gaussians(
        means_world=torch.randn(count, 3),
        log_scales=torch.randn(count, 3),
        quats_wxyz=torch.randn(count, 4),
        logit_opacities=torch.randn(count),
        sh=torch.randn(count, (degree + 1) ** 2, 3),
    )


def random_similarity() -> Similarity:
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    return Similarity(2.5, rotation * rotation.det().sign(), torch.randn(3, dtype=torch.float64))


def covariances(gaussians: Gaussians) -> torch.Tensor:
    w, x, y, z = (gaussians.quats_wxyz.double() / gaussians.quats_wxyz.double().norm(dim=1, keepdim=True)).T
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    axes = torch.stack(rows, dim=-1).reshape(-1, 3, 3) * gaussians.log_scales.double().exp()[:, None]
    return axes @ axes.transpose(1, 2)


def test_shapes_follow():
    gaussians, b_from_a = random_gaussians(20, 0), random_similarity()
    moved = gaussians_in_frame(gaussians, b_from_a)
    turn = b_from_a.scale * b_from_a.rotation
    assert torch.allclose(moved.means_world.double(), b_from_a.apply(gaussians.means_world.double()), atol=1e-6)
    expected = turn @ covariances(gaussians) @ turn.T
    assert ((covariances(moved) - expected).abs().amax((1, 2)) / expected.abs().amax((1, 2))).max() < 1e-5


def test_colours_follow_at_every_degree():
    for degree in range(4):
        gaussians, b_from_a = random_gaussians(20, degree), random_similarity()
        eye = torch.randn(3)
        before = sh_colors(gaussians.means_world, gaussians.sh, eye, degree)
        moved = gaussians_in_frame(gaussians, b_from_a)
        after = sh_colors(moved.means_world, moved.sh, b_from_a.apply(eye), degree)
        assert torch.allclose(before, after, atol=2e-5), degree


def test_the_way_back_leads_to_the_start():
    gaussians, b_from_a = random_gaussians(20, 3), random_similarity()
    back = gaussians_in_frame(gaussians_in_frame(gaussians, b_from_a), b_from_a.inverse())
    assert torch.allclose(back.means_world, gaussians.means_world, atol=1e-5)
    assert torch.allclose(back.sh, gaussians.sh, atol=1e-5)


def test_the_basis_is_the_one_the_rotation_is_found_in():
    direction = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(sh_basis(direction, 1)[0, 1:], torch.tensor([0, 0.4886025119029199, 0], dtype=torch.float64))
