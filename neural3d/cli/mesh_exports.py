"""export --format mesh: the surface of a run's model."""

from typing import Any

import torch

from neural3d.cli.camera_exports import FOR_CAMERAS, refuse, up_of
from neural3d.cli.exports import usd_axis
from neural3d.cli.options import Export
from neural3d.cli.progress import say
from neural3d.cli.runs import Trained, load_trained
from neural3d.cli.shots import default_up, world_frame
from neural3d.errors import InputError
from neural3d.export.mesh_files import require_mesh_suffix, write_mesh
from neural3d.export.selection import Selection, select
from neural3d.export.up_axis import composed
from neural3d.render.model import Model
from neural3d.run import check_parents
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.cleaning import decimated, without_scraps
from neural3d.surface.fusion import Fusion, fuse
from neural3d.surface.mesh import Mesh

FOR_MESHES = ("triangles", "voxel")
MAX_TRIANGLES = 20_000_000


def export_mesh(options: Export) -> dict[str, Any]:
    """Write the file; what there is to say about it.

    Raises: InputError; StorageError.
    """
    refuse(options, (*FOR_CAMERAS, "spz_version"), "other formats")
    require_mesh_suffix(options.output)
    check_parents(options.output)
    if not 1 <= options.triangles <= MAX_TRIANGLES:
        raise InputError(f"--triangles {options.triangles}: expected 1 to {MAX_TRIANGLES}")
    if options.voxel is not None and not 0 < options.voxel < float("inf"):
        raise InputError(f"--voxel {options.voxel:g}: expected more than 0")
    if options.source.is_file():
        raise InputError(f"{options.source}: a mesh is made from a run's cameras; give the run's folder")
    trained = load_trained(options.source)
    mesh = _surface(options, trained)
    up = options.up or default_up(options.output)
    placed = mesh.moved(composed(world_frame(trained, up), trained.views.capture_from_scene.inverse()))
    write_mesh(options.output, placed, up_axis=usd_axis(up, up_of(trained)))
    counts = {"num_vertices": len(mesh.vertices), "num_triangles": len(mesh)}
    return {"output": str(options.output), "format": "mesh", **counts}


def refuse_mesh_options(options: Export) -> None:
    """Raises: InputError where something else is exported with what is for meshes."""
    refuse(options, FOR_MESHES, "--format mesh")


def _surface(options: Export, trained: Trained) -> Mesh:
    """In the capture's frame."""
    way = trained.views.capture_from_scene
    fusion = Fusion(voxel=None if options.voxel is None else options.voxel / way.scale)
    mesh = fuse(_chosen(options, trained, way), trained.views.cameras, fusion, progress=_tell).moved(way)
    if options.crop is not None:
        corners = torch.tensor(options.crop).reshape(2, 3)
        mesh = mesh.cropped(corners.amin(0), corners.amax(0))
        if len(mesh) == 0:
            raise InputError("--crop: no surface lies in the box")
    return decimated(without_scraps(mesh), options.triangles)


def _chosen(options: Export, trained: Trained, way: Similarity) -> Model:
    """Of a splat model, only what was asked for; the crop is the mesh's."""
    if not isinstance(trained.model, Gaussians):
        refuse(options, ("min_opacity", "max_splats"), "runs of splats")
        return trained.model
    selection = Selection(None, options.min_opacity, options.max_splats)
    rows = select(trained.model, selection, cameras=trained.views.cameras, capture_from_scene=way)
    return trained.model[rows]


def _tell(done: int, views: int) -> None:
    if done == views or done % 20 == 0:
        say(f"neural3d: {done} of {views} views fused")
