"""The surface where no view looked: the border between what was seen to be empty and what hides behind a surface.

Source: Curless and Levoy 1996, A Volumetric Method for Building Complex Models from Range Images, section 4 (hole
filling); the surface through both: Kazhdan and Hoppe 2013, Screened Poisson Surface Reconstruction.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.surface.cleaning import connected_parts, decimated, without_scraps
from neural3d.surface.depth_views import DepthView
from neural3d.surface.hidden import Hidden, looked_over
from neural3d.surface.membrane import bonds, relaxed
from neural3d.surface.mesh import Mesh
from neural3d.surface.open3d_library import require_open3d
from neural3d.surface.texels import RayCaster, vertex_normals

_CELLS = 96
"""Along the longest side of the surface's box; it is widened by how far the surface may reach."""
_NEAR_CELLS = 2.5
_HELD = 0.4
"""Of what is near: a vertex that is nearer to what was seen is of it, and holds what is closed."""
_BULGE = 0.1
"""Of the longest side: how far what is closed may stand before the membrane over its border. Backs are round."""
_ROUNDS = 2
_POINTS, _LEAST_POINTS = 60_000, 100
_DEPTH = 8
"""Of the octree: 256 cells along the longest side."""


def closed(mesh: Mesh, views: Iterable[DepthView], *, triangles: int, reach: float = 0.25) -> Mesh:
    """The surface with its open sides closed, in at most so many triangles.

    What is added is the border of what hides behind the surface, drawn towards the membrane over its rim: no view saw
    it to be empty there, and shadows that reach far do not bulge. It lies no further from the surface than `reach`
    times the surface's own size. Its colours mean nothing.

    Raises: InputError where open3d is not installed, or where there is too little of a surface.
    Limits: cells are a 96th of the longest side; what lies in fewer than three views' frames stays open. Nothing
        that was seen says how far a back goes: more than a tenth of the longest side is taken for unlikely.
    """
    if len(mesh.vertices) < _LEAST_POINTS:
        raise InputError(f"the surface has {len(mesh.vertices)} points, too few to close it; train longer")
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    furthest, cell = reach * float((high - low).norm()), cell_of(mesh)
    hidden = looked_over(low - furthest, high + furthest, cell, views)
    caster, near = RayCaster(mesh), max(_NEAR_CELLS * cell, 2 * _edge_length(mesh))
    whole = decimated(_with_border(mesh, caster, hidden, near, furthest), triangles)
    return _tightened(whole, caster.distances(whole.vertices) < _HELD * near, hidden)


def _with_border(mesh: Mesh, caster: RayCaster, hidden: Hidden, near: float, furthest: float) -> Mesh:
    """The surface and the border of all that hides behind it, as one; where this lies no further from it than that."""
    points, normals = hidden.border()
    far = caster.distances(points)
    added = (far > near) & (far < furthest)
    whole = _poisson(mesh, points[added], normals[added])
    kept = caster.distances(whole.vertices) < near
    if bool(added.any()):
        kept |= _to_nearest(whole.vertices, points[added]) < near
    rough = without_scraps(whole.of_triangles(kept[whole.triangles].all(dim=1)))
    return _hanging_together(rough, caster.distances(rough.vertices) < _HELD * near)


def _hanging_together(mesh: Mesh, is_known: Bool[Tensor, "V"]) -> Mesh:
    """Without the parts of which nothing is known."""
    part = connected_parts(mesh)
    if len(part) == 0:
        return mesh
    of_known = torch.zeros(int(part.max()) + 1, dtype=torch.bool)
    of_known[part[is_known[mesh.triangles].any(dim=1)]] = True
    return mesh.of_triangles(of_known[part])


def cell_of(mesh: Mesh) -> float:
    """Edge of the cells in which a surface of this size is closed, in its own units."""
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max()) / _CELLS


def _tightened(mesh: Mesh, is_known: Bool[Tensor, "V"], hidden: Hidden) -> Mesh:
    """What is not known drawn towards the membrane that the known vertices hold, to not much more than `_BULGE` of it.

    What would end where some view saw through stays where it is.
    """
    edges, weights = bonds(mesh.vertices, mesh.triangles)
    furthest, held = _BULGE * _CELLS * hidden.cell, is_known
    for _ in range(_ROUNDS):
        tight = relaxed(mesh.vertices, held, edges, weights)
        slack = mesh.vertices - tight
        # Near the membrane all of it, far away hardly more than the furthest, with no crease in between.
        found = tight + slack / (1 + (slack.norm(dim=1, keepdim=True) / furthest) ** 2).sqrt()
        through = hidden.is_seen_through(found) & ~held
        held = held | through
    return replace(mesh, vertices=torch.where(held[:, None], mesh.vertices, found))


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
