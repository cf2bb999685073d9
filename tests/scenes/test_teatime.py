"""The bundled capture is what it says: complete, small, and exact to a fraction of a pixel.

Read with numpy and Pillow alone, so that a mistake of the capture cannot hide behind the same mistake in the loader.
"""

import itertools
import json
import runpy

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import load_capture
from neural3d.train.config import SplatConfig

MAX_BYTES = 12_000_000
DEPTH_STEP = 1e-4
TRUTH_VIEWS = ("003", "017", "031", "059")
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def folder(repository):
    return repository / "scenes" / "teatime"


@pytest.fixture(scope="module")
def transforms(folder):
    return json.loads((folder / "transforms.json").read_text())


@pytest.fixture(scope="module")
def poses(transforms):
    return {frame["file_path"][-8:-5]: np.array(frame["transform_matrix"]) for frame in transforms["frames"]}


@pytest.fixture(scope="module")
def photos(folder, poses):
    return {name: np.array(Image.open(folder / "images" / f"{name}.webp")) for name in poses}


@pytest.fixture(scope="module")
def cloud(folder):
    """Positions (P 3) and colours (P 3)."""
    header, body = (folder / "points.ply").read_bytes().split(b"end_header\n", 1)
    layout = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    assert [line.split()[-1] for line in header.decode().splitlines() if "property" in line] == [n for n, _ in layout]
    rows = np.frombuffer(body, dtype=layout)
    assert f"element vertex {len(rows)}" in header.decode()
    return (
        np.stack([rows[name] for name in "xyz"], axis=1).astype(float),
        np.stack([rows[name] for name in ("red", "green", "blue")], axis=1),
    )


def _truth(folder, name):
    """Depth in world units (0 for nothing), unit normals in the world, and where there are any."""
    depth = np.array(Image.open(folder / "truth" / f"{name}_depth.png")) * DEPTH_STEP
    normal = np.array(Image.open(folder / "truth" / f"{name}_normal.png")) / 127.5 - 1
    return depth, normal, depth > 0


def _project(points, pose, transforms):
    """Pixel coordinates (P 2) with centres at +0.5, and depths (P)."""
    local = (points - pose[:3, 3]) @ pose[:3, :3] @ OPENCV_FROM_OPENGL
    focal, middle = [transforms["fl_x"], transforms["fl_y"]], [transforms["cx"], transforms["cy"]]
    return local[:, :2] / local[:, 2:] * focal + middle, local[:, 2]


def _lift(depth, pose, transforms):
    """Every pixel's centre at its depth, in the world (H W 3)."""
    row, column = np.indices(depth.shape) + 0.5
    x, y = (column - transforms["cx"]) / transforms["fl_x"], (row - transforms["cy"]) / transforms["fl_y"]
    local = np.stack([x, y, np.ones_like(x)], axis=-1) * depth[..., None]
    return local @ OPENCV_FROM_OPENGL @ pose[:3, :3].T + pose[:3, 3]


def _bilinear(image, pixels):
    """Values at pixel coordinates, centres at +0.5; the border is repeated."""
    at = np.clip(pixels - 0.5, 0, np.array(image.shape[1::-1]) - 1.001)
    low = at.astype(int)
    (x, y), (u, v) = low.T, (at - low).T[..., None]
    top = image[y, x] * (1 - u) + image[y, x + 1] * u
    return top * (1 - v) + (image[y + 1, x] * (1 - u) + image[y + 1, x + 1] * u) * v


def _inside(pixels, size, margin=2):
    return ((pixels > margin) & (pixels < size - margin)).all(axis=1)


def test_everything_named_is_there_and_nothing_else(folder, transforms):
    named = {frame["file_path"] for frame in transforms["frames"]}
    assert named == {f"images/{path.name}" for path in (folder / "images").iterdir()}
    train, test = set(transforms["train_filenames"]), set(transforms["test_filenames"])
    assert train | test == named
    assert not train & test
    assert len(train) == 60
    assert len(test) == 10
    assert {f"images/{name}.webp" for name in TRUTH_VIEWS} <= test


