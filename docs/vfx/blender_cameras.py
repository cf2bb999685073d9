"""Cameras between neural3d and Blender, as .blender.json.

    blender -b -P blender_cameras.py -- import move.blender.json --save shot.blend
    blender -b shot.blend -P blender_cameras.py -- export track.blender.json --camera Camera

Or with Blender's module: python blender_cameras.py import move.blender.json --save shot.blend

`import` makes a camera with a key on every frame, and sets the scene's range, rate and resolution. `export` writes the
scene's camera (or the one that is named) at every frame of the range, wherever its motion comes from. `--alembic`
writes an Alembic file beside it.
"""

import argparse
import json
import sys
from pathlib import Path

import bpy
from mathutils import Matrix

FORMAT = "neural3d cameras"


def import_cameras(path: Path) -> None:
    """Make the camera and set the scene up for it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == FORMAT, f"{path}: no {FORMAT!r} file"
    camera = bpy.data.objects.new("neural3d", bpy.data.cameras.new("neural3d"))
    bpy.context.scene.collection.objects.link(camera)
    camera.data.sensor_fit = "HORIZONTAL"
    camera.data.sensor_width = content["sensor_width_mm"]
    set_scene(content, camera)
    camera.rotation_mode = "QUATERNION"
    before = None
    for frame in content["frames"]:
        place, turn, _ = Matrix(frame["world_from_camera"]).decompose()
        if before is not None:
            turn.make_compatible(before)  # the short way round between two keys
        camera.location, camera.rotation_quaternion, before = place, turn, turn
        camera.data.lens = frame["lens_mm"]
        camera.data.shift_x, camera.data.shift_y = frame["shift"]
        for owner, names in (
            (camera, ("location", "rotation_quaternion")),
            (camera.data, ("lens", "shift_x", "shift_y")),
        ):
            for name in names:
                owner.keyframe_insert(name, frame=frame["frame"])


def set_scene(content: dict, camera: bpy.types.Object) -> None:
    """Range, rate, resolution, and the camera that renders."""
    scene = bpy.context.scene
    scene.camera = camera
    scene.frame_start, scene.frame_end = content["frames"][0]["frame"], content["frames"][-1]["frame"]
    scene.render.fps = round(content["fps"])
    scene.render.fps_base = scene.render.fps / content["fps"]
    scene.render.resolution_x, scene.render.resolution_y = content["resolution"]
    scene.render.resolution_percentage = 100
    wide, tall = content.get("pixel_aspect", [1.0, 1.0])
    least = min(wide, tall)  # Blender wants both to be at least 1
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = wide / least, tall / least


def export_cameras(path: Path, name: str | None) -> None:
    """Write the camera at every frame of the scene's range."""
    scene = bpy.context.scene
    camera = bpy.data.objects[name] if name else scene.camera
    assert camera is not None and camera.type == "CAMERA", "the scene has no camera: name one with --camera"
    assert camera.data.type == "PERSP", f"{camera.name} is no perspective camera"
    frames = []
    for number in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(number)
        seen = camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
        pose = seen.matrix_world.normalized()
        lens, shift = seen.data.lens, shift_in_widths(seen.data, scene.render)
        # The sensor that is fitted is not always the one across: the lens is told for that.
        lens *= seen.data.sensor_width / fitted_width(seen.data, scene.render)
        frames.append(
            {"frame": number, "world_from_camera": [list(row) for row in pose], "lens_mm": lens, "shift": shift}
        )
    render = scene.render
    share = render.resolution_percentage / 100
    content = {
        "format": FORMAT,
        "version": 1,
        "fps": render.fps / render.fps_base,
        "resolution": [round(render.resolution_x * share), round(render.resolution_y * share)],
        "sensor_width_mm": camera.data.sensor_width,
        "pixel_aspect": [render.pixel_aspect_x, render.pixel_aspect_y],
        "frames": frames,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def fits_across(lens: bpy.types.Camera, render: bpy.types.RenderSettings) -> bool:
    """Whether the lens's millimetres are told across the picture, or down it."""
    if lens.sensor_fit != "AUTO":
        return lens.sensor_fit == "HORIZONTAL"
    return render.resolution_x * render.pixel_aspect_x >= render.resolution_y * render.pixel_aspect_y


def fitted_width(lens: bpy.types.Camera, render: bpy.types.RenderSettings) -> float:
    """Millimetres across the picture."""
    if fits_across(lens, render):
        return lens.sensor_width
    fitted = lens.sensor_width if lens.sensor_fit == "AUTO" else lens.sensor_height
    return fitted * render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)


def shift_in_widths(lens: bpy.types.Camera, render: bpy.types.RenderSettings) -> list[float]:
    """Blender counts shifts in the side that is fitted."""
    if fits_across(lens, render):
        return [lens.shift_x, lens.shift_y]
    wide = render.resolution_y * render.pixel_aspect_y / (render.resolution_x * render.pixel_aspect_x)
    return [lens.shift_x * wide, lens.shift_y * wide]


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["import", "export"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--camera", help="of which to export; else the scene's")
    parser.add_argument("--open", type=Path, help="a .blend to begin with")
    parser.add_argument("--save", type=Path, help="the .blend to write afterwards")
    parser.add_argument("--alembic", type=Path, help="write the scene as .abc, too")
    options = parser.parse_args(arguments)
    if options.open:
        bpy.ops.wm.open_mainfile(filepath=str(options.open))
    if options.what == "import":
        import_cameras(options.file)
    else:
        export_cameras(options.file, options.camera)
    if options.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(options.save))
    if options.alembic:
        bpy.ops.wm.alembic_export(filepath=str(options.alembic))


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
