"""Taking the pictures: photos as straight-alpha sRGB, and exact depth and normals at pixel centres."""

import math
from pathlib import Path

import bpy
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from studio.light import aim_camera
from studio.views import FOCAL_OVER_WIDTH, View

FOV_RAD = 2 * math.atan(0.5 / FOCAL_OVER_WIDTH)


def photograph(view: View, scratch: Path) -> UInt8[np.ndarray, "H W 4"]:
    """Render one view with everything switched on."""
    scene, path = bpy.context.scene, scratch / f"{view.name}.png"
    aim_camera(view.world_from_camera, FOV_RAD)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    with Image.open(path) as photo:
        return np.array(photo.convert("RGBA"))


def measure_only() -> None:
    """From now on a pixel is one ray through its centre, undenoised, and files keep scene values."""
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.use_denoising = 1, False
    # Cycles widens a box filter to a pixel whatever is asked, a Gaussian it leaves as narrow as it is told.
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "GAUSSIAN", 0.01
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"


def measure(view: View, quantity: str, scratch: Path) -> Float[np.ndarray, "H W 4"]:
    """What a surface is, not how it looks; alpha is 1 where a ray hits.

    `quantity` is "depth" (distance along the camera's axis, in all three channels) or "normal" (unit vector in the
    world, towards the camera, without bump).
    """
    scene, path = bpy.context.scene, scratch / f"{view.name}_{quantity}.exr"
    glowing = _glowing(quantity)
    if bpy.context.view_layer.material_override != glowing:
        bpy.context.view_layer.material_override = glowing
    aim_camera(view.world_from_camera, FOV_RAD)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    values = _read_exr(path)
    if quantity == "normal":
        values[..., :3] = np.where(values[..., 3:] > 0.5, 2 * values[..., :3] - 1, 0)
    return values


def _glowing(quantity: str) -> bpy.types.Material:
    """A material that emits the quantity; normals are halved and shifted, because light is not negative."""
    known = bpy.data.materials.get(f"measure {quantity}")
    if known:
        return known
    made = bpy.data.materials.new(f"measure {quantity}")
    made.use_nodes = True
    # Otherwise every triangle of the set becomes a lamp, which takes longer than the picture.
    made.cycles.emission_sampling = "NONE"
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    glow, out = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    if quantity == "depth":
        links.new(nodes.new("ShaderNodeCameraData").outputs["View Z Depth"], glow.inputs["Color"])
    else:
        scale = nodes.new("ShaderNodeVectorMath")
        scale.operation = "MULTIPLY_ADD"
        scale.inputs[1].default_value = scale.inputs[2].default_value = (0.5, 0.5, 0.5)
        links.new(nodes.new("ShaderNodeNewGeometry").outputs["Normal"], scale.inputs[0])
        links.new(scale.outputs["Vector"], glow.inputs["Color"])
    links.new(glow.outputs["Emission"], out.inputs["Surface"])
    return made


def _read_exr(path: Path) -> Float[np.ndarray, "H W 4"]:
    """A float image as Blender reads it, top row first."""
    made = bpy.data.images.load(str(path))
    made.colorspace_settings.name = "Non-Color"
    width, height = made.size
    values = np.empty(width * height * 4, dtype=np.float32)
    made.pixels.foreach_get(values)
    bpy.data.images.remove(made)
    return values.reshape(height, width, 4)[::-1].copy()
