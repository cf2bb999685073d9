"""A surface of triangles."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural3d.scene import Similarity


@dataclass(frozen=True)
class Mesh:
    """V vertices with a colour each, T triangles that wind anticlockwise as seen from outside."""

    vertices: Float[Tensor, "V 3"]
    triangles: Int[Tensor, "T 3"]
    colors: Float[Tensor, "V 3"]
    """Display sRGB in [0, 1]."""

    def __len__(self) -> int:
        return len(self.triangles)

    def moved(self, b_from_a: Similarity) -> "Mesh":
        """The same surface in another frame."""
        return replace(self, vertices=b_from_a.apply(self.vertices.double()).float())

    def of_triangles(self, kept: Bool[Tensor, "T"]) -> "Mesh":
        """Some of the triangles, and the vertices that these need."""
        triangles = self.triangles[kept]
        used, numbers = triangles.unique(return_inverse=True)
        return Mesh(self.vertices[used], numbers.reshape(-1, 3), self.colors[used])

    def inside(self, low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> Bool[Tensor, "T"]:
        """The triangles that lie in a box with all their corners."""
        within = ((self.vertices >= low) & (self.vertices <= high)).all(dim=1)
        return within[self.triangles].all(dim=1)


def no_mesh() -> Mesh:
    """Nothing at all."""
    return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3))
