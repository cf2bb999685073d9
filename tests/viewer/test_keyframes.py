"""Camera paths: through every key frame, smoothly, round and round, and into files and back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.render.camera_files import load_camera_path, load_keyframes, save_camera_path
from neural3d.scene import Similarity
from neural3d.viewer.keyframes import (
    Keyframe,
    cameras_of_keyframes,
    keyframes_of_cameras,
    path_through,
    thinned,
)


def turned(angle_rad: float, place: tuple[float, float, float], fov_rad: float = 0.8, sign: float = 1.0) -> Keyframe:
    """About y; a rotation is two quaternions, and files may hold either."""
    return Keyframe((sign * math.cos(angle_rad / 2), 0.0, sign * math.sin(angle_rad / 2), 0.0), place, fov_rad)


KEYS = (
    turned(0.0, (0.0, 0.0, 0.0), 0.6),
    turned(0.5, (1.0, 0.0, 0.0), 0.8, sign=-1.0),
    turned(1.2, (2.0, 1.0, 0.0), 1.0),
    turned(1.3, (3.0, 1.0, 2.0), 0.9),
)


def angle(key: Keyframe) -> float:
    return 2 * math.atan2(key.wxyz[2], key.wxyz[0]) % (2 * math.pi)


def test_a_path_passes_through_every_key_frame():
    path = path_through(KEYS, 31)
    for i, key in enumerate(KEYS):
        found = path[10 * i]
        assert found.position == pytest.approx(key.position, abs=1e-9)
        assert found.fov_rad == pytest.approx(key.fov_rad) and angle(found) == pytest.approx(angle(key))
        assert np.linalg.norm(found.wxyz) == pytest.approx(1.0)


def test_a_path_is_smooth_and_turns_the_short_way():
    path = path_through(KEYS, 301)
    places = np.array([key.position for key in path])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert (np.abs(np.diff(steps)) < 0.2 * steps.max()).all()
    angles = np.unwrap([angle(key) for key in path])
    assert angles.max() - angles.min() < 1.5, "the second key's quaternion has the other sign"


def test_a_loop_comes_back_without_a_jump():
    path = path_through(KEYS, 40, is_loop=True)
    again = (*path, path[0])
    steps = np.linalg.norm(np.diff(np.array([key.position for key in again]), axis=0), axis=1)
    assert path[0].position == pytest.approx(KEYS[0].position) and path[10].position == pytest.approx(KEYS[1].position)
    assert steps[-1] < 1.5 * np.median(steps) + 0.2


def test_two_keys_make_a_straight_even_move():
    path = path_through(KEYS[:2], 11)
    assert [key.position[0] for key in path] == pytest.approx(np.linspace(0, 1, 11).tolist())


def test_one_key_stands_still_and_none_is_refused():
    assert path_through(KEYS[:1], 5) == KEYS[:1] * 5
    with pytest.raises(ValueError, match="key frame"):
        path_through((), 5)


def test_cameras_are_those_of_the_keys():
    again = keyframes_of_cameras(cameras_of_keyframes(KEYS, (1280, 720)))
    for key, found in zip(KEYS, again, strict=True):
        assert found.position == pytest.approx(key.position, abs=1e-5)
        assert found.fov_rad == pytest.approx(key.fov_rad, rel=1e-5)
        assert abs(np.dot(found.wxyz, key.wxyz)) == pytest.approx(1.0, abs=1e-6)
    assert [key.position[0] for key in thinned(KEYS, 2)] == [0.0, 3.0] and thinned(KEYS, 9) == KEYS


WAY = Similarity(
    2.0, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).double(), torch.ones(3).double()
)


def test_key_frames_survive_a_file(tmp_path: Path):
    path, move = tmp_path / "path.json", path_through(KEYS, 12)
    keyframes = cameras_of_keyframes(KEYS, (64, 48))
    cameras = cameras_of_keyframes(move, (64, 48))
    save_camera_path(path, cameras, capture_from_scene=WAY, keyframes=keyframes)
    where = {"scene_from_capture": WAY.inverse(), "size_px": (64, 48)}
    found = load_keyframes(path, **where)
    assert found is not None and torch.allclose(found.camera_from_world, keyframes.camera_from_world, atol=1e-5)
    assert torch.allclose(found.focal_px, keyframes.focal_px, rtol=1e-5)
    assert len(load_camera_path(path, **where).cameras) == 12
    centers = torch.tensor([entry["matrix"] for entry in json.loads(path.read_text())["keyframes"]]).reshape(-1, 4, 4)
    expected = WAY.apply(torch.tensor([key.position for key in KEYS]))
    assert torch.allclose(centers[:, :3, 3], expected, atol=1e-5), "files lie in the capture's frame"


@pytest.mark.parametrize("keys", ["none", [1], [{"matrix": [1, 2]}], [{"matrix": [0.0] * 16, "fov": 50}], [{"fov": 1}]])
def test_broken_key_frames_are_named(tmp_path: Path, keys: object):
    path = tmp_path / "path.json"
    path.write_text(json.dumps({"keyframes": keys, "camera_path": []}))
    with pytest.raises(InputError, match="path.json.*keyframes"):
        load_keyframes(path, scene_from_capture=Similarity.identity(), size_px=(64, 48))
