"""inspect_capture: what is there and what is wrong, from headers alone."""

import json

import numpy as np
from PIL import Image

from neural3d.capture import inspect_capture, load_capture

from .writers import HEIGHT, WIDTH, ColmapCamera, colmap_capture, ring, transforms_capture, write_photo


def test_what_is_found(tmp_path):
    colmap_capture(tmp_path, ring(10), suffix=".txt")
    (tmp_path / "images/v003.png").unlink()
    write_photo(tmp_path / "images/v005.png", (1, 2, 3), (20, 20))
    write_photo(tmp_path / "images/v006.png", (1, 2, 3, 4), mode="RGBA")
    write_photo(tmp_path / "masks/v007.png", 255, mode="L")
    found = inspect_capture(tmp_path)
    assert found.format == "COLMAP text"
    assert (found.num_frames, found.num_usable, found.num_train, found.num_test) == (10, 8, 7, 1)
    assert [entry.name for entry in found.skipped] == ["v003.png", "v005.png"]
    assert found.sizes == {"48x32": 8}
    assert found.camera_models == {"PINHOLE": 8}
    assert found.num_points == 18
    assert found.has_alpha and found.has_masks
    assert found.suggested_downscale == 1
    assert found.photo_bytes == 8 * WIDTH * HEIGHT * 3 + 2 * WIDTH * HEIGHT
    assert found.estimated_training_bytes > found.photo_bytes + 1000 * found.assumed_gaussians
    assert json.loads(json.dumps(found.to_json()))["skipped"][0]["name"] == "v003.png"


def test_the_estimate_is_what_loading_takes(tmp_path):
    camera = ColmapCamera(1, "SIMPLE_RADIAL", WIDTH, HEIGHT, (40.0, 24.0, 16.0, 0.1))
    colmap_capture(tmp_path, ring(3), cameras=(camera,))
    scene = load_capture(tmp_path)
    taken = sum(photo.pixels.numel() + photo.valid.numel() for photo in scene.photos)
    assert inspect_capture(tmp_path).photo_bytes == taken


def test_pixels_are_not_decoded(tmp_path):
    """A photo that is cut off after its header passes; loading skips it."""
    transforms_capture(tmp_path, ring(3))
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "images/v001.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert inspect_capture(tmp_path).num_usable == 3
    assert len(load_capture(tmp_path).photos) == 2


def test_warnings_are_those_of_loading(tmp_path):
    colmap_capture(tmp_path, ring(1), points=[])
    assert inspect_capture(tmp_path).warnings == load_capture(tmp_path).warnings
