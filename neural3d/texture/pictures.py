"""What a completed surface looks like: before, what was missing, after; and from all around."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.paths import look_at
from neural3d.texture.atlas import Atlas

BESIDE = -2
"""No surface."""
_SIDE_PX, _FOCAL = 512, 1.4
_AWAY = 2.2
"""Of the camera from the middle, in radii of what it looks at."""
_ABOVE = 0.25
"""Of the distance: how far above its middle a turntable is looked at from."""
_RING, _SLOPES = 12, (-1.5, -0.4, 0.4, 1.5)
"""Cameras at each height, and how steeply these lie below or above the middle."""
_MASK_COLOR = (0.9, 0.1, 0.5)
_BACKGROUND = 1.0


def camera_on(atlas: Atlas, what: Bool[Tensor, "N"], up: Float[Tensor, "3"]) -> Cameras:
    """A camera before those texels, at a distance that shows the whole surface."""
    chosen = what if bool(what.any()) else torch.ones_like(what)
    direction = torch.nn.functional.normalize(atlas.texels.normals[chosen].sum(0) + 1e-3, dim=0)
    direction = direction + 0.25 * _sideways(up)  # never straight up or down
    return _looking_at(atlas.texels.points, direction[None], up, _SIDE_PX)


def turntable(
    points: Float[Tensor, "N 3"], first: Float[Tensor, "3"], up: Float[Tensor, "3"], count: int = 8
) -> Cameras:
    """Cameras evenly all around points, from a little above, the first before the side where the place `first` is."""
    up = torch.nn.functional.normalize(up, dim=0)
    away = first - (points.amax(0) + points.amin(0)) / 2
    away = away - (away @ up) * up + 1e-6 * _sideways(up)
    around = _ring(torch.nn.functional.normalize(away, dim=0), up, count)
    return _looking_at(points, around + _ABOVE * up, up, _SIDE_PX // 2)


def all_around(points: Float[Tensor, "N 3"], up: Float[Tensor, "3"]) -> Cameras:
    """Cameras on all sides of points, from below to above."""
    up = torch.nn.functional.normalize(up, dim=0)
    ring = _ring(_sideways(up), up, _RING)
    return _looking_at(points, torch.cat([ring + slope * up for slope in _SLOPES]), up, _SIDE_PX // 2)


def _ring(front: Float[Tensor, "3"], up: Float[Tensor, "3"], count: int) -> Float[Tensor, "V 3"]:
    """Directions evenly around what is up, the first to the front."""
    turns = torch.arange(count) * (2 * math.pi / count)
    return turns.cos()[:, None] * front + turns.sin()[:, None] * torch.linalg.cross(up, front)


def _sideways(up: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    return torch.nn.functional.normalize(torch.linalg.cross(up, torch.eye(3)[int(up.abs().argmin())]), dim=0)


def _looking_at(
    points: Float[Tensor, "N 3"], directions: Float[Tensor, "V 3"], up: Float[Tensor, "3"], side_px: int
) -> Cameras:
    """Cameras that see all of the points, each from a direction."""
    center, count = (points.amax(0) + points.amin(0)) / 2, len(directions)
    distance = _AWAY * _FOCAL * float((points - center).norm(dim=1).max())
    eyes = center + distance * torch.nn.functional.normalize(directions, dim=1)
    size = torch.full((count, 2), side_px)
    return Cameras(look_at(eyes, center.expand(count, 3), up), torch.full((count, 2), _FOCAL * side_px), size / 2, size)


def surface_picture(atlas: Atlas, camera: Cameras, marked: Bool[Tensor, "N"] | None = None) -> Float[Tensor, "H W 3"]:
    """The textured surface as a camera sees it; marked texels in one bright colour."""
    colors = atlas.colors
    if marked is not None:
        colors = torch.where(marked[:, None], colors.new_tensor(_MASK_COLOR), colors)
    numbers = shown_texels(atlas, camera)
    return torch.where((numbers >= 0)[..., None], colors[numbers.clamp_min(0)], torch.tensor(_BACKGROUND))


def shown_texels(atlas: Atlas, camera: Cameras) -> Int64[Tensor, "H W"]:
    """Which texel each pixel of a camera shows; `BESIDE` where it shows no surface, -1 where that has no texel."""
    width, height = camera.size_px[0].tolist()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    in_camera = (torch.stack([x, y], dim=-1) - camera.principal_px[0]) / camera.focal_px[0]
    rays = (
        torch.cat([in_camera, torch.ones(height, width, 1)], dim=-1).reshape(-1, 3)
        @ camera.camera_from_world[0, :3, :3]
    )
    hits = atlas.caster.hits(camera.centers_world[0].expand_as(rays), rays)
    corners = atlas.surface.mesh.triangles[hits.triangles.clamp_min(0)]
    numbers = atlas.numbers_at((atlas.surface.uvs[corners] * hits.weights[..., None]).sum(1))
    return torch.where(hits.triangles >= 0, numbers, BESIDE).view(height, width)
