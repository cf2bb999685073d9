"""Real captures: a phone's photos, a rendered scene, COLMAP models of COLMAP itself."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.capture import inspect_capture, load_capture
from neural3d.capture.colmap_files import read_model, read_points
from neural3d.capture.lenses import Lens


@pytest.fixture(scope="module")
def snowmiku(data_dir):
    return load_capture(data_dir / "snowmiku", downscale=2)


def test_snowmiku(snowmiku):
    assert len(snowmiku.photos) == 97
    assert snowmiku.cameras.size_px.tolist() == [[504, 378]] * 97
    assert snowmiku.test_indices.tolist() == list(range(0, 97, 8))
    assert snowmiku.warnings == ()
    assert len(snowmiku.points.means_world) == 25784
    # Its world has y down although transforms.json usually has z up: the cameras know better.
    assert float(snowmiku.up_world[1]) < -0.9
    assert all(0.95 < float(photo.valid.float().mean()) < 1 for photo in snowmiku.photos)


def test_points_of_snowmiku_have_the_colours_of_the_photos(snowmiku):
    """Points project to pixels of their own colour; to those of another photo they do not."""
    matching = [_color_error(snowmiku, index, index) for index in range(0, 97, 6)]
    shuffled = [_color_error(snowmiku, index, (index + 30) % 97) for index in range(0, 97, 6)]
    assert np.median(matching) < 25
    assert np.median(shuffled) > 1.5 * np.median(matching)


def _color_error(scene, camera_index: int, photo_index: int) -> float:
    """Median difference over the points that the camera sees; many are hidden, so the median forgives."""
    matrix = scene.cameras.camera_from_world[camera_index]
    seen = scene.points.means_world @ matrix[:3, :3].T + matrix[:3, 3]
    pixels = seen[:, :2] / seen[:, 2:] * scene.cameras.focal_px[camera_index]
    column, row = (pixels + scene.cameras.principal_px[camera_index]).long().unbind(1)
    inside = (seen[:, 2] > 0) & (column >= 0) & (column < 504) & (row >= 0) & (row < 378)
    found = scene.photos[photo_index].pixels[row[inside], column[inside]].int()
    return float((found - scene.points.colors[inside].int()).abs().float().mean(dim=1).median())


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from /proc")
def test_snowmiku_fits_into_600_megabytes(data_dir):
    """In a process of its own: torch, the photos, and what decoding takes meanwhile."""
    program = (
        "import sys; from neural3d.capture import load_capture; "
        "scene = load_capture(sys.argv[1], downscale=2); assert len(scene.photos) == 97; "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    command = [sys.executable, "-c", program, str(data_dir / "snowmiku")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(finished.stdout) / 1024 <= 600


def test_mic(data_dir):
    scene = load_capture(data_dir / "nerf_synthetic_mic", downscale=2)
    assert (len(scene.train_indices), len(scene.test_indices)) == (100, 100)
    assert scene.has_alpha and scene.points is None
    assert scene.cameras.size_px.tolist() == [[400, 400]] * 200
    assert scene.up_world.tolist() == [0, 0, 1]
    focal_px = 200 / np.tan(0.6911112070083618 / 2)
    np.testing.assert_allclose(scene.cameras.focal_px.numpy(), focal_px, rtol=1e-6)
    index = [photo.name for photo in scene.photos].index("train/r_7.png")
    stored = np.asarray(Image.open(data_dir / "nerf_synthetic_mic/train/r_7.png")).astype(float)
    over_white = stored[..., :3] * stored[..., 3:] / 255 + 255 - stored[..., 3:]
    expected = over_white.reshape(400, 2, 400, 2, 3).mean(axis=(1, 3))
    photo = scene.photos[index]
    alpha = photo.alpha[..., None].double() / 255
    assert (photo.pixels * alpha + 255 * (1 - alpha) - torch.from_numpy(expected)).abs().max() < 1.5


def test_sceaux_in_both_encodings(data_dir):
    """COLMAP's own files; the text was written from the same model."""
    models = data_dir / "sceaux_models"
    binary = read_model(models / "colmap_example_model_bin", ".bin")
    text = read_model(models / "colmap_example_model_txt", ".txt")
    assert sorted(image.name for image in text.images) == [f"100_{7100 + i}.JPG" for i in range(11)]
    assert text.cameras == {1: Lens("SIMPLE_RADIAL", 2832, 2128, (2971.71, 2971.71), (1416.0, 1064.0), (-0.164224,))}
    assert {image.name for image in binary.images} == {image.name for image in text.images}
    poses = [{i.name: (*i.quat_wxyz, *i.translation) for i in model.images} for model in (binary, text)]
    assert all(np.allclose(np.linalg.norm(pose[:4]), 1, atol=1e-4) for pose in poses[1].values())
    points = [read_points(models / f"colmap_example_model_{kind}", f".{kind}") for kind in ("bin", "txt")]
    assert all(len(cloud.xyz) > 1000 and np.isfinite(cloud.xyz).all() for cloud in points)


def test_inspecting_is_cheap_enough_to_do_first(data_dir):
    found = inspect_capture(data_dir / "snowmiku")
    assert found.camera_models == {"SIMPLE_RADIAL": 97}
    assert found.sizes == {"1008x756": 97}
    assert found.suggested_downscale == 1
