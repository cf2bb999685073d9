"""The surface where no view looked: the border between what was seen to be empty and what hides behind a surface.

Source: Curless and Levoy 1996, A Volumetric Method for Building Complex Models from Range Images, section 4 (hole
filling); the surface through both: Kazhdan and Hoppe 2013, Screened Poisson Surface Reconstruction.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.surface.bake import sampled, seen_at
from neural3d.surface.cleaning import without_scraps
from neural3d.surface.depth_views import DepthView
from neural3d.surface.mesh import Mesh
from neural3d.surface.open3d_library import require_open3d
from neural3d.surface.texels import RayCaster, vertex_normals

_OFF = 0.015
"""Of the distance: how far before a view's depth a place must lie to be seen through."""
_CELLS = 96
"""Along the longest side of the surface's box; it is widened by how far the surface may reach."""
_NEAR_CELLS = 2.5
_LEAST_HIDING = 3
"""Views: what fewer hide may as well lie where hardly any looked."""
_POINTS, _LEAST_POINTS = 60_000, 100
_DEPTH = 8
"""Of the octree: 256 cells along the longest side."""


def closed(mesh: Mesh, views: Iterable[DepthView], *, reach: float = 0.25) -> Mesh:
    """The surface with its open sides closed by the border of what hides behind it.

    What is added lies no further from the surface than `reach` times the surface's own size. Its colours mean nothing.

    Raises: InputError where open3d is not installed, or where there is too little of a surface.
    Limits: cells are a 96th of the longest side; what cameras could only have seen through slits counts as solid;
        what lies in fewer than three views' frames stays open.
    """
    if len(mesh.vertices) < _LEAST_POINTS:
        raise InputError(f"the surface has {len(mesh.vertices)} points, too few to close it; train longer")
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    cell = cell_of(mesh)
    caster, near = RayCaster(mesh), max(_NEAR_CELLS * cell, 2 * _edge_length(mesh))
    furthest = reach * float((high - low).norm())
    points, normals = border_of_unseen(low - furthest, high + furthest, cell, views)
    far = caster.distances(points)
    added = (far > near) & (far < furthest)
    whole = _poisson(mesh, points[added], normals[added])
    kept = caster.distances(whole.vertices) < near
    if bool(added.any()):
        kept |= _to_nearest(whole.vertices, points[added]) < near
    return without_scraps(whole.of_triangles(kept[whole.triangles].all(dim=1)))


def cell_of(mesh: Mesh) -> float:
    """Edge of the cells in which a surface of this size is closed, in its own units."""
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) / _CELLS


def border_of_unseen(
    low: Float[Tensor, "3"], high: Float[Tensor, "3"], cell: float, views: Iterable[DepthView]
) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 3"]]:
    """Where, in a box, space that some view saw to be empty meets space that several hide; normals point to the empty.

    What lies in no view's frame is neither: else the frames' own borders would become a surface.
    """
    counts = ((high - low) / cell).ceil().long()
    axes = [low[i] + cell * (torch.arange(int(counts[i])) + 0.5) for i in range(3)]
    centers = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    empty = torch.zeros(len(centers.view(-1, 3)), dtype=torch.bool)
    hiding, left = torch.zeros(len(empty), dtype=torch.int16), torch.arange(len(empty))
    for view in views:
        through, hidden = looked_at(centers.view(-1, 3)[left], view)
        hiding[left] += hidden
        empty[left[through]] = True
        left = left[~through]
    empty, hiding = empty.view(centers.shape[:3]), hiding.view(centers.shape[:3])
    solid = ~empty & (hiding >= _LEAST_HIDING)
    balance = functional.pad((empty.float() - solid.float())[None, None], 6 * [2], mode="replicate")
    soft = functional.avg_pool3d(functional.avg_pool3d(balance, 3, 1), 3, 1)[0, 0]
    normals = torch.stack(torch.gradient(soft), dim=-1)
    touches_empty = functional.max_pool3d(empty[None, None].float(), 3, 1, padding=1)[0, 0] > 0
    border = solid & touches_empty & (normals.norm(dim=-1) > 1e-6)
    return centers[border], functional.normalize(normals[border], dim=-1)


def looked_at(points: Float[Tensor, "N 3"], view: DepthView) -> tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]]:
    """Whether a view sees something behind each point, or nothing at all where it lies; and whether it hides the point.

    Neither is true of what lies outside its frame, or where its depth is not sure.
    """
    pixels, depth = seen_at(view, points)
    framed = ((pixels >= 0.5) & (pixels <= view.camera.size_px[0] - 0.5)).all(dim=1) & (depth > 1e-6)
    nothing = torch.zeros_like(view.depths) if view.empty is None else view.empty.float()
    shown = sampled(torch.cat([view.depths, (view.depths > 0).float(), nothing], dim=-1), pixels[framed])
    sure, behind = shown[:, 1] > 0.99, shown[:, 0] > (1 + _OFF) * depth[framed]
    through, hidden = torch.zeros_like(framed), torch.zeros_like(framed)
    through[framed] = (sure & behind) | (shown[:, 2] > 0.99)
    hidden[framed] = sure & ~behind
    return through, hidden


def _poisson(mesh: Mesh, points: Float[Tensor, "K 3"], normals: Float[Tensor, "K 3"]) -> Mesh:
    """The smooth surface through a mesh's vertices and through more points."""
    o3d = require_open3d()
    rows = torch.linspace(0, len(mesh.vertices) - 1, min(_POINTS, len(mesh.vertices))).round().long().unique()
    grey = mesh.colors.mean(0).expand(len(points), 3)
    both = (
        torch.cat([mesh.vertices[rows], points]),
        torch.cat([vertex_normals(mesh)[rows], normals]),
        torch.cat([mesh.colors[rows], grey]),
    )
    vectors = [o3d.utility.Vector3dVector(values.double().numpy()) for values in both]
    cloud = o3d.geometry.PointCloud(vectors[0])
    cloud.normals, cloud.colors = vectors[1], vectors[2]
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        found, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=_DEPTH, n_threads=1)
    vertices, triangles, colors = (
        torch.from_numpy(np.asarray(values)) for values in (found.vertices, found.triangles, found.vertex_colors)
    )
    return Mesh(vertices.float(), triangles.long(), colors.float().clamp(0, 1))


def _to_nearest(points: Float[Tensor, "N 3"], others: Float[Tensor, "K 3"]) -> Float[Tensor, "N"]:
    o3d = require_open3d()
    clouds = [
        o3d.geometry.PointCloud(o3d.utility.Vector3dVector(values.double().numpy())) for values in (points, others)
    ]
    return torch.from_numpy(np.asarray(clouds[0].compute_point_cloud_distance(clouds[1]))).float()


def _edge_length(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.triangles]
    return float((corners - corners.roll(1, dims=1)).norm(dim=-1).median())
