"""Putting shapes into the Blender scene."""

import bpy
import numpy as np

from studio.shapes import Shape, lathe, spline

Place = tuple[float, float, float]


def add(name: str, shape: Shape, material: bpy.types.Material, smooth: bool = True, bevel: float = 0.0) -> None:
    """Put a shape into the Blender scene."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(shape.points.tolist(), [], shape.quads.tolist())
    mesh.uv_layers.new(name="UVMap").data.foreach_set("uv", shape.uvs.astype(np.float32).ravel())
    mesh.materials.append(material)
    mesh.polygons.foreach_set("use_smooth", np.full(len(mesh.polygons), smooth))
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    if bevel > 0:
        modifier = made.modifiers.new("bevel", "BEVEL")
        modifier.width, modifier.segments = bevel, 3


def turned(*knots: tuple[float, float]) -> Shape:
    """A lathed form through (radius, height) knots."""
    profile = spline(knots)
    # Between two knots on the axis the curve may swing to the other side of it.
    return lathe(np.stack([np.maximum(profile[:, 0], 0), profile[:, 1]], axis=1))
