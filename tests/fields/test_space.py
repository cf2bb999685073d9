"""Where rays begin and end in a field's coordinates, and the paper's normalised device coordinates."""

import math

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.fields.rays import Rays, image_rays, rays_through
from neural3d.fields.space import Ball, Ndc, Shell, space_from_json, space_to_json

IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))
NDC = Ndc(IDENTITY, (0.6, 0.4), 1.5)
TURNED = Ndc(((0.8, 0.0, 0.6, 0.1), (0.0, 1.0, 0.0, -0.2), (-0.6, 0.0, 0.8, 0.3)), (0.6, 0.4), 1.5)


def rays(count: int = 50, *, seed: int = 0, spread: float = 0.4) -> Rays:
    """From near the origin, roughly along +z."""
    random = torch.Generator().manual_seed(seed)
    origins = 0.3 * torch.randn(count, 3, generator=random, dtype=torch.float64)
    toward = torch.cat([spread * torch.randn(count, 2, generator=random), torch.ones(count, 1)], dim=1).double()
    return Rays(origins, toward / toward.norm(dim=1, keepdim=True))


def test_image_rays_hit_the_pixels_that_they_belong_to():
    angle = 0.7
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    pose[:3, 3] = torch.tensor([0.3, -0.2, 1.0])
    camera = Cameras(pose[None], torch.tensor([[20.0, 22.0]]), torch.tensor([[4.5, 3.0]]), torch.tensor([[8, 6]]))
    found = image_rays(camera, 0)
    assert len(found) == 48 and torch.allclose(found.directions.norm(dim=1), torch.ones(48))
    in_camera = (found.origins + 3 * found.directions) @ pose[:3, :3].T + pose[:3, 3]
    x, y = (camera.focal_px[0] * in_camera[:, :2] / in_camera[:, 2:] + camera.principal_px[0]).unbind(1)
    assert torch.allclose(x.view(6, 8)[2], torch.arange(8) + 0.5, atol=1e-4)
    assert torch.allclose(y.view(6, 8)[:, 5], torch.arange(6) + 0.5, atol=1e-4)
    one = rays_through(camera, torch.tensor([0]), torch.tensor([[2.5, 4.5]]))
    assert torch.equal(one.directions[0], found.directions[4 * 8 + 2])


def test_a_ball_is_entered_and_left_at_its_surface():
    ball, some = Ball((0.1, 0.2, 3.0), 0.7), rays(spread=0.2)
    placed = ball.place(some)
    hit = placed.far > placed.near
    assert 5 < hit.sum() < 50
    ends = placed.at(torch.stack([placed.near, placed.far], dim=1))
    assert torch.allclose(ends[hit].norm(dim=2), torch.ones(int(hit.sum()), 2, dtype=torch.float64))
    assert torch.allclose(
        ball.from_scene(some.origins + 2.5 * some.directions), placed.at(torch.full((50, 1), 2.5))[:, 0]
    )
    closest = torch.linalg.cross(torch.tensor(ball.center).double() - some.origins, some.directions).norm(dim=1)
    assert torch.equal(closest < 0.7, hit)


def test_a_ray_that_begins_in_the_ball_begins_there():
    placed = Ball((0.0, 0.0, 0.0), 2.0).place(Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])))
    assert (placed.near.item(), placed.far.item()) == (0.0, 2.0)


def test_a_shell_is_even_in_disparity():
    shell = Shell((0.0, 0.0, 0.0), 10.0, near=0.5, far=8.0)
    some = rays(3)
    t = shell.parameters(torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64).expand(3, -1), shell.place(some))
    assert torch.allclose(t, torch.tensor([0.5, 2 / (1 / 0.5 + 1 / 8), 8.0], dtype=torch.float64).expand(3, 3))


def projected(points: torch.Tensor) -> torch.Tensor:
    """Equation 8 of the paper, its camera looking along -z, far plane at infinity; slopes are r / n and t / n."""
    (x, y, z), near = points.unbind(-1), NDC.near
    x, y, z = x, -y, -z  # our axes to the paper's
    ndc = torch.stack([near / NDC.slopes[0] / near * x / -z, 1 / NDC.slopes[1] * y / -z, 1 + 2 * near / z], dim=-1)
    return ndc * torch.tensor([1.0, -1.0, 1.0])


def test_ndc_points_are_the_papers():
    points = torch.tensor([[0.3, -0.2, 2.0], [1.0, 2.0, 9.0], [-4.0, 0.0, 1e6]], dtype=torch.float64)
    assert torch.allclose(NDC.from_scene(points), projected(points).double(), atol=1e-12)


@pytest.mark.parametrize("ndc", [NDC, TURNED], ids=["straight", "turned"])
def test_ndc_rays_pass_through_the_projections_of_their_points(ndc):
    """The defining property of equations 25 and 26: projecting a point of a ray gives a point of the projected ray."""
    some = rays(spread=0.2)
    placed, t = ndc.place(some), torch.linspace(0, 0.999, 20, dtype=torch.float64).expand(50, -1)
    along = torch.stack([ndc.distances(t[:, i], some) for i in range(20)], dim=1)
    points = some.origins[:, None] + along[..., None] * some.directions[:, None]
    assert torch.allclose(placed.at(t), ndc.from_scene(points.flatten(0, 1)).view(50, 20, 3), atol=1e-8)


def test_ndc_rays_begin_on_the_near_plane_and_end_at_infinity():
    some = rays(spread=0.2)
    placed = NDC.place(some)
    ends = placed.at(torch.stack([placed.near, placed.far], dim=1))
    expected = torch.tensor([-1.0, 1.0], dtype=torch.float64).expand(50, 2)
    assert torch.allclose(ends[..., 2], expected)
    # Equation 26 in the limit: where a ray vanishes depends on its direction alone.
    toward = some.directions[:, :2] / some.directions[:, 2:] / torch.tensor(NDC.slopes)
    assert torch.allclose(ends[:, 1, :2], toward, atol=1e-12)


def test_the_paper_with_numbers_by_hand():
    """With o = (1, 2, 2), d = (0.5, 0, 1), near 2: o' = (1/2/0.6, 2/2/0.4, -1), d' = ((0.5 - 0.5)/0.6, -1/0.4, 2)."""
    ndc = Ndc(IDENTITY, (0.6, 0.4), 2.0)
    direction = torch.tensor([[0.5, 0.0, 1.0]], dtype=torch.float64)
    placed = ndc.place(Rays(torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64), direction / direction.norm()))
    assert torch.allclose(placed.origins, torch.tensor([[0.5 / 0.6, 2.5, -1.0]], dtype=torch.float64))
    assert torch.allclose(placed.directions, torch.tensor([[0.0, -2.5, 2.0]], dtype=torch.float64))


@pytest.mark.parametrize("space", [Ball((0.1, 0.2, 3.0), 0.7), Shell((0.0, 0.0, 1.0), 9.0, near=0.5, far=8.0), TURNED])
def test_the_scale_is_the_derivative_and_files_keep_everything(space):
    assert space_from_json(space_to_json(space)) == space
    some, step = rays(20, spread=0.0), 1e-5
    points = some.origins + 4 * some.directions
    axis = torch.tensor(space.ndc_from_world[2][:3] if isinstance(space, Ndc) else (0.0, 0.0, 1.0), dtype=torch.float64)
    moved = (space.from_scene(points + step * axis) - space.from_scene(points)) / step
    along = moved[:, 2] if isinstance(space, Ndc) else moved.norm(dim=1)
    assert torch.allclose(along, space.scale_at(points), rtol=1e-4)
