"""The vocabulary tree: of photos that share features each finds those, and no others. In a process of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np, pycolmap
pycolmap.logging.minloglevel = 3
pycolmap.set_random_seed(0)
from neural3d.capture.ingest.colmap_worker import _pairs

folder, photos, features = Path(sys.argv[1]), 40, 120
random = np.random.default_rng(0)
# Two rounds of twenty photos; a photo shares five sixths of its features with the next, none with the other round.
worlds = random.integers(0, 256, (2, 20 * 20, 128))
with pycolmap.Database.open(folder / "d.db") as database:
    camera = pycolmap.Camera.create_from_model_name(pycolmap.INVALID_CAMERA_ID, "SIMPLE_RADIAL", 500, 640, 480)
    camera.camera_id = database.write_camera(camera)
    image_ids = {}
    for number in range(photos):
        image = pycolmap.Image(name=f"{number:02d}.png")
        image.camera_id = camera.camera_id
        image_ids[image.name] = image_id = database.write_image(image)
        seen = (np.arange(features) + 20 * (number % 20)) % worlds.shape[1]
        descriptors = (worlds[number // 20][seen] + random.integers(-6, 7, (features, 128))).clip(0, 255)
        places = random.uniform(0, 480, (features, 2))
        shapes = np.tile([4.0, 0.0, 0.0, 4.0], (features, 1))
        database.write_keypoints(image_id, np.c_[places, shapes].astype(np.float32))
        kind = pycolmap.FeatureExtractorType.SIFT
        database.write_descriptors(image_id, pycolmap.FeatureDescriptors(type=kind, data=descriptors.astype(np.uint8)))
    names = sorted(image_ids)[: photos - 1]
    task = {"matching": "vocabtree", "neighbours": 0, "similar": 8, "by_tree": True, "threads": 1, "work": str(folder)}
    found = _pairs(task, database, names, image_ids)
    bare = _pairs(task, database, [], image_ids)
print(json.dumps({"pairs": found, "bare": bare}))
"""


def test_photos_find_those_that_share_features(tmp_path):
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    process = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    said = json.loads(process.stdout.splitlines()[-1])
    pairs = {(int(first[:2]), int(second[:2])) for first, second in said["pairs"]}
    assert said["bare"] == []
    assert all(first // 20 == second // 20 and first < second < 39 for first, second in pairs)
    apart = [min(second - first, 20 - (second - first)) for first, second in pairs]
    # Eight photos at least share a sixth of one's features; beyond five nothing is shared.
    assert max(apart) <= 5
    for number in range(39):
        for step in (1, 2, 3):
            other = 20 * (number // 20) + (number + step) % 20
            assert other == 39 or (min(number, other), max(number, other)) in pairs
