"""Every reader of poses on damaged files that hypothesis makes up: finite poses, or one line; no other end.

`make test-long` tries fifty times as many.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES, damaged
from hypothesis import HealthCheck, given, settings

from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.place import place_capture
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.state import PreparedPhoto, State, load_state, save_state
from neural3d.errors import InputError

from .test_formats import CASES, FILES, write_case
from .writers import colmap_capture, ring, transforms_capture

FEW, MANY = 25, 1250
COLMAP = ("cameras.bin", "images.bin", "points3D.bin", "cameras.txt", "images.txt", "points3D.txt")


def fuzzed(path: Path, read: Callable[[], object], count: int) -> dict[str, int]:
    """Damage a file in many ways, and count how reading it ended."""
    content, outcomes = path.read_bytes(), {"read": 0, "refused": 0}

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(DAMAGES)
    def attempt(damages: list[tuple]) -> None:
        path.write_bytes(damaged(content, damages))
        try:
            read()
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1

    attempt()
    path.write_bytes(content)
    return outcomes


def read_listing(capture: Path) -> None:
    listing = list_capture(capture)
    assert listing.frames
    for frame in listing.frames:
        pose = frame.camera_from_world
        assert np.isfinite(pose).all() and np.isfinite(frame.lens.focal_px).all() and min(frame.lens.focal_px) > 0
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
        assert frame.image_path.resolve().is_relative_to(capture.resolve())


def write_file(root: Path, kind: str) -> Path:
    """A good capture of a kind; the file that is damaged."""
    if kind in COLMAP:
        colmap_capture(root, ring(4), suffix=kind[-4:])
        return root / "sparse/0" / kind
    if kind == "transforms.json":
        transforms_capture(root, ring(4), k1=0.1, train_filenames=["images/v000.png"])
        return root / kind
    write_case(root, kind)
    return root / FILES[kind]


@pytest.mark.parametrize("kind", [*COLMAP, "transforms.json", *CASES])
def test_readers_of_poses(tmp_path, kind):
    path = write_file(tmp_path, kind)
    outcomes = fuzzed(path, lambda: read_listing(tmp_path), FEW)
    assert outcomes["refused"] > 0
    read_listing(tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("kind", [*COLMAP, "transforms.json", *CASES])
def test_readers_of_poses_for_long(tmp_path, kind):
    path = write_file(tmp_path, kind)
    assert fuzzed(path, lambda: read_listing(tmp_path), MANY)["refused"] > 0


def test_the_state_of_an_ingest(tmp_path):
    photos = tuple(PreparedPhoto(f"{i}.jpg", f"/p/{i}.jpg", "1:2", 40, 30, "lens", 35.0) for i in range(3))
    save_state(tmp_path, State(Settings(), False, photos, mapped={"report": {}}))
    assert json.loads((tmp_path / "ingest.json").read_text())["photos"]
    assert fuzzed(tmp_path / "ingest.json", lambda: load_state(tmp_path), 4 * FEW)["refused"] > 0


def _placed_capture(root: Path) -> Path:
    """A capture whose cameras were measured; the file that says where."""
    transforms_capture(root, ring(4))
    centers = ((frame.name, camera_center(frame.camera_from_world)) for frame in list_capture(root).frames)
    path = root / "stations.csv"
    path.write_text("name,x,y,z\n" + "\n".join(f"{name},{x},{y},{z}" for name, (x, y, z) in centers))
    place_capture(root, path)
    return path


def test_measured_places(tmp_path):
    """Whatever the file says, the way to metres is a similarity or there is none."""
    path = _placed_capture(tmp_path)

    def read() -> None:
        way = place_capture(tmp_path, path, overwrite=True).world.metres_from_capture
        assert 0 < way.scale < np.inf and way.translation.isfinite().all()
        np.testing.assert_allclose(way.rotation @ way.rotation.T, np.eye(3), atol=1e-6)
        list_capture(tmp_path)

    outcomes = fuzzed(path, read, 2 * FEW)
    assert outcomes["refused"] > 0 and outcomes["read"] > 0


def test_the_way_to_metres(tmp_path):
    _placed_capture(tmp_path)
    outcomes = fuzzed(tmp_path / "world.json", lambda: read_listing(tmp_path), 2 * FEW)
    assert outcomes["refused"] > 0 and outcomes["read"] > 0
