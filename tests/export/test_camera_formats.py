"""Camera files: what goes out comes in again, values are those that other programs expect, bad files are named."""

import base64
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.export.camera_formats import read_cameras, write_cameras
from neural3d.render.camera_files import CameraPath
from neural3d.scene import Similarity

FROM_SCENE = Similarity(3.0, torch.eye(3, dtype=torch.float64), torch.tensor([1.0, -2, 0.5]).double())
GLTF_CAMERA = (
    '{"scenes": [{"nodes": [0]}], "nodes": [{"camera": 0}], "animations": [], '
    '"cameras": [{"perspective": {"yfov": 1.0}}]}'
)
SUFFIXES = ["usda", "usdc", "usdz", "chan", "glb", "gltf", "blender.json", "json"]


def a_move(*, centered: bool = False, zooms: bool = True, count: int = 5) -> CameraPath:
    """Turns once around, so that angles pass 180 degrees."""
    generator = torch.Generator().manual_seed(5)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i, pose in enumerate(poses):
        a, b = 2 * math.pi * i / count + 0.3, 0.4 - 0.6 * i / count
        about_y = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        about_x = torch.tensor([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
        pose[:3, :3] = (about_x @ about_y).double()
        pose[:3, 3] = torch.randn(3, generator=generator).double()
    sizes = torch.tensor([[192, 108]]).repeat(count, 1)
    focal_px = torch.full((count, 2), 150.0) + (torch.arange(count)[:, None] * 3 if zooms else 0)
    off = torch.zeros(2) if centered else torch.tensor([3.0, -2.0])
    cameras = Cameras(poses.float(), focal_px, sizes / 2 + off, sizes)
    return CameraPath(cameras, 24.0, tuple(range(1001, 1001 + count)))


def read(path: Path, size: tuple[int, int] = (192, 108)) -> CameraPath:
    return read_cameras(path, scene_from_capture=FROM_SCENE.inverse(), size_px=size)


def needs(suffix: str) -> None:
    if suffix.startswith("usd"):
        pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, suffix: str):
    needs(suffix)
    move = a_move(centered=suffix == "chan")
    write_cameras(tmp_path / f"a.{suffix}", move, capture_from_scene=FROM_SCENE)
    found = read(tmp_path / f"a.{suffix}")
    assert found.fps == 24 and found.frames == move.frames and found.sensor_width_mm == pytest.approx(36)
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]
    assert torch.allclose(found.cameras.camera_from_world, move.cameras.camera_from_world, atol=2e-6)
    for name in ("focal_px", "principal_px", "size_px"):
        a, b = (getattr(m.cameras, name).double() for m in (found, move))
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-4), name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_with_gaps_keep_their_numbers(tmp_path: Path, suffix: str):
    """As --frames 1001-1100x2 and held-out photos have them; some formats fill the gaps, none moves a frame."""
    needs(suffix)
    move = replace(a_move(centered=suffix == "chan"), frames=(1001, 1002, 1004, 1008, 1009))
    write_cameras(tmp_path / f"a.{suffix}", move, capture_from_scene=FROM_SCENE)
    found = read(tmp_path / f"a.{suffix}")
    rows = [found.frames.index(number) for number in move.frames]
    assert torch.allclose(found.cameras.camera_from_world[rows], move.cameras.camera_from_world, atol=2e-6)
    for name in ("focal_px", "principal_px"):
        a, b = getattr(found.cameras, name)[rows].double(), getattr(move.cameras, name).double()
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-4), name


