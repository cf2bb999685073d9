"""Meshes as files of other programs: PLY, OBJ, GLB by trimesh, USD by usd-core; colours at the vertices."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neural3d.errors import InputError
from neural3d.export.usd import SUFFIXES as USD_SUFFIXES
from neural3d.export.usd import require_pxr
from neural3d.storage import atomic_write, system_error_of_words
from neural3d.surface.mesh import Mesh

SUFFIXES = (".ply", ".obj", ".glb", *USD_SUFFIXES)
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


def write_mesh(path: str | Path, mesh: Mesh, *, up_axis: str = "Y") -> None:
    """Write a mesh as it lies; `up_axis`, Y or Z, is what a USD stage says of its frame.

    Raises: InputError for another suffix, or where usd-core is not installed; StorageError.
    """
    path = Path(path)
    suffix = require_mesh_suffix(path)
    write: Callable[[Path], None]
    if suffix in USD_SUFFIXES:
        pxr = require_pxr(path)

        def write(temporary: Path) -> None:
            try:
                _write_usd(pxr, temporary, mesh, up_axis)
            except pxr.Tf.ErrorException as error:
                raise system_error_of_words(error) from error

    else:

        def write(temporary: Path) -> None:
            _trimesh(mesh).export(temporary, file_type=suffix[1:])

    of_vertex, of_triangle = _BYTES.get(suffix, (40, 16))
    atomic_write(path, write, estimate_bytes=of_vertex * len(mesh.vertices) + of_triangle * len(mesh))


def _trimesh(mesh: Mesh):  # noqa: ANN202 (trimesh is imported only where it is used)
    import trimesh

    colors = np.full((len(mesh.vertices), 4), 255, dtype=np.uint8)
    colors[:, :3] = (mesh.colors * 255).round().byte().numpy()
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.triangles.numpy(), vertex_colors=colors, process=False)


def _write_usd(pxr, path: Path, mesh: Mesh, up_axis: str) -> None:  # noqa: ANN001 (a module)
    if path.suffix.lower() == ".usdz":
        layer = path.with_suffix(".usdc")
        _write_layer(pxr, layer, mesh, up_axis)
        packed = pxr.UsdUtils.CreateNewUsdzPackage(str(layer), str(path))
        layer.unlink()
        if not packed:
            raise OSError(f"{path}: the package could not be written")
        return
    _write_layer(pxr, path, mesh, up_axis)


def _write_layer(pxr, path: Path, mesh: Mesh, up_axis: str) -> None:  # noqa: ANN001
    stage = pxr.Usd.Stage.CreateNew(str(path))
    pxr.UsdGeom.SetStageUpAxis(stage, up_axis)
    pxr.UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(pxr.UsdGeom.Xform.Define(stage, "/World").GetPrim())
    prim, vt = pxr.UsdGeom.Mesh.Define(stage, "/World/mesh"), pxr.Vt
    prim.CreatePointsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.vertices.numpy())))
    prim.CreateFaceVertexCountsAttr(vt.IntArray.FromNumpy(np.full(len(mesh), 3, dtype=np.int32)))
    prim.CreateFaceVertexIndicesAttr(vt.IntArray.FromNumpy(mesh.triangles.int().reshape(-1).numpy()))
    prim.CreateSubdivisionSchemeAttr(pxr.UsdGeom.Tokens.none)
    low, high = mesh.vertices.amin(0).tolist(), mesh.vertices.amax(0).tolist()
    prim.CreateExtentAttr(vt.Vec3fArray([pxr.Gf.Vec3f(*low), pxr.Gf.Vec3f(*high)]))
    colors = prim.CreateDisplayColorPrimvar(pxr.UsdGeom.Tokens.vertex)
    colors.Set(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.colors.numpy())))
    stage.Save()
