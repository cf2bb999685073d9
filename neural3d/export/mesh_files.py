"""Meshes as files of other programs: PLY and OBJ by trimesh, GLB, USD by usd-core; colours at the vertices.

GLB and USD hold linear light, which these formats ask for; PLY and OBJ display sRGB, as programs take theirs to be.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from neural3d.errors import InputError
from neural3d.export.mesh_glb import write_mesh_glb
from neural3d.export.usd import SUFFIXES as USD_SUFFIXES
from neural3d.export.usd import require_pxr, write_stage
from neural3d.srgb import decode_srgb
from neural3d.storage import atomic_write, system_error_of_words
from neural3d.surface.bake import Texture
from neural3d.surface.mesh import Mesh
from neural3d.surface.unwrap import Unwrapped

SUFFIXES = (".ply", ".obj", ".glb", *USD_SUFFIXES)
_MATERIAL = "surface"
_BYTES = {".obj": (75, 24), ".usda": (80, 30)}
"""Of a vertex and of a triangle, roughly; of a binary file, 40 and 16."""


def require_mesh_suffix(path: Path) -> str:
    """The suffix, in small letters.

    Raises: InputError where it is none of a mesh's.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or path.is_dir():
        raise InputError(f"--output {path}: expected a mesh that ends in {', '.join(SUFFIXES)}")
    return suffix


def write_mesh(path: str | Path, mesh: Mesh, *, up_axis: str = "Y", metres_per_unit: float = 1.0) -> None:
    """Write a mesh as it lies; `up_axis`, Y or Z, and `metres_per_unit` are what a USD stage says of its frame.

    Raises: InputError for another suffix, or where usd-core is not installed; StorageError.
    """
    path = Path(path)
    suffix = require_mesh_suffix(path)
    if suffix == ".glb":
        write_mesh_glb(path, mesh)
        return
    write: Callable[[Path], None]
    if suffix in USD_SUFFIXES:
        pxr = require_pxr(path)

        def write(temporary: Path) -> None:
            try:
                layer = partial(_write_layer, pxr, mesh=mesh, up_axis=up_axis, metres_per_unit=metres_per_unit)
                write_stage(pxr, temporary, layer, "mesh.usdc")
            except pxr.Tf.ErrorException as error:
                raise system_error_of_words(error) from error

    else:

        def write(temporary: Path) -> None:
            _trimesh(mesh).export(temporary, file_type=suffix[1:])

    of_vertex, of_triangle = _BYTES.get(suffix, (40, 16))
    atomic_write(path, write, estimate_bytes=of_vertex * len(mesh.vertices) + of_triangle * len(mesh))


def write_textured(path: str | Path, surface: Unwrapped, texture: Texture) -> None:
    """Write a mesh with its texture: a GLB that holds it, or an OBJ with .mtl and .png of its name beside it.

    The OBJ comes last, so that it is never there without what it names.

    Raises: InputError for another suffix; StorageError.
    """
    path = Path(path)
    require_texture_suffix(path)
    picture = Image.fromarray((texture.colors * 255).round().byte().numpy())
    if path.suffix.lower() == ".glb":
        content = _textured(surface, _surface_material(picture)).export(file_type="glb")
        atomic_write(path, lambda temporary: temporary.write_bytes(content), estimate_bytes=len(content))
        return
    lines = [f"newmtl {_MATERIAL}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", f"map_Kd {path.stem}.png", ""]
    atomic_write(path.with_suffix(".png"), lambda temporary: picture.save(temporary, format="PNG"))
    atomic_write(path.with_suffix(".mtl"), lambda temporary: temporary.write_text("\n".join(lines), encoding="utf-8"))
    atomic_write(path, lambda temporary: _write_obj(temporary, surface, path.stem))


def unseen_path(path: Path) -> Path:
    """Where the mask of a textured mesh lies: `cup.unseen.png` beside `cup.glb`."""
    return path.with_suffix(".unseen.png")


def write_unseen(path: str | Path, texture: Texture) -> None:
    """Write, beside a mesh of that name, which texels no photo saw: white; black elsewhere.

    Raises: StorageError.
    """
    picture = Image.fromarray((255 * texture.unseen.byte()).numpy())
    atomic_write(unseen_path(Path(path)), lambda temporary: picture.save(temporary, format="PNG"))


def require_texture_suffix(path: Path) -> None:
    """Raises: InputError where a file's format has no place for a texture."""
    if path.suffix.lower() not in (".obj", ".glb"):
        raise InputError(f"--output {path}: expected a mesh with a texture that ends in .obj, .glb")


def _write_obj(path: Path, surface: Unwrapped, stem: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(f"mtllib {stem}.mtl\nusemtl {_MATERIAL}\n")
        np.savetxt(file, surface.mesh.vertices.numpy(), fmt="v %.7g %.7g %.7g")
        np.savetxt(file, surface.uvs.numpy(), fmt="vt %.7g %.7g")
        corners = (surface.mesh.triangles + 1).repeat_interleave(2, dim=1).numpy()
        np.savetxt(file, corners, fmt="f %d/%d %d/%d %d/%d")


def _surface_material(picture: Image.Image):  # noqa: ANN202 (trimesh is imported only where it is used)
    from trimesh.visual.material import PBRMaterial

    return PBRMaterial(baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=1.0)


def _textured(surface: Unwrapped, material):  # noqa: ANN001, ANN202
    import trimesh

    visual = trimesh.visual.TextureVisuals(uv=surface.uvs.numpy(), material=material)
    vertices, triangles = surface.mesh.vertices.numpy(), surface.mesh.triangles.numpy()
    return trimesh.Trimesh(vertices, triangles, visual=visual, process=False)


def _trimesh(mesh: Mesh):  # noqa: ANN202 (trimesh is imported only where it is used)
    import trimesh

    colors = np.full((len(mesh.vertices), 4), 255, dtype=np.uint8)
    colors[:, :3] = (mesh.colors * 255).round().byte().numpy()
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.triangles.numpy(), vertex_colors=colors, process=False)


def _write_layer(pxr, path: Path, mesh: Mesh, up_axis: str, metres_per_unit: float) -> None:  # noqa: ANN001
    stage = pxr.Usd.Stage.CreateNew(str(path))
    pxr.UsdGeom.SetStageUpAxis(stage, up_axis)
    pxr.UsdGeom.SetStageMetersPerUnit(stage, metres_per_unit)
    stage.SetDefaultPrim(pxr.UsdGeom.Xform.Define(stage, "/World").GetPrim())
    prim, vt = pxr.UsdGeom.Mesh.Define(stage, "/World/mesh"), pxr.Vt
    prim.CreatePointsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.vertices.numpy())))
    prim.CreateFaceVertexCountsAttr(vt.IntArray.FromNumpy(np.full(len(mesh), 3, dtype=np.int32)))
    prim.CreateFaceVertexIndicesAttr(vt.IntArray.FromNumpy(mesh.triangles.int().reshape(-1).numpy()))
    prim.CreateSubdivisionSchemeAttr(pxr.UsdGeom.Tokens.none)
    low, high = mesh.vertices.amin(0).tolist(), mesh.vertices.amax(0).tolist()
    prim.CreateExtentAttr(vt.Vec3fArray([pxr.Gf.Vec3f(*low), pxr.Gf.Vec3f(*high)]))
    colors = prim.CreateDisplayColorPrimvar(pxr.UsdGeom.Tokens.vertex)
    colors.Set(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(decode_srgb(mesh.colors).numpy())))
    stage.Save()
