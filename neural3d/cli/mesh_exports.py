"""export --format mesh: the surface of a run's model."""

from dataclasses import replace
from typing import Any

import torch

from neural3d.cli.camera_exports import FOR_CAMERAS, refuse
from neural3d.cli.options import Export
from neural3d.cli.runs import Trained, load_trained
from neural3d.cli.shots import default_up, frame_of, metres_per_unit
from neural3d.cli.surfaces import chosen_model, require_texture_size, seen_of, tell_views
from neural3d.errors import InputError
from neural3d.export.mesh_files import (
    require_mesh_suffix,
    require_texture_suffix,
    unseen_path,
    write_mesh,
    write_textured,
    write_unseen,
)
from neural3d.export.scene_export import usd_axis
from neural3d.export.up_axis import composed, upright
from neural3d.render.model import Model
from neural3d.run import check_parents
from neural3d.scene import Similarity
from neural3d.surface.bake import bake
from neural3d.surface.cleaning import decimated, without_scraps
from neural3d.surface.fusion import Fusion, fuse
from neural3d.surface.mesh import Mesh
from neural3d.surface.unwrap import unwrap

FOR_MESHES = ("triangles", "voxel", "texture", "texture_from")
MAX_TRIANGLES, MAX_TRIANGLES_DEFAULT, MAX_TRIANGLES_TEXTURED = 20_000_000, 200_000, 50_000


def export_mesh(options: Export) -> dict[str, Any]:
    """Write the file; what there is to say about it.

    Raises: InputError; StorageError.
    """
    refuse(options, (*FOR_CAMERAS, "spz_version"), "other formats")
    require_mesh_suffix(options.output)
    check_parents(options.output)
    if options.triangles is not None and not 1 <= options.triangles <= MAX_TRIANGLES:
        raise InputError(f"--triangles {options.triangles}: expected 1 to {MAX_TRIANGLES}")
    if options.voxel is not None and not 0 < options.voxel < float("inf"):
        raise InputError(f"--voxel {options.voxel:g}: expected more than 0")
    if options.texture is not None:
        require_texture_suffix(options.output)
        require_texture_size(options.texture)
    elif options.texture_from is not None:
        raise InputError(f"--texture-from {options.texture_from}: there is no texture without --texture")
    if options.source.is_file():
        raise InputError(f"{options.source}: a mesh is made from a run's cameras; give the run's folder")
    trained = load_trained(options.source)
    model = chosen_model(options, trained)
    frame, up_file = frame_of(trained, options.units)
    mesh = _surface(options, trained, model, frame)
    up = options.up or default_up(options.output)
    way = composed(upright(up, up_file), frame)
    found: dict[str, Any] = {"output": str(options.output), "format": "mesh"}
    if options.texture is None:
        scale = metres_per_unit(trained, options.units)
        write_mesh(options.output, mesh.moved(way), up_axis=usd_axis(up, up_file), metres_per_unit=scale)
    else:
        seen = seen_of(trained, model, options.texture_from)
        flat = unwrap(mesh, options.texture)
        texture = bake(flat, seen.views(), options.texture)
        write_textured(options.output, replace(flat, mesh=flat.mesh.moved(way)), texture)
        write_unseen(options.output, texture)
        share = round(float(texture.seen.sum() / texture.covered.sum().clamp(min=1)), 4)
        found |= {"texture_from": seen.source, "texture_seen": share, "unseen": str(unseen_path(options.output))}
    return {**found, "num_vertices": len(mesh.vertices), "num_triangles": len(mesh)}


def refuse_mesh_options(options: Export) -> None:
    """Raises: InputError where something else is exported with what is for meshes."""
    refuse(options, FOR_MESHES, "--format mesh")


def _surface(options: Export, trained: Trained, model: Model, way: Similarity) -> Mesh:
    """In the scene's frame; crop and voxel are in the frame and units that `way` leads to."""
    fusion = Fusion(voxel=None if options.voxel is None else options.voxel / way.scale)
    mesh = fuse(model, trained.cameras, fusion, progress=tell_views("fused"))
    if options.crop is not None:
        corners = torch.tensor(options.crop).reshape(2, 3)
        mesh = mesh.of_triangles(mesh.moved(way).inside(corners.amin(0), corners.amax(0)))
        if len(mesh) == 0:
            raise InputError("--crop: no surface lies in the box")
    most = options.triangles or (MAX_TRIANGLES_DEFAULT if options.texture is None else MAX_TRIANGLES_TEXTURED)
    return decimated(without_scraps(mesh), most)