def test_the_capture_is_small(repository):
    files = [path for path in (repository / "scenes").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES


def test_photos_are_rgba_of_the_size_that_the_intrinsics_say(photos, transforms):
    for name, photo in photos.items():
        assert photo.shape == (transforms["h"], transforms["w"], 4), name
        covered = (photo[..., 3] == 255).mean()
        assert 0.1 < covered < 0.95, name
    borders = [photo[..., 3] for name, photo in photos.items() if name < "058"]
    assert all((alpha == 0).mean() > 0.3 for alpha in borders), "the views around see past the tray"


def test_poses_are_rigid_level_and_face_the_tray(poses):
    for name, pose in poses.items():
        rotation = pose[:3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-8, err_msg=name)
        assert np.linalg.det(rotation) > 0, name
        assert abs(rotation[2, 0]) < 1e-8, "the x axis is level"
        assert rotation[2, 1] > 0, "z is up"
        nearest = pose[:3, 3] - rotation[:, 2] * (pose[:3, 3] @ rotation[:, 2])
        assert np.linalg.norm(nearest) < 1.1, name


def test_points_lie_on_what_the_photos_show(cloud, photos, poses, transforms):
    points, _ = cloud
    assert 5000 <= len(points) <= 8000
    assert np.abs(points).max() < 1.5
    for name, photo in photos.items():
        pixels, depth = _project(points, poses[name], transforms)
        seen = _inside(pixels, transforms["w"]) & (depth > 0)
        column, row = pixels[seen].astype(int).T
        assert (photo[row, column, 3] > 0).mean() > 0.998, name


def test_points_have_the_colours_of_the_photos(cloud, photos, poses, transforms):
    points, colors = cloud
    best = np.full(len(points), np.inf)
    for name in poses:
        pixels, _ = _project(points, poses[name], transforms)
        seen = _inside(pixels, transforms["w"])
        column, row = pixels[seen].astype(int).T
        difference = np.abs(photos[name][row, column, :3].astype(float) - colors[seen]).max(axis=1)
        best[seen] = np.minimum(best[seen], difference)
    assert (best <= 2).mean() > 0.99, "each was read off a photo at the pixel that holds it"


@pytest.mark.parametrize("name", TRUTH_VIEWS)
def test_depth_agrees_with_the_points(folder, name, cloud, poses, transforms):
    """A point near an outline may lie in a pixel whose centre looks past it: the 3 x 3 pixels around count."""
    depth, _, hit = _truth(folder, name)
    far = np.where(hit, depth, np.inf)
    nearest = np.min([np.roll(far, (dy - 1, dx - 1), (0, 1)) for dy, dx in np.ndindex(3, 3)], axis=0)
    pixels, z = _project(cloud[0], poses[name], transforms)
    seen = _inside(pixels, transforms["w"])
    column, row = pixels[seen].astype(int).T
    assert (z[seen] > nearest[row, column] - 0.01).mean() > 0.999, "nothing lies in front of the first surface"
    assert (np.abs(z[seen] - depth[row, column]) < 0.01).mean() > 0.25, "and a good part of the points is that surface"


@pytest.mark.parametrize("name", TRUTH_VIEWS)
def test_the_tray_lies_where_it_was_modelled(folder, name, poses, transforms):
    """The mosaic is the plane z = 0 and the tray's side is turned around the z axis.

    A principal point half a pixel off moves what depth lifts by 0.0012 (close) to 0.0027.
    """
    depth, normal, hit = _truth(folder, name)
    points = _lift(depth, poses[name], transforms)
    radius = np.hypot(points[..., 0], points[..., 1])
    mosaic = hit & (normal[..., 2] > 0.99) & (np.abs(points[..., 2]) < 0.004) & (radius < 0.95)
    assert mosaic.sum() > 1000
    assert abs(np.median(points[mosaic][:, 2])) < 2e-4
    side = hit & (radius > 0.97) & (points[..., 2] < 0.01) & (points[..., 2] > -0.13)
    off_axis = points[side][:, 0] * normal[side][:, 1] - points[side][:, 1] * normal[side][:, 0]
    assert side.sum() > 1000
    assert abs(np.median(off_axis)) < 5e-4


@pytest.mark.parametrize("name", TRUTH_VIEWS)
def test_depth_covers_what_the_photo_shows(folder, name, photos):
    _, _, hit = _truth(folder, name)
    alpha = photos[name][..., 3]
    assert hit[alpha == 255].mean() > 0.9995
    assert not hit[alpha == 0].any()


@pytest.mark.parametrize(("name", "other"), [("003", "014"), ("017", "028"), ("031", "042"), ("059", "034")])
def test_depth_carries_one_photo_onto_another_within_half_a_pixel(folder, name, other, photos, poses, transforms):
    """The colours fit best unshifted: poses, photos and depth belong together."""
    depth, normal, hit = _truth(folder, name)
    points = _lift(depth, poses[name], transforms)[hit]
    pixels, _ = _project(points, poses[other], transforms)
    towards = poses[other][:3, 3] - points
    seen = _inside(pixels, transforms["w"]) & ((normal[hit] * towards).sum(axis=1) > 0)
    colors = photos[name][hit][seen, :3].astype(float)
    errors = {
        shift: np.median(np.abs(_bilinear(photos[other].astype(float), pixels[seen] + shift)[:, :3] - colors))
        for shift in itertools.product((-0.5, 0.0, 0.5), repeat=2)
    }
    assert min(errors, key=errors.get) == (0.0, 0.0), errors
    assert errors[0.0, 0.0] < 10, errors


@pytest.mark.parametrize("name", TRUTH_VIEWS)
def test_normals_face_the_camera_and_agree_with_depth(folder, name, poses, transforms):
    depth, normal, hit = _truth(folder, name)
    np.testing.assert_allclose(np.linalg.norm(normal[hit], axis=1), 1, atol=0.01)
    points = _lift(depth, poses[name], transforms)
    facing = (normal * (poses[name][:3, 3] - points)).sum(axis=2)[hit]
    assert (facing > -0.05).mean() > 0.99
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    estimated = np.cross(down, across)
    estimated /= np.linalg.norm(estimated, axis=2, keepdims=True) + 1e-12
    cosine = (estimated * normal[1:-1, 1:-1]).sum(axis=2)[hit[1:-1, 1:-1]]
    assert np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))) < 4


def test_the_loader_reads_it_whole(folder):
    scene = load_capture(folder, downscale=4)
    assert scene.has_alpha
    assert not scene.warnings
    assert (len(scene.train_indices), len(scene.test_indices)) == (60, 10)
    assert scene.points is not None
    assert scene.up_world[2] > 0.99


def test_presets_are_valid_settings(repository):
    presets = runpy.run_path(str(repository / "scenes" / "presets.py"))
    assert isinstance(presets["TEATIME"], SplatConfig)
    assert presets["TEATIME"].max_seconds <= 60
