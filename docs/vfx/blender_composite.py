"""Put a neural3d EXR sequence and Blender's own objects into one picture, by depth, and render it.

    blender -b shot.blend -P blender_composite.py -- render/tea.%04d.exr --output comp/ --frames 1001 1010

or, with Blender's module, python blender_composite.py ... --open shot.blend. The camera is the one that
blender_cameras.py brought in, so that both see the scene alike. --cube X Y Z SIZE adds a cube, to see what is in front.
"""

import argparse
import sys
from pathlib import Path

import bpy


def compositing_tree(scene: bpy.types.Scene) -> bpy.types.NodeTree:
    """An empty compositor; since Blender 5.0 it is a group of nodes of its own."""
    if hasattr(scene, "compositing_node_group"):
        tree = bpy.data.node_groups.new("neural3d", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
        return tree
    scene.use_nodes = True
    scene.node_tree.nodes.clear()
    return scene.node_tree


def output_socket(tree: bpy.types.NodeTree) -> bpy.types.NodeSocket:
    """Where the picture goes."""
    kind = "NodeGroupOutput" if tree.interface.items_tree else "CompositorNodeComposite"
    return tree.nodes.new(kind).inputs[0]


def picture_node(tree: bpy.types.NodeTree, sequence: Path, first: int, last: int) -> bpy.types.Node:
    """The sequence, whose frames carry the scene's numbers."""
    image = bpy.data.images.load(str(sequence.with_name(sequence.name % first)))
    image.source = "SEQUENCE"
    node = tree.nodes.new("CompositorNodeImage")
    node.image = image
    node.frame_duration, node.frame_start, node.frame_offset = last - first + 1, first, first - 1
    node.use_auto_refresh = True
    return node


def socket(node: bpy.types.Node, *names: str) -> bpy.types.NodeSocket:
    """The first output of these names."""
    for name in names:
        if name in node.outputs:
            return node.outputs[name]
    raise SystemExit(f"the pictures have {[s.name for s in node.outputs]}, none of {names}")


def combine(sequence: Path, first: int, last: int) -> None:
    """Nearer wins; what neither has is transparent."""
    scene = bpy.context.scene
    scene.render.use_compositing, scene.render.film_transparent = True, True
    bpy.context.view_layer.use_pass_z = True
    tree = compositing_tree(scene)
    theirs = picture_node(tree, sequence, first, last)
    ours = tree.nodes.new("CompositorNodeRLayers")
    merged = tree.nodes.new("CompositorNodeZcombine")
    inputs = [s for s in merged.inputs if s.type in ("RGBA", "VALUE")]
    sources = (
        ours.outputs["Image"],
        ours.outputs["Depth"],
        socket(theirs, "rgba", "Combined"),
        socket(theirs, "depth", "Depth"),
    )
    for source, target in zip(sources, inputs, strict=True):
        tree.links.new(source, target)
    tree.links.new(merged.outputs[0], output_socket(tree))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs=2, required=True)
    parser.add_argument("--open", type=Path, help="a .blend to begin with")
    parser.add_argument("--cube", type=float, nargs=4, help="X Y Z SIZE")
    parser.add_argument("--samples", type=int, default=32)
    options = parser.parse_args(arguments)
    if options.open:
        bpy.ops.wm.open_mainfile(filepath=str(options.open))
    scene = bpy.context.scene
    if options.cube:
        bpy.ops.mesh.primitive_cube_add(size=options.cube[3], location=options.cube[:3])
    scene.render.engine, scene.cycles.samples = "CYCLES", options.samples
    combine(options.sequence.resolve(), *options.frames)
    scene.view_settings.view_transform = "Standard"  # the sequence is light that a display has shown already
    scene.frame_start, scene.frame_end = options.frames
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(options.output.resolve()) + "/"
    bpy.ops.render.render(animation=True)


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
