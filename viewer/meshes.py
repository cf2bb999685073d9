"""What is on show as a mesh: the surface that the capture's cameras agree on."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.export.mesh_files import write_mesh
from neural3d.export.up_axis import composed, upright
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.cleaning import decimated, without_scraps
from neural3d.surface.fusion import fuse

MESH = "mesh (glb)"
"""What the list of formats calls it."""
MAX_TRIANGLES = 200_000


def write_surface(
    path: Path,
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    capture_from_scene: Similarity,
    up_world: Float[Tensor, "3"],
) -> None:
    """Write a GLB with colours at its vertices, y up, in the capture's units; `up_world` is in the capture's frame.

    Raises: InputError where open3d is not installed, or where no surface is found; StorageError.
    """
    with torch.no_grad():
        mesh = decimated(without_scraps(fuse(gaussians, cameras)), MAX_TRIANGLES)
    write_mesh(path, mesh.moved(composed(upright("y", up_world), capture_from_scene)), up_axis="Y")
