"""Blender opens our cameras and pictures: same lens, same places of points, layers by name; and cameras come back."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.export.camera_formats import read_cameras, write_cameras
from neural3d.render.camera_files import CameraPath
from neural3d.render.paths import look_at
from neural3d.scene import Similarity

from .blender import REPOSITORY, probe, run_blender

SCRIPT = REPOSITORY / "docs" / "vfx" / "blender_cameras.py"
SAME = Similarity.identity()
POINTS = [[0.0, 0, 0], [0.4, -0.2, 0.3], [-0.3, 0.5, -0.4], [0.1, 0.6, 0.2]]


def a_move(size: tuple[int, int], *, fps: float = 24.0) -> CameraPath:
    """A zoom around the origin with its optical axis off the middle; 28.125 mm at its first frame."""
    angles = torch.linspace(0.2, 1.1, 4, dtype=torch.float64)
    centers = torch.stack([3 * angles.cos(), 3 * angles.sin(), 1 + 0.1 * angles], dim=-1)
    poses = look_at(centers, torch.zeros(4, 3).double(), torch.tensor([0.0, 0, 1])).float()
    focal_px = torch.tensor([28.125, 29.0, 30.5, 33.0])[:, None].expand(4, 2) * size[0] / 36
    sizes = torch.tensor([size]).repeat(4, 1)
    principal_px = sizes / 2 + torch.tensor([0.04, -0.03]) * size[0]
    return CameraPath(Cameras(poses, focal_px, principal_px, sizes), fps, (1001, 1002, 1003, 1004))


def places(move: CameraPath) -> np.ndarray:
    """Where the cameras see the points, as Blender counts: shares of the picture from the bottom left."""
    cameras, points = move.cameras, torch.tensor(POINTS)
    seen = points @ cameras.camera_from_world[:, :3, :3].transpose(1, 2) + cameras.camera_from_world[:, None, :3, 3]
    pixels = seen[..., :2] / seen[..., 2:] * cameras.focal_px[:, None] + cameras.principal_px[:, None]
    shares = pixels / cameras.size_px[:, None]
    return torch.stack([shares[..., 0], 1 - shares[..., 1]], dim=-1).numpy()


def require_same(found: dict, move: CameraPath) -> None:
    assert [entry["frame"] for entry in found["frames"]] == list(move.frames)
    assert found["fps"] == pytest.approx(move.fps, rel=1e-6)
    assert [entry["lens"] for entry in found["frames"]] == pytest.approx([28.125, 29, 30.5, 33], abs=1e-4)
    assert found["frames"][0]["lens"] == 28.125 and {entry["sensor"] for entry in found["frames"]} == {36.0}
    there = np.array([entry["places"] for entry in found["frames"]])[..., :2]
    assert np.abs(there - places(move)).max() < 2e-5


@pytest.mark.parametrize("suffix", ["usda", "usdc"])
def test_blender_sees_through_a_usd_camera_what_we_see(tmp_path: Path, suffix: str):
    pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    move, path = a_move((640, 360)), tmp_path / f"move.{suffix}"
    write_cameras(path, move, capture_from_scene=SAME, up_axis="Z")
    require_same(probe("usd", path, POINTS, [640, 360]), move)


@pytest.mark.parametrize("size", [(640, 360), (360, 640)])
def test_the_script_brings_cameras_into_blender_and_back(tmp_path: Path, size: tuple[int, int]):
    move = a_move(size, fps=23.976)
    write_cameras(tmp_path / "a.blender.json", move, capture_from_scene=SAME)
    run_blender(SCRIPT, "import", tmp_path / "a.blender.json", "--save", tmp_path / "a.blend")
    require_same(probe("blend", tmp_path / "a.blend", POINTS), move)
    back = tmp_path / "b.blender.json"
    run_blender(SCRIPT, "export", back, "--open", tmp_path / "a.blend", "--alembic", tmp_path / "b.abc")
    found = read_cameras(back, scene_from_capture=SAME, size_px=(1, 1))
    assert found.frames == move.frames and found.fps == pytest.approx(move.fps, rel=1e-6)
    assert np.abs(places(found) - places(move)).max() < 2e-5
    assert (tmp_path / "b.abc").read_bytes()[:5] == b"Ogawa"


def test_a_lens_that_blender_fits_to_the_height_comes_back_right(tmp_path: Path):
    """Portrait with the fit left to Blender: millimetres and shifts then count in the height."""
    move = a_move((360, 640))
    write_cameras(tmp_path / "a.blender.json", move, capture_from_scene=SAME)
    turn = tmp_path / "auto.py"
    turn.write_text(
        "import bpy, sys\n"
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[1])\n"
        "camera = bpy.context.scene.camera.data\n"
        "camera.sensor_fit = 'AUTO'\n"
        "bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])\n"
    )
    run_blender(SCRIPT, "import", tmp_path / "a.blender.json", "--save", tmp_path / "a.blend")
    run_blender(turn, tmp_path / "a.blend")
    seen = np.array([f["places"] for f in probe("blend", tmp_path / "a.blend", POINTS)["frames"]])[..., :2]
    run_blender(SCRIPT, "export", tmp_path / "b.blender.json", "--open", tmp_path / "a.blend")
    found = read_cameras(tmp_path / "b.blender.json", scene_from_capture=SAME, size_px=(1, 1))
    assert np.abs(places(found) - seen).max() < 2e-5
    assert np.abs(seen - places(move)).max() > 0.01, "the fit makes a difference"


def test_blender_reads_the_layers_of_an_exr(tmp_path: Path):
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    from neural3d.render.exr import LAYERS, ExrFrame, ExrSettings, write_exr
    from neural3d.splats.gaussians import Gaussians

    one = Gaussians(torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 4), torch.ones(1), torch.zeros(1, 1, 3))
    frame = ExrFrame(a_move((64, 36)).cameras[0])
    write_exr(tmp_path / "a.exr", one, frame, capture_from_scene=SAME, settings=ExrSettings(LAYERS))
    assert {"depth", "normal", "position", "forward"} <= set(probe("exr", tmp_path / "a.exr"))
    assert "rgba" in json.dumps(probe("exr", tmp_path / "a.exr"))


def test_blender_picks_an_object_by_its_name(tmp_path: Path):
    """Two disks, the nearer one smaller: what its Cryptomatte node finds is what the nearer one covers, and no more."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    pytest.importorskip("mmh3", reason="needs mmh3: pip install OpenEXR mmh3 tifffile")
    from neural3d.render.exr import ExrFrame, ExrSettings, write_exr
    from neural3d.render.layers import layer_tiles
    from neural3d.render.objects import Objects
    from neural3d.splats.gaussians import Gaussians

    scales = torch.tensor([[0.3, 1e-3, 0.3], [0.8, 1e-3, 0.8]]).log()
    places, turns = torch.tensor([[0.0, 0, 0], [0, 0.5, 0]]), torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1)
    disks = Gaussians(places, scales, turns, torch.full((2,), 3.0), torch.zeros(2, 1, 3))
    pose, sizes = look_at(torch.tensor([[0.0, -4, 0]]), torch.zeros(1, 3), torch.tensor([0.0, 0, 1])), [[64, 48]]
    camera = Cameras(pose, torch.full((1, 2), 60.0), torch.tensor(sizes) / 2, torch.tensor(sizes))
    objects, settings = Objects(("cup", "table"), torch.tensor([0, 1])), ExrSettings(layers=("rgba", "object"))
    write_exr(tmp_path / "a.exr", disks, ExrFrame(camera), capture_from_scene=SAME, settings=settings, objects=objects)
    (tile,) = layer_tiles(disks, camera, objects=objects)
    found = np.array(probe("matte", tmp_path / "a.exr", "cup", [64, 48])).reshape(48, 64)[::-1]
    assert np.abs(found - tile.coverages[..., 0].numpy()).max() < 1e-5 and found.max() > 0.9


