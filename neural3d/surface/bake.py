"""What cameras see of a surface, gathered in its texture.

Each texel asks every camera that sees it, and weighs what these say by how closely and how straight they look; a power
of the weights lets the best ones decide, so that the texture stays sharp and still has no seams.

Source: the weights follow Debevec et al. 1996, Modeling and Rendering Architecture from Photographs, sec. 4.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.surface.depth_views import DepthView
from neural3d.surface.open3d_library import require_open3d
from neural3d.surface.unwrap import PADDING_PX, Unwrapped

_LEAST_COSINE = 0.15
"""More slanted, a pixel smears over the surface."""
_SHARPNESS = 4
_BEFORE = 0.01
"""Of the distance: what is hit so little before a texel is its own surface."""
_RAYS = 1 << 20


@dataclass(frozen=True)
class Texture:
    """A square picture for a surface; the first row is its upper edge, v = 1."""

    colors: Float[Tensor, "S S 3"]
    """Display sRGB; where no camera looked, the colours of the mesh's vertices."""
    covered: Bool[Tensor, "S S"]
    """Texels that lie on the surface, a border around each chart included."""
    seen: Bool[Tensor, "S S"]
    """Those that a camera saw."""


def bake(surface: Unwrapped, views: Iterable[DepthView], side_px: int) -> Texture:
    """Fill a texture of so many pixels a side.

    Raises: InputError where open3d is not installed.
    """
    texels = _texels(surface, side_px)
    scene = _ray_scene(surface)
    total, weights = torch.zeros(len(texels.points), 3), torch.zeros(len(texels.points))
    for view in views:
        for start in range(0, len(texels.points), _RAYS):
            part = slice(start, start + _RAYS)
            colors, weight = _asked(view, texels.points[part], texels.normals[part], scene)
            total[part] += weight[:, None] * colors
            weights[part] += weight
    seen = weights > 0
    found = torch.where(seen[:, None], total / weights.clamp(min=1e-30)[:, None], texels.colors)
    picture, mask = torch.zeros(side_px, side_px, 3), torch.zeros(side_px, side_px, dtype=torch.bool)
    picture[texels.covered] = found.clamp(0, 1)
    mask[texels.covered] = seen
    return Texture(picture, texels.covered, mask)


@dataclass(frozen=True)
class _Texels:
    """Of those that lie on the surface: where, facing which way, and the colour that is known already."""

    covered: Bool[Tensor, "S S"]
    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    colors: Float[Tensor, "N 3"]


def _texels(surface: Unwrapped, side_px: int) -> _Texels:
    o3d = require_open3d()
    mesh = surface.mesh
    flat = o3d.t.geometry.TriangleMesh(
        o3d.core.Tensor(np.ascontiguousarray(mesh.vertices.numpy())), o3d.core.Tensor(mesh.triangles.numpy())
    )
    flat.triangle["texture_uvs"] = o3d.core.Tensor(np.ascontiguousarray(surface.uvs[mesh.triangles].numpy()))
    flat.vertex["facing"] = o3d.core.Tensor(_vertex_normals(surface).numpy())
    flat.vertex["shade"] = o3d.core.Tensor(np.ascontiguousarray(mesh.colors.numpy()))
    names = {"positions", "facing", "shade"}
    baked = flat.bake_vertex_attr_textures(
        side_px, names, margin=PADDING_PX / 2, fill=float("nan"), update_material=False
    )
    pictures = {name: torch.from_numpy(baked[name].numpy()) for name in names}
    covered = pictures["positions"].isfinite().all(dim=-1)
    points, normals, colors = (pictures[name][covered] for name in ("positions", "facing", "shade"))
    return _Texels(covered, points, torch.nn.functional.normalize(normals, dim=-1), colors)


def _vertex_normals(surface: Unwrapped) -> Float[Tensor, "V 3"]:
    """Means over the triangles, weighted by their areas; vertices at one place share theirs."""
    mesh = surface.mesh
    a, b, c = mesh.vertices[mesh.triangles].unbind(1)
    _, place = mesh.vertices.unique(dim=0, return_inverse=True)
    sums = torch.zeros(int(place.max()) + 1, 3)
    normals = torch.linalg.cross(b - a, c - a)
    for corner in range(3):
        sums.index_add_(0, place[mesh.triangles[:, corner]], normals)
    return torch.nn.functional.normalize(sums, dim=-1)[place]


def _ray_scene(surface: Unwrapped):  # noqa: ANN202 (a class of Open3D's)
    o3d = require_open3d()
    scene = o3d.t.geometry.RaycastingScene()
    mesh = surface.mesh
    scene.add_triangles(
        o3d.core.Tensor(np.ascontiguousarray(mesh.vertices.numpy())),
        o3d.core.Tensor(mesh.triangles.numpy().astype(np.uint32)),
    )
    return scene


def _asked(
    view: DepthView,
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    scene,  # noqa: ANN001
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N"]]:
    """The colour that a view has for each texel, and how much it counts: 0 where it does not see it."""
    camera = view.camera
    pose, center = camera.camera_from_world[0], camera.centers_world[0]
    in_camera = points @ pose[:3, :3].T + pose[:3, 3]
    depth = in_camera[:, 2]
    pixels = in_camera[:, :2] / depth.clamp(min=1e-6)[:, None] * camera.focal_px[0] + camera.principal_px[0]
    rays = points - center
    distance = rays.norm(dim=1)
    cosine = -(rays * normals).sum(1) / distance.clamp(min=1e-12)
    inside = ((pixels >= 0.5) & (pixels <= camera.size_px[0] - 0.5)).all(dim=1)
    asked = (inside & (depth > 1e-6) & (cosine > _LEAST_COSINE)).nonzero()[:, 0]
    colors, weights = torch.zeros(len(points), 3), torch.zeros(len(points))
    if len(asked) == 0:
        return colors, weights
    visible = _nothing_before(center, rays[asked], scene)
    shown = _sampled(torch.cat([view.colors, (view.depths > 0).float()], dim=-1), pixels[asked])
    kept = visible & (shown[:, 3] > 0.99)
    asked = asked[kept]
    colors[asked] = shown[kept, :3]
    per_length = camera.focal_px[0].mean() / distance[asked]  # pixels a unit of the surface, seen straight
    weights[asked] = (cosine[asked] * per_length) ** _SHARPNESS
    return colors, weights


def _nothing_before(center: Float[Tensor, "3"], rays: Float[Tensor, "N 3"], scene) -> Bool[Tensor, "N"]:  # noqa: ANN001
    o3d = require_open3d()
    lines = torch.cat([center.expand_as(rays), rays], dim=1).contiguous()
    hits = torch.from_numpy(scene.cast_rays(o3d.core.Tensor(lines.numpy()))["t_hit"].numpy())
    return hits > 1 - _BEFORE


def _sampled(image: Float[Tensor, "H W C"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Between the four pixels around each place, in pixels from the upper left corner."""
    size = pixels.new_tensor([image.shape[1], image.shape[0]])
    grid = (2 * pixels / size - 1)[None, None]
    found = torch.nn.functional.grid_sample(
        image.permute(2, 0, 1)[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T
