"""What a completed surface looks like: before, what was missing, after."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.paths import look_at
from neural3d.texture.atlas import Atlas

_SIDE_PX, _FOCAL = 512, 1.4
_AWAY = 2.2
"""Of the camera from the middle, in radii of what it looks at."""
_MASK_COLOR = (0.9, 0.1, 0.5)
_BACKGROUND = 1.0


def camera_on(atlas: Atlas, what: Bool[Tensor, "N"], up: Float[Tensor, "3"]) -> Cameras:
    """A camera before those texels, at a distance that shows the whole surface."""
    points = atlas.texels.points
    center = (points.amax(0) + points.amin(0)) / 2
    radius = float((points - center).norm(dim=1).max())
    chosen = what if bool(what.any()) else torch.ones_like(what)
    direction = torch.nn.functional.normalize(atlas.texels.normals[chosen].sum(0) + 1e-3, dim=0)
    sideways = torch.nn.functional.normalize(torch.linalg.cross(up, torch.eye(3)[int(up.abs().argmin())]), dim=0)
    direction = torch.nn.functional.normalize(direction + 0.25 * sideways, dim=0)  # never straight up or down
    distance = _AWAY * _FOCAL * radius
    pose = look_at((center + distance * direction)[None], center[None], up)
    size = torch.tensor([[_SIDE_PX, _SIDE_PX]])
    return Cameras(pose, torch.full((1, 2), _FOCAL * _SIDE_PX), size / 2, size)


def surface_picture(atlas: Atlas, camera: Cameras, marked: Bool[Tensor, "N"] | None = None) -> Float[Tensor, "H W 3"]:
    """The textured surface as a camera sees it; marked texels in one bright colour."""
    colors = atlas.colors
    if marked is not None:
        colors = torch.where(marked[:, None], colors.new_tensor(_MASK_COLOR), colors)
    numbers = shown_texels(atlas, camera)
    return torch.where((numbers >= 0)[..., None], colors[numbers.clamp_min(0)], torch.tensor(_BACKGROUND))


def shown_texels(atlas: Atlas, camera: Cameras) -> Int64[Tensor, "H W"]:
    """Which texel each pixel of a camera shows; -1 where it shows none of the surface's."""
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
    return torch.where(hits.triangles >= 0, numbers, -1).view(height, width)
