"""A mesh laid out flat, for a texture.

Source: Levy et al. 2002, Least Squares Conformal Maps, and Sander et al. 2002, Signal-Specialized Parametrization, as
xatlas has them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.surface.mesh import Mesh

PADDING_PX = 4
"""Between charts, so that what one has at its border does not show in another where the texture is seen from afar."""


@dataclass(frozen=True)
class Unwrapped:
    """A mesh whose vertices have a place in a square picture; where charts part, a vertex is there once for each."""

    mesh: Mesh
    uvs: Float[Tensor, "V 2"]
    """In [0, 1], v up, as OBJ has it; charts may be mirrored."""


def unwrap(mesh: Mesh, side_px: int) -> Unwrapped:
    """Cut a mesh into charts and lay these out in a picture of so many pixels a side.

    Raises: InputError where xatlas is not installed, or where nothing can be laid out.
    """
    try:
        import xatlas
    except ImportError as error:
        raise InputError(f"a texture needs xatlas ({error}): pip install xatlas") from error
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(mesh.vertices.numpy()), mesh.triangles.numpy().astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = side_px, PADDING_PX, True
    atlas.generate(pack_options=packing)
    if atlas.chart_count == 0:
        raise InputError("the surface cannot be laid out flat: all its triangles are empty")
    vertices, triangles, uvs = atlas[0]
    vertices, triangles = (torch.from_numpy(numbers.astype(np.int64)) for numbers in (vertices, triangles))
    uvs = torch.from_numpy(uvs.astype(np.float32))
    return Unwrapped(Mesh(mesh.vertices[vertices], triangles, mesh.colors[vertices]), uvs)