@pytest.mark.parametrize("kind", ["LINEAR", "STEP", "CUBICSPLINE"])
def test_gltf_joins_keys_as_it_says(tmp_path: Path, kind: str):
    """Two keys a second apart, from 0 to (1, 2, 3) and a quarter turn about y; asked half way, at frame 12."""
    half = math.sqrt(0.5)
    times, places, turns = [0.0, 1.0], [[0, 0, 0], [1, 2, 3]], [[0, 0, 0, 1], [0, half, 0, half]]
    if kind == "CUBICSPLINE":
        # Tangents of nothing but one: p(1/2) = (a + b) / 2 + (out of a - into b) / 8.
        places = [[0] * 3, [0, 0, 0], [0, 8, 0], [0] * 3, [1, 2, 3], [0] * 3]
        turns = [[0] * 4, [0, 0, 0, 1], [0] * 4, [0] * 4, [0, half, 0, half], [0] * 4]
    arrays = [np.array(times, "<f4"), np.array(places, "<f4"), np.array(turns, "<f4")]
    binary = b"".join(array.tobytes() for array in arrays)
    offsets = np.cumsum([0, *(array.nbytes for array in arrays)]).tolist()
    views = [{"buffer": 0, "byteOffset": o, "byteLength": a.nbytes} for o, a in zip(offsets, arrays, strict=False)]
    accessors = [
        {"bufferView": i, "componentType": 5126, "count": len(a), "type": t}
        for i, (a, t) in enumerate(zip(arrays, ("SCALAR", "VEC3", "VEC4"), strict=True))
    ]
    content = {
        **{"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}]},
        "nodes": [{"camera": 0, "extras": {"fps": 24}}],
        "cameras": [{"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1}}],
        "animations": [
            {
                "samplers": [{"input": 0, "output": i, "interpolation": kind} for i in (1, 2)],
                "channels": [
                    {"sampler": i, "target": {"node": 0, "path": p}} for i, p in enumerate(("translation", "rotation"))
                ],
            }
        ],
        **{"accessors": accessors, "bufferViews": views},
        "buffers": [
            {
                "byteLength": len(binary),
                "uri": "data:application/octet-stream;base64," + base64.b64encode(binary).decode(),
            }
        ],
    }
    (tmp_path / "a.gltf").write_text(json.dumps(content))
    same = Similarity.identity()
    found = read_cameras(tmp_path / "a.gltf", scene_from_capture=same, size_px=(100, 100))
    assert found.frames == tuple(range(25))
    place, angle = {
        "LINEAR": ([0.5, 1.0, 1.5], math.pi / 4),
        "STEP": ([0.0, 0.0, 0.0], 0.0),
        "CUBICSPLINE": ([0.5, 2.0, 1.5], math.pi / 4),
    }[kind]
    assert found.cameras.centers_world[12].tolist() == pytest.approx(place, abs=1e-5)
    forward = found.cameras.forward_world[12].tolist()
    assert forward == pytest.approx([-math.sin(angle), 0, -math.cos(angle)], abs=1e-5)
    assert found.cameras.centers_world[24].tolist() == pytest.approx([1, 2, 3], abs=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_frame(tmp_path: Path, suffix: str):
    needs(suffix)
    move = a_move(centered=True, count=1)
    write_cameras(tmp_path / f"a.{suffix}", move, capture_from_scene=FROM_SCENE)
    found = read(tmp_path / f"a.{suffix}")
    assert found.frames == (1001,)
    assert torch.allclose(found.cameras.camera_from_world, move.cameras.camera_from_world, atol=2e-6)


def test_usd_counts_in_tenths_of_its_unit(tmp_path: Path):
    """28.125 mm on a stage in metres is 0.28125: Blender then shows 28.125 mm, and 2812.5 without the rule."""
    pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    from pxr import Usd, UsdGeom

    move = a_move(zooms=False)
    move.cameras.focal_px[:] = 28.125 * 192 / 36
    write_cameras(tmp_path / "a.usda", move, capture_from_scene=FROM_SCENE)
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/World/camera"))
    assert camera.GetFocalLengthAttr().Get() == 0.28125 and not camera.GetFocalLengthAttr().GetTimeSamples()
    assert camera.GetHorizontalApertureAttr().Get() == pytest.approx(0.36)
    gf = camera.GetCamera(Usd.TimeCode(1003))
    window = gf.frustum.GetWindow()
    cx, cy, fx = 99.0, 52.0, 150.0
    assert (window.GetMin()[0], window.GetMax()[1]) == pytest.approx((-cx / fx, cy / fx), abs=1e-6)
    assert stage.GetStartTimeCode() == 1001 and stage.GetEndTimeCode() == 1005


def test_usd_of_other_programs(tmp_path: Path):
    """In centimetres, on a parent with a scale, without render settings: the picture's size is the render's."""
    needs("usda")
    (tmp_path / "a.usda").write_text(
        """#usda 1.0
(
    metersPerUnit = 0.01
    startTimeCode = 10
    endTimeCode = 12
    timeCodesPerSecond = 25
)
def Xform "rig"
{
    double3 xformOp:scale = (2, 2, 2)
    double3 xformOp:translate.timeSamples = { 10: (0, 0, 0), 12: (0, 0, 4) }
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:scale"]
    def Camera "shot"
    {
        float focalLength = 35
        float horizontalAperture = 24
        float verticalAperture = 18
        float horizontalApertureOffset = 2.4
    }
}
"""
    )
    found = read(tmp_path / "a.usda", (200, 100))
    assert found.fps == 25 and found.frames == (10, 11, 12) and found.sensor_width_mm == pytest.approx(24)
    assert found.cameras.focal_px[0].tolist() == pytest.approx([35 / 24 * 200] * 2)
    assert found.cameras.principal_px[0].tolist() == pytest.approx([80, 50])
    centers = FROM_SCENE.apply(found.cameras.centers_world.double())
    assert centers[1].tolist() == pytest.approx([0, 0, 2], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ("", (-20, -9, 16, 9)),
        ('token aspectRatioConformPolicy = "expandAperture"', (-20, -9, 16, 9)),
        ('token aspectRatioConformPolicy = "cropAperture"', (-14, -6, 10, 6)),
        ('token aspectRatioConformPolicy = "adjustApertureWidth"', (-20, -9, 16, 9)),
        ('token aspectRatioConformPolicy = "adjustApertureHeight"', (-14, -6, 10, 6)),
        ('token aspectRatioConformPolicy = "adjustPixelAspectRatio"', (-14, -9, 10, 9)),
        ("float pixelAspectRatio = 0.5", (-14, -12, 10, 12)),
        ('float pixelAspectRatio = 0.5\n token aspectRatioConformPolicy = "cropAperture"', (-11, -9, 7, 9)),
        ("float pixelAspectRatio = 0.66667", (-14, -9, 10, 9)),
    ],
)
def test_usd_apertures_are_brought_to_the_shape_of_the_picture(tmp_path: Path, settings: str, window: tuple):
    """Film of 24 by 18 whose middle is 2 left of the axis, before a picture of 200 by 100 pixels; by hand."""
    needs("usda")
    (tmp_path / "a.usda").write_text(
        f"""#usda 1.0
(
    renderSettingsPrimPath = "/settings"
)
def Camera "shot"
{{
    float focalLength = 30
    float horizontalAperture = 24
    float verticalAperture = 18
    float horizontalApertureOffset = -2
}}
def RenderSettings "settings"
{{
    int2 resolution = (200, 100)
    {settings}
}}
"""
    )
    camera = read(tmp_path / "a.usda").cameras
    (fx, fy), (cx, cy) = camera.focal_px[0].tolist(), camera.principal_px[0].tolist()
    found = [30 * x for x in (-cx / fx, -cy / fy, (200 - cx) / fx, (100 - cy) / fy)]
    assert camera.size_px.tolist() == [[200, 100]] and found == pytest.approx(window, abs=2e-4)


@pytest.mark.parametrize("stretch", [(2.0, 2.0), (2.0, 1.5)])
def test_usd_says_where_pixels_are_not_square(tmp_path: Path, stretch: tuple[float, float]):
    """As anamorphic plates are; where it changes from frame to frame the policy does, as the ratio cannot."""
    pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    from pxr import Usd, UsdRender

    move = a_move(count=2)
    move.cameras.focal_px[:, 1] = move.cameras.focal_px[:, 0] * torch.tensor(stretch)
    write_cameras(tmp_path / "a.usda", move, capture_from_scene=FROM_SCENE)
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))
    settings = UsdRender.Settings.GetStageRenderSettings(stage)
    assert settings.GetPixelAspectRatioAttr().Get() == pytest.approx(2)
    changes = stretch[0] != stretch[1]
    policy = "adjustPixelAspectRatio" if changes else "expandAperture"
    assert settings.GetAspectRatioConformPolicyAttr().Get() == policy
    assert torch.allclose(read(tmp_path / "a.usda").cameras.focal_px, move.cameras.focal_px, rtol=1e-6)


def test_chan_is_nukes(tmp_path: Path):
    """90 degrees to the left about y and a metre up, by hand."""
    pose = torch.eye(4)
    world_from_camera = torch.tensor([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])  # right, down, forward in columns
    pose[:3, :3] = world_from_camera.T
    pose[:3, 3] = -world_from_camera.T @ torch.tensor([0.0, 1, 0])
    sizes = torch.tensor([[200, 100]])
    cameras = Cameras(pose[None], torch.full((1, 2), 50.0), sizes / 2, sizes)
    lost = write_cameras(tmp_path / "a.chan", CameraPath(cameras, 24.0, (7,)), capture_from_scene=Similarity.identity())
    assert [float(word) for word in (tmp_path / "a.chan").read_text().split()] == pytest.approx(
        [7, 0, 1, 0, 0, 90, 0, 90]
    )
    assert len(lost) == 1 and "no frame rate" in lost[0]


def test_angles_do_not_jump(tmp_path: Path):
    """A program that interpolates between 179 and -179 degrees would spin the camera round."""
    write_cameras(tmp_path / "a.chan", a_move(count=40), capture_from_scene=FROM_SCENE)
    angles = np.loadtxt(tmp_path / "a.chan")[:, 4:7]
    assert np.abs(np.diff(angles, axis=0)).max() < 30 and np.ptp(angles[:, 1]) > 300


def test_straight_down_is_no_trap(tmp_path: Path):
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])
    down = Cameras(pose[None], torch.full((1, 2), 90.0), torch.tensor([[96.0, 54.0]]), torch.tensor([[192, 108]]))
    write_cameras(tmp_path / "a.chan", CameraPath(down, 24.0, (1,)), capture_from_scene=FROM_SCENE)
    assert torch.allclose(read(tmp_path / "a.chan").cameras.camera_from_world, down.camera_from_world, atol=1e-5)