def test_blender_puts_its_own_objects_before_and_behind_ours(tmp_path: Path):
    """A wall of one Gaussian through the origin: a cube hides it where it is nearer to the camera, and only there."""
    pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install OpenEXR mmh3 tifffile")
    from neural3d.render.exr import ExrFrame, write_exr
    from neural3d.splats.gaussians import Gaussians

    pose = look_at(torch.tensor([[0.0, -4, 0]]), torch.zeros(1, 3), torch.tensor([0.0, 0, 1]))
    sizes = torch.tensor([[64, 48]])
    camera = Cameras(pose, torch.full((1, 2), 60.0), sizes / 2, sizes)
    wall = Gaussians(
        torch.zeros(1, 3),
        torch.tensor([[3.0, 1e-3, 3.0]]).log(),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor([20.0]),
        torch.tensor([[[1.7, -1.7, -1.7]]]),
    )
    write_cameras(tmp_path / "m.blender.json", CameraPath(camera, 24.0, (7,)), capture_from_scene=SAME)
    write_exr(tmp_path / "w.0007.exr", wall, ExrFrame(camera, number=7), capture_from_scene=SAME)
    clear = tmp_path / "clear.py"
    clear.write_text(
        "import bpy, sys\n"
        "bpy.ops.wm.open_mainfile(filepath=sys.argv[1])\n"
        "[bpy.data.objects.remove(o) for o in list(bpy.data.objects) if o.type == 'MESH']\n"
        "bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])\n"
    )
    run_blender(SCRIPT, "import", tmp_path / "m.blender.json", "--save", tmp_path / "s.blend")
    run_blender(clear, tmp_path / "s.blend")
    composite = SCRIPT.with_name("blender_composite.py")
    common = ["--open", tmp_path / "s.blend", "--frames", "7", "7", "--samples", "1"]
    reds = []
    for y in ("-1", "1"):  # before the wall, behind it
        out = tmp_path / f"out{y}"
        run_blender(composite, tmp_path / "w.%04d.exr", "--cube", "0", y, "0", "0.6", "--output", out, *common)
        with Image.open(out / "0007.png") as picture:
            reds.append([int(c) for c in np.asarray(picture.convert("RGB"))[24, 32]])
    (front_red, front_green, _), (behind_red, behind_green, _) = reds
    assert behind_red > 200 and behind_green < 40, "the wall hides the cube"
    assert abs(front_red - front_green) < 30, "the grey cube hides the wall"


