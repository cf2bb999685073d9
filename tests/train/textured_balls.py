"""A scene that is the same from all sides to the last bit: balls with colours in space, seen by rays, without light.

Gaussians are drawn as each camera flattens them, so that no field shows what several cameras saw of them; where poses
are learnt, they would make up for it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.fields.rays import Rays, rays_through
from neural3d.scene import Photo, Points, Scene, Similarity

BALLS = torch.tensor(
    [[0.0, 0.0, -0.05, 0.22], [0.22, 0.12, 0.1, 0.12], [-0.2, 0.15, 0.05, 0.13], [0.02, -0.24, 0.08, 0.12]],
    dtype=torch.float64,
)
"""Centres and radii."""
AROUND = 2.5
"""Radius of the ball that all lies in, where something is to be seen behind the others."""
GRID = (-0.25, 0.25)
"""Where a pixel is looked at along both axes, from its middle."""


def balls_scene(cameras: Cameras, *, has_alpha: bool) -> Scene:
    """Photos of the balls alone, or of all that is around them, too."""
    photos = []
    for i in range(len(cameras)):
        colors, alphas = _seen(cameras, i, has_alpha)
        straight = colors / alphas.clamp(min=1e-3)
        photos.append(Photo(f"{i:02d}.png", _bytes(straight), _bytes(alphas[..., 0]) if has_alpha else None))
    return Scene(
        cameras=cameras,
        photos=tuple(photos),
        train_indices=torch.arange(len(cameras)),
        test_indices=torch.arange(0),
        points=_points(),
        capture_from_scene=Similarity.identity(),
        extent=1.0,
        up_world=torch.tensor([0.0, 0.0, 1.0]),
        has_alpha=has_alpha,
        downscale=1.0,
    )


def surface_points() -> Float[Tensor, "P 3"]:
    """All over the balls."""
    random = torch.Generator().manual_seed(5)
    directions = torch.nn.functional.normalize(torch.randn(60, 3, generator=random, dtype=torch.float64), dim=1)
    return (BALLS[:, None, :3] + BALLS[:, None, 3:] * directions).flatten(0, 1)


def _points() -> Points:
    places = surface_points()
    return Points(places.float(), _bytes(_colors(places)))


def _seen(cameras: Cameras, view: int, has_alpha: bool) -> tuple[Tensor, Tensor]:
    """Means over each pixel, colours over black."""
    width, height = cameras.size_px[view].tolist()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    middles, views = torch.stack([x.flatten(), y.flatten()], dim=1), torch.full((width * height,), view)
    looks = [
        _hits(rays_through(cameras, views, middles + torch.tensor([dx, dy])), has_alpha) for dx in GRID for dy in GRID
    ]
    colors, alphas = (torch.stack(part).mean(dim=0).view(height, width, -1) for part in zip(*looks, strict=True))
    return colors, alphas


def _hits(rays: Rays, has_alpha: bool) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 1"]]:
    origins, directions = rays.origins.double(), rays.directions.double()
    nearest = torch.full_like(origins[:, 0], torch.inf)
    for x, y, z, radius in BALLS.tolist():
        arms = origins - torch.tensor([x, y, z])
        along = (arms * directions).sum(dim=1)
        inside = along.square() - arms.square().sum(dim=1) + radius**2
        hit = torch.where(inside > 0, -along - inside.clamp(min=0).sqrt(), torch.inf)
        nearest = torch.minimum(nearest, torch.where(hit > 0, hit, torch.inf))
    there = nearest.isfinite()
    along = (origins * directions).sum(dim=1)
    behind = -along + (along.square() - origins.square().sum(dim=1) + AROUND**2).sqrt()
    colors = _colors(origins + torch.where(there, nearest, behind)[:, None] * directions)
    alphas = there[:, None].double() if has_alpha else torch.ones_like(colors[:, :1])
    return alphas * colors, alphas


def _colors(places: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
    """Waves in all directions, longer where it is far."""
    waves = torch.tensor([[9.0, 5, 3], [-4, 8, 6], [3, -5, 10]], dtype=torch.float64)
    return 0.5 + 0.4 * torch.sin(places @ waves.T / places.norm(dim=1, keepdim=True).clamp(min=0.5))


def _bytes(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