def test_what_is_lost_is_said(tmp_path: Path):
    move = a_move()
    said = write_cameras(tmp_path / "a.chan", move, capture_from_scene=FROM_SCENE)
    assert any("no principal point; up to 1.85%" in line for line in said)
    said = write_cameras(tmp_path / "a.glb", move, capture_from_scene=FROM_SCENE)
    assert any("no principal point" in line for line in said) and any("one angle of view" in line for line in said)
    assert write_cameras(tmp_path / "b.glb", a_move(centered=True, zooms=False), capture_from_scene=FROM_SCENE) == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_views_that_differ_in_size_come_back_or_are_told_of(tmp_path: Path, suffix: str):
    """As photos taken across and upright: our JSON has each one's size, others the first's or none."""
    needs(suffix)
    move = a_move(centered=True, zooms=False, count=2)
    move.cameras.size_px[1] = torch.tensor([108, 192])
    move.cameras.principal_px[1] = torch.tensor([54.0, 96])
    said = write_cameras(tmp_path / f"a.{suffix}", move, capture_from_scene=FROM_SCENE)
    lost = [line for line in said if "differ in size" in line]
    if suffix != "json":
        assert lost == [f"a.{suffix}: the views differ in size, which the file cannot say; take .json"]
        return
    found = read(tmp_path / "a.json").cameras
    assert not lost and torch.equal(found.size_px, move.cameras.size_px)
    assert torch.allclose(found.principal_px, move.cameras.principal_px)


