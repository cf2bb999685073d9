"""The first splats from a field: on its surfaces, along them, in its colours; and training gains by it."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from neural3d.errors import InputError
from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.train.field_start import FLATNESS, field_gaussians, quaternions_to
from neural3d.train.fields import train_field
from neural3d.train.hashgrid_config import HashGridConfig

from .small_scenes import SH_DC, make_scene, psnr_of, train

SIZES = {"sh_degree": 1, "antialiased": False, "seed": 0}


@dataclass(frozen=True)
class RedBall:
    """Opaque, of radius 0.4 around the origin."""

    radius: float = 0.4
    num_parameters: int = 0

    def shade(self, rays: Rays) -> Shaded:
        middle = -(rays.origins * rays.directions).sum(dim=1)
        nearest = (rays.origins + middle[:, None] * rays.directions).norm(dim=1)
        hits = (nearest < self.radius).float()
        distances = middle - (self.radius**2 - nearest.square()).clamp(min=0).sqrt()
        return Shaded(hits[:, None] * torch.tensor([1.0, 0.0, 0.0]), hits, hits * distances)

    def densities(self, positions: Tensor) -> Tensor:
        return 50 * (1 + (100 * (self.radius - positions.norm(dim=1))).tanh())


def rotated(quats: Tensor, vector: Tensor) -> Tensor:
    w, axis = quats[:, :1], quats[:, 1:]
    across = 2 * torch.linalg.cross(axis, vector.expand(len(quats), 3))
    return vector + w * across + torch.linalg.cross(axis, across)


def test_quaternions_turn_the_z_axis():
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    normals = torch.cat([normals, torch.eye(3), -torch.eye(3)])
    turned = rotated(quaternions_to(normals), torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close((turned * normals).sum(dim=1).abs(), torch.ones(len(normals)))


def test_gaussians_lie_flat_on_what_is_seen():
    found = field_gaussians(RedBall(), make_scene(points=None), count=300, **SIZES)
    assert 200 < len(found) <= 300 and found.sh.shape[1] == 4
    torch.testing.assert_close(found.means_world.norm(dim=1), torch.full((len(found),), 0.4), atol=1e-3, rtol=0)
    outward = found.means_world / 0.4
    thin = rotated(found.quats_wxyz, torch.tensor([0.0, 0.0, 1.0]))
    assert (thin * outward).sum(dim=1).abs().min() > 0.8
    scales = found.log_scales.exp()
    torch.testing.assert_close(scales[:, 2], FLATNESS * scales[:, 0])
    torch.testing.assert_close(0.5 + SH_DC * found.sh[:, 0], torch.tensor([1.0, 0.0, 0.0]).expand(len(found), 3))


def test_a_field_that_shows_nothing_is_refused():
    with pytest.raises(InputError, match="the field shows no surface"):
        field_gaussians(RedBall(radius=1e-4), make_scene(), count=300, **SIZES)


def test_training_gains_by_a_field():
    """A few steps from a field's surfaces lead farther than from random points of the visual hull."""
    scene = make_scene(has_alpha=True, points=None)
    config = HashGridConfig(steps=150, max_seconds=None, samples=30_000, levels=4, log2_rows=10, coarsest=4, finest=32,
                            width=16)  # fmt: skip
    begun = field_gaussians(train_field(scene, config).field, scene, count=120, **SIZES)
    assert begun.means_world.norm(dim=1).median() < 0.5
    helped, lone = (train(scene, steps=10, sh_degree=1, initial=i).gaussians for i in (begun, None))
    premultiplied = [
        replace(p, pixels=(p.pixels * (p.alpha[..., None] / 255)).byte(), alpha=None) for p in scene.photos
    ]
    over_black = replace(scene, photos=tuple(premultiplied), has_alpha=False)
    assert psnr_of(helped, over_black) > psnr_of(lone, over_black) + 1
    again = train(scene, steps=10, sh_degree=1, initial=begun).gaussians
    assert torch.equal(again.means_world, helped.means_world)


def test_the_same_seed_finds_the_same_gaussians():
    one, other = (field_gaussians(RedBall(), make_scene(), count=100, **SIZES) for _ in range(2))
    moved = field_gaussians(RedBall(), make_scene(), count=100, **{**SIZES, "seed": 1})
    assert torch.equal(one.means_world, other.means_world) and not torch.equal(one.means_world, moved.means_world)