def test_splats_and_cameras_make_one_stage(tmp_path: Path):
    pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    from pxr import Usd

    from neural3d.export.usd import read_usd, write_usd
    from neural3d.splats.gaussians import Gaussians

    some = Gaussians(torch.rand(5, 3), torch.zeros(5, 3), torch.ones(5, 4), torch.ones(5), torch.zeros(5, 1, 3))
    write_usd(tmp_path / "scene.usdc", some, capture_from_scene=SAME)
    write_cameras(tmp_path / "move.usda", a_move((640, 360)), capture_from_scene=SAME)
    command = [sys.executable, str(SCRIPT.with_name("shot_usd.py")), "shot.usda", "scene.usdc", "move.usda"]
    subprocess.run(command, cwd=tmp_path, check=True)
    stage = Usd.Stage.Open(str(tmp_path / "shot.usda"))
    assert stage.GetPrimAtPath("/World/camera") and stage.GetPrimAtPath("/World/splats")
    assert len(read_usd(tmp_path / "shot.usda")) == 5
    found = read_cameras(tmp_path / "shot.usda", scene_from_capture=SAME, size_px=(1, 1))
    assert found.frames == (1001, 1002, 1003, 1004) and found.fps == 24
    assert np.abs(places(found) - places(a_move((640, 360)))).max() < 1e-5
