"""Runs within Blender and says what it makes of a file: blender_probe.py usd|blend|exr|glb FILE [POINTS [SIZE]].

Or blender_probe.py matte FILE NAME SIZE: the share of each pixel that its Cryptomatte node finds of an object.
"""

import json
import sys

import bpy
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector


def seen(points: list[list[float]]) -> list[dict]:
    """The camera at each frame, and where it sees points, as shares of the picture from the bottom left."""
    scene = bpy.context.scene
    camera = next(o for o in bpy.data.objects if o.type == "CAMERA" and o.animation_data is not None or o.constraints)
    scene.camera = camera
    frames = []
    for number in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(number)
        lens = camera.data
        places = [list(world_to_camera_view(scene, camera, Vector(point))) for point in points]
        frames.append({"frame": number, "lens": lens.lens, "sensor": lens.sensor_width, "places": places})
    return frames


def passes(path: str) -> list[str]:
    """Sockets of a picture in the compositor."""
    tree = bpy.data.node_groups.new("probe", "CompositorNodeTree")
    node = tree.nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(path)
    return [socket.name for socket in node.outputs if socket.enabled]


def matte(path: str, name: str, size: list[int]) -> list[float]:
    """Row by row from the bottom."""
    scene, tree = bpy.context.scene, bpy.data.node_groups.new("probe", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    node = tree.nodes.new("CompositorNodeCryptomatteV2")
    node.source, node.image = "IMAGE", bpy.data.images.load(path)
    node.layer_name, node.matte_id = "CryptoObject", name
    tree.links.new(node.outputs["Matte"], tree.nodes.new("NodeGroupOutput").inputs[0])
    scene.compositing_node_group, render = tree, scene.render
    render.engine, scene.cycles.samples, scene.view_settings.view_transform = "CYCLES", 1, "Standard"
    (render.resolution_x, render.resolution_y), render.resolution_percentage = size, 100
    render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
    render.filepath = path + ".matte.exr"
    bpy.ops.render.render(write_still=True)
    return list(bpy.data.images.load(render.filepath).pixels)[::4]


def mesh(path: str) -> dict:
    """The one mesh of a glTF file: where it lies, its corners' places in its picture, and the picture's size.

    Colours of vertices are linear light, whatever Blender keeps them in.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=path)
    (found,) = (o for o in bpy.data.objects if o.type == "MESH")
    places = [list(found.matrix_world @ vertex.co) for vertex in found.data.vertices]
    images = [list(image.size) for image in bpy.data.images if image.size[0]]
    colors = [[list(value.color)[:3] for value in attribute.data] for attribute in found.data.color_attributes]
    return {
        "triangles": len(found.data.polygons),
        "places": places,
        "uv_layers": len(found.data.uv_layers),
        "images": images,
        "light": colors,
    }


def main(kind: str, path: str, points: list[list[float]] | str, size: list[int]) -> None:
    if kind == "exr":
        found = passes(path)
    elif kind == "glb":
        found = mesh(path)
    elif kind == "matte":
        found = matte(path, points, size)
    else:
        if kind == "usd":
            bpy.ops.wm.read_factory_settings(use_empty=True)
            bpy.ops.wm.usd_import(filepath=path, set_frame_range=True)
            bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = size
        else:
            bpy.ops.wm.open_mainfile(filepath=path)
        scene = bpy.context.scene
        found = {"fps": scene.render.fps / scene.render.fps_base, "frames": seen(points)}
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *(json.loads(argument) for argument in (*sys.argv[3:], "[]", "[]")[:2]))
