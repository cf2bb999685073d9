"""What is written lies where the capture says, to a millionth of its size: splats at points, cameras at poses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.capture import load_capture
from neural3d.export.camera_formats import read_cameras, write_cameras
from neural3d.export.formats import read_splats, write_splats
from neural3d.render.camera_files import CameraPath
from neural3d.scene import Scene, Similarity
from neural3d.splats.gaussians import Gaussians

from .test_formats import needs

TEATIME = Path(__file__).parents[2] / "scenes" / "teatime"
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
MILLIONTH = 1e-6
EXACTLY = "donot_use_mm_for_euclid_dist"


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The bundled capture, which is moved and scaled while it is loaded."""
    loaded = load_capture(TEATIME, downscale=8)
    same = Similarity.identity()
    assert not torch.allclose(loaded.capture_from_scene.translation, same.translation, atol=1e-3)
    return loaded


def points_of_the_capture() -> np.ndarray:
    """As its file has them, N 3."""
    head, _, body = (TEATIME / "points.ply").read_bytes().partition(b"end_header\n")
    assert b"element vertex 7000" in head
    row = np.dtype([("place", "<f4", 3), ("color", "u1", 3)])
    return np.frombuffer(body, row, count=7000)["place"].astype(np.float64)


def poses_of_the_capture() -> dict[str, np.ndarray]:
    """As its file has them: world from camera, OpenCV's axes, by the photo's name."""
    frames = json.loads((TEATIME / "transforms.json").read_text())["frames"]
    return {Path(f["file_path"]).name: np.array(f["transform_matrix"]) @ OPENCV_FROM_OPENGL for f in frames}


@pytest.mark.parametrize("name", ["a.ply", "a.splat", "a.glb", "a.usdc"])
def test_splats_at_the_points_of_a_capture_are_written_where_its_file_has_them(
    tmp_path: Path, scene: Scene, name: str
) -> None:
    places = scene.points.means_world.float()
    count = len(places)
    gaussians = Gaussians(
        means_world=places,
        log_scales=torch.full((count, 3), -4.0),
        quats_wxyz=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        logit_opacities=torch.linspace(4.0, 0.0, count),  # formats that sort, sort by it
        sh=torch.zeros(count, 1, 3),
    )
    write_splats(tmp_path / needs(name), gaussians, capture_from_scene=scene.capture_from_scene)
    found = read_splats(tmp_path / name).means_world.double()
    truth = torch.from_numpy(points_of_the_capture())
    size = float((truth - truth.mean(dim=0)).norm(dim=1).max())
    nearest, back = (torch.cdist(a, b, compute_mode=EXACTLY).argmin(dim=1) for a, b in ((found, truth), (truth, found)))
    assert len(found) == len(truth) and len(nearest.unique()) > 0.99 * count
    assert float((found - truth[nearest]).abs().max()) < MILLIONTH * size
    assert float((truth - found[back]).abs().max()) < MILLIONTH * size


@pytest.mark.parametrize("name", ["a.usda", "a.chan", "a.glb", "a.blender.json", "a.json"])
def test_cameras_are_written_where_the_capture_has_them(tmp_path: Path, scene: Scene, name: str) -> None:
    move = CameraPath(scene.cameras, 24.0, tuple(range(1, 1 + len(scene.cameras))))
    write_cameras(tmp_path / needs(name), move, capture_from_scene=scene.capture_from_scene)
    size = tuple(scene.cameras.size_px[0].tolist())
    found = read_cameras(tmp_path / name, scene_from_capture=Similarity.identity(), size_px=size).cameras
    poses = poses_of_the_capture()
    truth = np.stack([poses[photo.name.rsplit("/", 1)[-1]] for photo in scene.photos])
    extent = np.linalg.norm(truth[:, :3, 3] - truth[:, :3, 3].mean(axis=0), axis=1).max()
    apart = found.world_from_camera.double().numpy() - truth
    assert np.abs(apart[:, :3, 3]).max() < MILLIONTH * extent, name
    assert np.abs(apart[:, :3, :3]).max() < MILLIONTH, name
