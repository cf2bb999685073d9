"""Camera files: nerfstudio's camera_path.json and transforms.json, in the capture's frame, with OpenGL axes."""

import json
import math
from pathlib import Path

import pytest
import torch

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.camera_files import load_camera_path, save_camera_path
from neural3d.scene import Similarity

IDENTITY = Similarity.identity()
CAPTURE_FROM_SCENE = Similarity(3.0, torch.eye(3, dtype=torch.float64), torch.tensor([1.0, -2, 0.5]).double())


def some_cameras(count: int = 4) -> Cameras:
    poses = torch.eye(4).repeat(count, 1, 1)
    for pose in poses:
        rotation, _ = torch.linalg.qr(torch.randn(3, 3))
        pose[:3, :3] = rotation * torch.linalg.det(rotation).sign()
        pose[:3, 3] = torch.randn(3)
    size = torch.tensor([[64, 48]]).repeat(count, 1)
    return Cameras(poses, torch.rand(count, 2) * 50 + 40, torch.rand(count, 2) * 10 + 20, size)


def load(path: Path, **changes):
    return load_camera_path(path, **{"scene_from_capture": IDENTITY, "size_px": (32, 24)} | changes)


def test_round_trip(tmp_path: Path):
    cameras = some_cameras()
    save_camera_path(tmp_path / "p.json", cameras, capture_from_scene=CAPTURE_FROM_SCENE, fps=24.0)
    found = load(tmp_path / "p.json", scene_from_capture=CAPTURE_FROM_SCENE.inverse())
    assert found.fps == 24
    for name in Cameras.__dataclass_fields__:
        assert torch.allclose(getattr(found.cameras, name).double(), getattr(cameras, name).double(), atol=1e-5), name


def test_the_file_is_nerfstudios(tmp_path: Path):
    """A camera at (0, 0, 2) of the capture that looks along -z with y up is the identity rotation in OpenGL axes."""
    pose = torch.diag(torch.tensor([1.0, -1, -1, 1]))
    pose[2, 3] = 2
    size = torch.tensor([[64, 48]])
    save_camera_path(
        tmp_path / "p.json",
        Cameras(pose[None], torch.tensor([[24.0, 24]]), size / 2, size),
        capture_from_scene=IDENTITY,
    )
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["camera_path"][0]["camera_to_world"] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1]
    assert content["camera_path"][0]["fov"] == pytest.approx(90)
    assert (content["render_width"], content["render_height"]) == (64, 48)


def test_a_path_without_our_keys(tmp_path: Path):
    entry = {"camera_to_world": torch.eye(4).flatten().tolist(), "fov": 90, "aspect": 1}
    content = {"render_width": 100, "render_height": 50, "fps": 12, "camera_path": [entry]}
    (tmp_path / "p.json").write_text(json.dumps(content))
    camera = load(tmp_path / "p.json").cameras
    assert camera.focal_px.tolist() == [[25.0, 25.0]] and camera.principal_px.tolist() == [[50.0, 25.0]]
    assert torch.equal(camera.camera_from_world[0], torch.diag(torch.tensor([1.0, -1, -1, 1])))


def test_transforms_json(tmp_path: Path):
    frames = [
        {"file_path": "a.png", "transform_matrix": torch.eye(4).tolist()},
        {"transform_matrix": torch.eye(4).tolist(), "w": 10},
    ]
    (tmp_path / "t.json").write_text(json.dumps({"camera_angle_x": math.pi / 2, "frames": frames}))
    found = load(tmp_path / "t.json").cameras
    assert found.size_px.tolist() == [[32, 24], [10, 24]]
    assert found.focal_px[:, 0].tolist() == pytest.approx([16, 5])


EYE = torch.eye(4).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "broken JSON"),
        ({}, "'camera_path' or 'frames'"),
        ({"frames": []}, "expected 1 to"),
        ({"frames": [3]}, r"frames\[0\].*no JSON object"),
        ({"frames": [{"transform_matrix": EYE}]}, r"frames\[0\].*focal length"),
        ({"fov": 180, "frames": [{"transform_matrix": EYE}]}, "angle of view"),
        ({"fov": 90, "frames": [{"transform_matrix": EYE}, {"transform_matrix": [[1]]}]}, r"frames\[1\]"),
        ({"fov": 90, "frames": [{"transform_matrix": (2 * torch.eye(4)).tolist()}]}, r"frames\[0\]"),
        (
            {"camera_path": [{"fov": 90, "camera_to_world": [1, 2]}]},
            r"camera_path\[0\]: camera_to_world is no 4x4 matrix",
        ),
        ({"fov": 90, "w": 10**9, "frames": [{"transform_matrix": EYE}]}, "width"),
        ({"fov": 90, "w": 0, "frames": [{"transform_matrix": EYE}]}, "width"),
        ({"fov": 90, "h": 2.5, "frames": [{"transform_matrix": EYE}]}, "height"),
        ({"fl_x": -3, "frames": [{"transform_matrix": EYE}]}, "not positive"),
        ({"fov": 90, "fps": 0, "frames": [{"transform_matrix": EYE}]}, "fps"),
        ({"camera_type": "equirectangular", "fov": 90, "frames": [{"transform_matrix": EYE}]}, "camera_type"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content, message: str):
    (tmp_path / "p.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=f"p.json.*{message}"):
        load(tmp_path / "p.json")
