"""The texels of a surface that is laid out flat: where each one lies, and what rays hit."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.surface.mesh import Mesh
from neural3d.surface.open3d_library import require_open3d
from neural3d.surface.unwrap import PADDING_PX, Unwrapped


@dataclass(frozen=True)
class Texels:
    """Those N of a picture of S x S that lie on the surface, a border around each chart included."""

    covered: Bool[Tensor, "S S"]
    points: Float[Tensor, "N 3"]
    normals: Float[Tensor, "N 3"]
    colors: Float[Tensor, "N 3"]
    """Of the mesh's vertices, in between interpolated."""

    @property
    def spacing(self) -> float:
        """About how far neighbours are apart, in the units of the points: the mean of across and down."""
        numbers = torch.full(self.covered.shape, -1)
        numbers[self.covered] = torch.arange(len(self.points))
        product = 1.0
        for first, second in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):
            both = (first >= 0) & (second >= 0)
            if not bool(both.any()):
                return 1.0
            product *= float((self.points[first[both]] - self.points[second[both]]).norm(dim=1).median())
        return product**0.5


def texels_of(surface: Unwrapped, side_px: int) -> Texels:
    """Where the texels of a picture of so many pixels a side lie; the first row is its upper edge, v = 1.

    Raises: InputError where open3d is not installed.
    """
    o3d = require_open3d()
    mesh = surface.mesh
    flat = o3d.t.geometry.TriangleMesh(
        o3d.core.Tensor(np.ascontiguousarray(mesh.vertices.numpy())), o3d.core.Tensor(mesh.triangles.numpy())
    )
    flat.triangle["texture_uvs"] = o3d.core.Tensor(np.ascontiguousarray(surface.uvs[mesh.triangles].numpy()))
    flat.vertex["facing"] = o3d.core.Tensor(vertex_normals(mesh).numpy())
    flat.vertex["shade"] = o3d.core.Tensor(np.ascontiguousarray(mesh.colors.numpy()))
    names = {"positions", "facing", "shade"}
    baked = flat.bake_vertex_attr_textures(
        side_px, names, margin=PADDING_PX / 2, fill=float("nan"), update_material=False
    )
    pictures = {name: torch.from_numpy(baked[name].numpy()) for name in names}
    covered = pictures["positions"].isfinite().all(dim=-1)
    points, normals, colors = (pictures[name][covered] for name in ("positions", "facing", "shade"))
    return Texels(covered, points, torch.nn.functional.normalize(normals, dim=-1), colors)


def vertex_normals(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Unit means over the triangles, weighted by their areas; vertices at one place share theirs."""
    a, b, c = mesh.vertices[mesh.triangles].unbind(1)
    _, place = mesh.vertices.unique(dim=0, return_inverse=True)
    sums = torch.zeros(int(place.max()) + 1, 3)
    normals = torch.linalg.cross(b - a, c - a)
    for corner in range(3):
        sums.index_add_(0, place[mesh.triangles[:, corner]], normals)
    return torch.nn.functional.normalize(sums, dim=-1)[place]


@dataclass(frozen=True)
class Hits:
    """What R rays meet first."""

    distances: Float[Tensor, "R"]
    """In lengths of the rays' directions; infinite where nothing is met."""
    triangles: Int64[Tensor, "R"]
    """-1 where nothing is met."""
    weights: Float[Tensor, "R 3"]
    """Of the triangle's corners; they add up to one."""


class RayCaster:
    """A surface that rays are sent at.

    Raises: InputError where open3d is not installed.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._o3d = require_open3d()
        self._scene = self._o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            self._o3d.core.Tensor(np.ascontiguousarray(mesh.vertices.numpy())),
            self._o3d.core.Tensor(mesh.triangles.numpy().astype(np.uint32)),
        )

    def hits(self, origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"]) -> Hits:
        """The first triangle on each ray, from either side."""
        lines = torch.cat([origins, directions], dim=1).float().contiguous()
        found = self._scene.cast_rays(self._o3d.core.Tensor(lines.numpy()))
        distances = torch.from_numpy(found["t_hit"].numpy())
        triangles = torch.from_numpy(found["primitive_ids"].numpy().astype(np.int64))
        second_third = torch.from_numpy(found["primitive_uvs"].numpy())
        weights = torch.cat([1 - second_third.sum(1, keepdim=True), second_third], dim=1)
        return Hits(distances, torch.where(distances.isfinite(), triangles, -1), weights)

    def distances(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """From points to the surface."""
        found = self._scene.compute_distance(self._o3d.core.Tensor(np.ascontiguousarray(points.float().numpy())))
        return torch.from_numpy(found.numpy())
