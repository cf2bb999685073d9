"""Floating scraps taken off a mesh, and triangles that add nothing."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from neural3d.surface.mesh import Mesh
from neural3d.surface.open3d_library import require_open3d


def without_scraps(mesh: Mesh, *, least_share: float = 0.005) -> Mesh:
    """Only the connected parts with at least this share of the largest one's triangles."""
    part = connected_parts(mesh)
    if len(part) == 0:
        return mesh
    sizes = torch.bincount(part)
    return mesh.of_triangles((sizes >= least_share * sizes.max())[part])


def connected_parts(mesh: Mesh) -> Int[Tensor, "T"]:
    """The number of the part that each triangle belongs to; those of one part hang together by their edges."""
    numbers = _legacy(mesh).cluster_connected_triangles()[0]
    return torch.from_numpy(np.asarray(numbers)).long()


def decimated(mesh: Mesh, max_triangles: int) -> Mesh:
    """At most so many triangles, by collapsing the edges whose loss moves the surface least.

    Source: Garland and Heckbert 1997, Surface Simplification Using Quadric Error Metrics.
    """
    if len(mesh) <= max_triangles:
        return mesh
    small = _legacy(mesh).simplify_quadric_decimation(max_triangles)
    small.remove_degenerate_triangles()
    small.remove_unreferenced_vertices()
    vertices, triangles, colors = (
        torch.from_numpy(np.asarray(values)) for values in (small.vertices, small.triangles, small.vertex_colors)
    )
    return Mesh(vertices.float(), triangles.long(), colors.float().clamp(0, 1))


def _legacy(mesh: Mesh) -> Any:
    o3d = require_open3d()
    legacy = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices.double().numpy()),
        o3d.utility.Vector3iVector(mesh.triangles.int().numpy()),
    )
    legacy.vertex_colors = o3d.utility.Vector3dVector(mesh.colors.double().numpy())
    return legacy
