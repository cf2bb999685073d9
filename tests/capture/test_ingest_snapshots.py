"""Models that COLMAP leaves while it looks for poses: the newest that is whole."""

from pathlib import Path

import numpy as np
import torch

from neural3d.capture.alignment import camera_difference
from neural3d.capture.ingest.snapshots import latest_snapshot
from neural3d.capture.ingest.state import WORK_FOLDER

from .writers import ring, write_colmap


def left(capture: Path, name: str, count: int) -> Path:
    folder = capture / WORK_FOLDER / "snapshots" / name
    write_colmap(folder, ring(8)[:count])
    return folder


def test_the_newest_that_is_whole_is_taken(tmp_path):
    assert latest_snapshot(tmp_path) is None
    left(tmp_path, "0000000010", 3)
    found = latest_snapshot(tmp_path)
    assert (found.name, len(found.cameras), len(found.points.means_world)) == ("0000000010", 3, 18)
    newest = left(tmp_path, "0000000020", 6)
    whole = (newest / "images.bin").read_bytes()
    (newest / "images.bin").write_bytes(whole[:-5])  # COLMAP is still writing it
    assert latest_snapshot(tmp_path).name == "0000000010"
    assert latest_snapshot(tmp_path, "0000000010") is None
    (newest / "images.bin").write_bytes(whole)
    found = latest_snapshot(tmp_path, "0000000010")
    assert (found.name, len(found.cameras)) == ("0000000020", 6)
    assert latest_snapshot(tmp_path, found.name) is None


def test_cameras_are_where_the_model_says(tmp_path):
    left(tmp_path, "0000000010", 8)
    found, views = latest_snapshot(tmp_path), ring(8)
    truth = np.stack([view.camera_from_world for view in views])
    apart = camera_difference(found.cameras.camera_from_world.double().numpy(), truth)
    assert apart.centers.max() < 1e-5 and apart.angles_deg.max() < 0.05
    assert found.cameras.centers_world.norm(dim=1).max() < 2
    assert torch.nn.functional.cosine_similarity(found.up_world, torch.tensor([0.0, 0, 1]), dim=0) > 0.9