def test_gltf_of_other_programs(tmp_path: Path):
    """Without our extras: the angle down the picture counts; keys are joined by lines, arcs and curves."""
    write_cameras(tmp_path / "a.gltf", a_move(count=3), capture_from_scene=FROM_SCENE)
    content = json.loads((tmp_path / "a.gltf").read_text())
    content["nodes"][0]["extras"] = {}
    content["cameras"][0]["perspective"]["yfov"] = math.pi / 2
    (tmp_path / "a.gltf").write_text(json.dumps(content))
    found = read(tmp_path / "a.gltf", (200, 100))
    # Two frames later at 24 a second is two and a half at the 30 of a file that names no rate.
    assert found.frames == (0, 1, 2) and found.fps == 30
    assert found.cameras.focal_px[0].tolist() == pytest.approx([50, 50])
    rotations = found.cameras.camera_from_world[:, :3, :3]
    assert torch.allclose(rotations @ rotations.transpose(1, 2), torch.eye(3).expand(3, 3, 3), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.chan", "", "a line a frame"),
        ("a.chan", "1 0 0 0 0 0 0\n", "line 1: expected frame tx"),
        ("a.chan", "1 0 0 0 0 0 0 45\nx\n", "line 2"),
        ("a.chan", "1 0 0 0 0 0 0 180\n", "angle of view is 180"),
        ("a.chan", "1 nan 0 0 0 0 0 45\n", "line 1"),
        ("a.chan", "2 0 0 0 0 0 0 45\n1 0 0 0 0 0 0 45\n", "ascending"),
        ("a.blender.json", "{}", "no 'neural3d cameras' file"),
        ("a.blender.json", '{"format": "neural3d cameras", "frames": [1], "resolution": [4, 4]}', "no JSON object"),
        ("a.blender.json", '{"format": "neural3d cameras", "frames": [{}], "resolution": [0, 4]}', "resolution"),
        ("a.blender.json", '{"format": "neural3d cameras", "frames": [{"frame": 1}], "resolution": [4, 4]}', "4x4"),
        ("a.gltf", '{"scenes": [{"nodes": []}]}', "0 cameras"),
        ("a.gltf", '{"scenes": [{"nodes": [0]}], "nodes": [{"children": [0]}]}', "nested without end"),
        ("a.gltf", '{"scenes": [{"nodes": [0]}], "nodes": [{"camera": 3}]}', r"no cameras\[3\]"),
        ("a.gltf", '{"scenes": [{"nodes": 5}]}', "0 cameras"),
        ("a.gltf", GLTF_CAMERA.replace("1.0", "1" + 400 * "0"), "yfov is larger"),
        ("a.gltf", GLTF_CAMERA.replace("[]", '[{"channels": 3}]').replace("1.0", "9.0"), "yfov is 9"),
        ("a.gltf", GLTF_CAMERA.replace("[]", '[{"channels": [{"target": []}]}]').replace("1.0", "9.0"), "yfov is 9"),
        ("a.gltf", GLTF_CAMERA.replace("[]", '[{"samplers": [{}], "channels": [{"sampler": 0, "target": {"node": 0, '
         '"path": "scale"}}]}]'), "no accessors"),
        ("a.json", '{"camera_path": [{}], "frame_numbers": [2, 1]}', ""),
        ("a.usda", "#usda 1.0\n", "0 cameras"),
        ("a.usda", "#usda 1.0\ndef Camera \"a\" {}\ndef Camera \"b\" {}\n", "2 cameras on the stage \\(/a, /b\\)"),
        ("a.usda", "#usda 1.0\ndef Camera \"a\" {\n token projection = \"orthographic\"\n}\n", "orthographic"),
        ("a.usda", "#usda 1.0\ndef Camera \"a\" {\n float focalLength = 0\n}\n", "frame 1.*no positive number"),
        ("a.usda", "#usda 1.0\n(\n startTimeCode = 1\n endTimeCode = 1e9\n)\ndef Camera \"a\" {}\n", "its frames go"),
        ("a.usda", '#usda 1.0\n(\n renderSettingsPrimPath = "/s"\n)\ndef Camera "a" {}\ndef RenderSettings "s" {\n '
         'int2 resolution = (4, 4)\n float pixelAspectRatio = 0\n}\n', "/s has pixelAspectRatio 0 "),
        ("a.usda", "nonsense", r"USD cannot read it \([^']*is not a valid usda layer\); write"),
        ("a.usda", "#usda 1.0\ndef X \"x\" {", r"USD cannot read it \([^']*a.usda:2:12: Expected }"),
        ("a.usda", "#usda 1.0\ndef Camera \"a\" {\n string focalLength = \"x\"\n}\n", "attribute is no camera's"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path: Path, name: str, text: str, message: str):
    needs(name.partition(".")[2])
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("world_from_camera", [10**400, *15 * [0]], "frame 1001: world_from_camera is no 4x4 matrix"),
        ("lens_mm", 1e-300, "camera 0: a place or a focal length"),
        ("pixel_aspect", [0, 1], "pixel_aspect"),
        ("shift", [1e308, 0], "shift"),
    ],
)
def test_numbers_beyond_all_cameras_are_named(tmp_path: Path, key: str, value: list, message: str):
    """Found by fuzzing: numbers that Python holds and torch does not, and divisions by nothing."""
    path = tmp_path / "a.blender.json"
    write_cameras(path, a_move(), capture_from_scene=FROM_SCENE)
    content = json.loads(path.read_text())
    content["frames"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"a.blender.json: .*{message}"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"film":[[', f'"film":[[{400 * "9"}'), "no positive number"),
        (lambda text: text.replace("base64,", "base64,é"), "a buffer's data is damaged"),
        (lambda text: re.sub(r'"fps":[\d.]+', '"fps":0', text), "fps is 0"),
        (lambda text: re.sub(r'"fps":', '"fps":-', text), "fps is -"),
    ],
)
def test_gltf_that_is_damaged_is_named(tmp_path: Path, change, message: str):
    """Found by fuzzing."""
    path = tmp_path / "a.gltf"
    write_cameras(path, a_move(), capture_from_scene=FROM_SCENE)
    text = json.dumps(json.loads(path.read_text()), separators=(",", ":"))
    path.write_text(change(text))
    assert path.read_text() != text
    with pytest.raises(InputError, match=f"a.gltf: .*{message}"):
        read(path)


def test_other_suffixes_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="expected a file that ends in .usd"):
        write_cameras(tmp_path / "a.abc", a_move(), capture_from_scene=FROM_SCENE)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "gone.chan")
