"""Light and film: soft lamps, a sky that only lights, and Cycles set to be quick, clean and repeatable."""

import bpy
import numpy as np
from jaxtyping import Float
from mathutils import Matrix, Vector


def light_the_set() -> None:
    """A warm window to the left, a cool fill to the right, a rim from behind, and a gradient sky."""
    _lamp("window", (-2.6, -2.2, 3.4), size=2.0, watts=150, color=(1.0, 0.90, 0.76))
    _lamp("fill", (3.4, -1.0, 2.0), size=2.6, watts=45, color=(0.74, 0.86, 1.0))
    _lamp("rim", (0.8, 3.4, 2.8), size=1.6, watts=70, color=(1.0, 0.93, 0.85))
    _sky()


def _lamp(
    name: str, at: tuple[float, float, float], size: float, watts: float, color: tuple[float, float, float]
) -> None:
    """A square softbox that looks at the teapot and does not show itself in the picture."""
    data = bpy.data.lights.new(name, "AREA")
    data.shape, data.size, data.energy, data.color = "SQUARE", size, watts, color
    lamp = bpy.data.objects.new(name, data)
    lamp.location = at
    lamp.rotation_euler = (Vector((0, 0, 0.3)) - Vector(at)).to_track_quat("-Z", "Y").to_euler()
    lamp.visible_camera = False
    bpy.context.scene.collection.objects.link(lamp)


def _sky() -> None:
    """Blue above, cream at the horizon, brown below; strength 1 is a bright overcast day."""
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    coordinates, split = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeSeparateXYZ")
    half, ramp = nodes.new("ShaderNodeMapRange"), nodes.new("ShaderNodeValToRGB")
    half.inputs["From Min"].default_value = -1.0
    stops = [
        (0.0, (0.10, 0.07, 0.05)),
        (0.47, (0.34, 0.26, 0.20)),
        (0.56, (0.92, 0.83, 0.70)),
        (1.0, (0.42, 0.60, 0.92)),
    ]
    ramp.color_ramp.elements.new(0.5)
    ramp.color_ramp.elements.new(0.5)
    for element, (position, color) in zip(ramp.color_ramp.elements, stops, strict=True):
        element.position, element.color = position, (*color, 1.0)
    links.new(coordinates.outputs["Generated"], split.inputs["Vector"])
    links.new(split.outputs["Z"], half.inputs["Value"])
    links.new(half.outputs["Result"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], nodes["Background"].inputs["Color"])
    nodes["Background"].inputs["Strength"].default_value = 0.55


def set_up_film(size_px: int, samples: int, seed: int) -> None:
    """Cycles on the CPU, denoised, over nothing (alpha), in display sRGB."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", samples, seed
    scene.cycles.use_denoising, scene.cycles.denoiser = True, "OPENIMAGEDENOISE"
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 4, 2, 2
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = size_px
    scene.render.resolution_percentage = 100
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    scene.render.use_persistent_data = True
    scene.view_settings.view_transform, scene.view_settings.look = "AgX", "AgX - Medium High Contrast"
    scene.view_settings.exposure = 0.42
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"


def aim_camera(world_from_camera: Float[np.ndarray, "4 4"], fov_rad: float) -> None:
    """Put the scene's camera at this pose (OpenGL axes: +x right, +y up, looking along -z)."""
    scene = bpy.context.scene
    if scene.camera is None:
        scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(scene.camera)
    scene.camera.data.sensor_fit, scene.camera.data.angle = "HORIZONTAL", fov_rad
    scene.camera.data.clip_start, scene.camera.data.clip_end = 0.05, 50.0
    scene.camera.matrix_world = Matrix(world_from_camera.tolist())
