"""From a listing to a Scene: its frame, its splits, its size, its memory."""

import os
import threading

import numpy as np
import pytest
import torch

from neural3d.capture import load_capture, memory
from neural3d.capture.inspection import inspect_capture
from neural3d.capture.splits import split_photos
from neural3d.capture.world import OUTLIER_FACTOR
from neural3d.errors import InputError

from .writers import (
    HEIGHT,
    PINHOLE,
    POINTS,
    WIDTH,
    ColmapCamera,
    assert_paired,
    colmap_capture,
    look_at,
    ring,
    transforms_capture,
    write_colmap,
    write_photo,
)


def moved(views, *, scale=1.0, shift=(0.0, 0.0, 0.0)):
    """The same capture in another world: x becomes scale x + shift."""
    result = []
    for view in views:
        matrix = view.camera_from_world.copy()
        matrix[:3, 3] = scale * matrix[:3, 3] - matrix[:3, :3] @ np.asarray(shift)
        result.append(type(view)(view.name, view.color, matrix, view.camera_id))
    return result


@pytest.mark.parametrize(("scale", "shift"), [(1.0, (0, 0, 0)), (1e-4, (0, 0, 0)), (300.0, (4.5e5, 5.3e6, -200.0))])
def test_the_scene_has_a_size_of_one_wherever_the_capture_lies(tmp_path, scale, shift):
    views = moved(ring(10), scale=scale, shift=shift)
    points = [(tuple(scale * np.array(xyz) + shift), rgb) for xyz, rgb in POINTS]
    colmap_capture(tmp_path, views, points=points)
    scene = load_capture(tmp_path)
    centers = scene.cameras.centers_world
    radius = (centers - centers.mean(dim=0)).norm(dim=1)
    assert scene.extent == pytest.approx(1.0)
    assert float(radius.max()) == pytest.approx(1.0, rel=1e-3)
    back = scene.capture_from_scene.apply(centers.double()).numpy()
    np.testing.assert_allclose(back, [view.center for view in views], atol=2e-6 * scale * 4)
    means = scene.capture_from_scene.apply(scene.points.means_world.double()).numpy()
    np.testing.assert_allclose(means, [xyz for xyz, _ in points], atol=2e-6 * scale * 4)
    np.testing.assert_array_equal(scene.capture_from_scene.rotation.numpy(), np.eye(3))


def test_projections_do_not_depend_on_the_frame(tmp_path):
    """A point's pixel is the same through the file's numbers and through the scene's."""
    views = moved(ring(6), scale=50.0, shift=(1000, -2000, 300))
    points = [(tuple(50.0 * np.array(xyz) + (1000, -2000, 300)), rgb) for xyz, rgb in POINTS]
    colmap_capture(tmp_path, views, points=points)
    scene = load_capture(tmp_path)
    for index, view in enumerate(views):
        camera = scene.cameras.camera_from_world[index]
        seen = scene.points.means_world @ camera[:3, :3].T + camera[:3, 3]
        found = seen[:, :2] / seen[:, 2:] * scene.cameras.focal_px[index] + scene.cameras.principal_px[index]
        expected = (
            np.array([xyz for xyz, _ in points]) @ view.camera_from_world[:3, :3].T + view.camera_from_world[:3, 3]
        )
        expected = expected[:, :2] / expected[:, 2:] * PINHOLE.params[0] + PINHOLE.params[2:]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-2)


def test_one_camera_far_away_changes_nothing_for_the_others(tmp_path):
    views = ring(12)
    clean = load_capture_of(tmp_path / "clean", views)
    far = look_at(np.array([1e6, 0.0, 0.0]))
    views[3] = type(views[3])(views[3].name, views[3].color, far)
    scene = load_capture_of(tmp_path / "far", views)
    assert scene.capture_from_scene.scale == pytest.approx(clean.capture_from_scene.scale, rel=0.15)
    assert scene.extent == pytest.approx(1.0)
    assert scene.warnings == ("1 cameras are far from all others, check their poses: v003.png",)
    assert len(scene.photos) == 12
    assert OUTLIER_FACTOR < 1e5


def load_capture_of(root, views):
    colmap_capture(root, views)
    return load_capture(root)


@pytest.mark.parametrize(
    ("shift", "step"),
    [
        ((0.0, 0.0, 0.0), None),
        ((300.0, -200.0, 50.0), None),
        ((389_000.0, 5_820_000.0, 34.0), "0.5"),
        ((3_771_793.0, 140_253.0, 5_124_304.0), "0.5"),
        ((-9000.0, 0.0, 0.0), "0.00098"),
    ],
)
def test_coordinates_that_float32_is_too_coarse_for_are_told(tmp_path, shift, step):
    """As of grids, or of the Earth's centre; by inspect as by what loads."""
    colmap_capture(tmp_path, moved(ring(9), shift=shift), points=[])
    notes = [note for note in inspect_capture(tmp_path).warnings if "float32" in note]
    assert notes == [note for note in load_capture(tmp_path).warnings if "float32" in note]
    assert bool(notes) == (step is not None)
    assert step is None or f"in steps of {step}; write the poses with an origin near the cameras" in notes[0]


def test_one_photo_is_trained_on_and_tested(tmp_path):
    views = colmap_capture(tmp_path, ring(1))
    scene = load_capture(tmp_path)
    assert_paired(scene, views)
    assert scene.train_indices.tolist() == scene.test_indices.tolist() == [0]
    assert "there is one photo: it is both trained on and tested" in scene.warnings
    # The unit comes from the points: their median distance is 1.
    assert float(scene.points.means_world.norm(dim=1).median()) == pytest.approx(1.0, rel=0.1)


def test_one_photo_without_points(tmp_path):
    colmap_capture(tmp_path, ring(1), points=[])
    scene = load_capture(tmp_path)
    assert scene.points is None
    assert scene.extent == 1.0 and scene.capture_from_scene.scale == 1.0


def test_cameras_in_one_place(tmp_path):
    """A camera that turns on a tripod: the points give the size."""
    turns = [look_at(np.array([1.0, 2.0, 3.0]), target=(np.cos(a), np.sin(a) + 2, 3.0)) for a in (0.1, 0.7, 1.4)]
    views = [type(v)(v.name, v.color, turn) for v, turn in zip(ring(3), turns, strict=True)]
    scene = load_capture_of(tmp_path, views)
    assert scene.extent == 1.0
    assert 1.0 < scene.capture_from_scene.scale < 5.0


@pytest.mark.parametrize("count", [2, 3, 8, 9, 17])
def test_every_eighth_photo_is_held_out(tmp_path, count):
    colmap_capture(tmp_path, ring(count))
    scene = load_capture(tmp_path)
    assert scene.test_indices.tolist() == list(range(0, count, 8))
    assert sorted(scene.train_indices.tolist() + scene.test_indices.tolist()) == list(range(count))


def test_a_named_split_that_lost_all_photos_is_replaced():
    splits = split_photos(["train"] * 9)
    assert splits.test == (0, 8) and len(splits.train) == 7
    assert splits.notes == ("no photo that the capture names for testing is left: every 8th is held out",)
    assert split_photos(["test"] * 2).notes[0].startswith("no photo that the capture names for training is left")


def test_up_is_the_file_convention_when_the_cameras_agree(tmp_path):
    transforms_capture(tmp_path, ring(8))
    assert load_capture(tmp_path).up_world.tolist() == [0, 0, 1]


def test_up_is_the_cameras_mean_when_the_file_is_wrong(tmp_path):
    transforms_capture(tmp_path, ring(8, up=(0.0, 0.0, -1.0)))
    up = load_capture(tmp_path).up_world
    assert float(up[2]) < -0.99 and float(up.norm()) == pytest.approx(1.0)


def test_up_is_the_cameras_mean_for_colmap(tmp_path):
    colmap_capture(tmp_path, ring(8))
    assert float(load_capture(tmp_path).up_world[2]) > 0.99


@pytest.mark.parametrize("downscale", [1, 2, 4, 1.5, 3.0, 1000])
def test_downscale(tmp_path, downscale):
    views = colmap_capture(tmp_path, ring(3))
    scene = load_capture(tmp_path, downscale=downscale)
    width, height = max(1, int(WIDTH / downscale + 0.5)), max(1, int(HEIGHT / downscale + 0.5))
    assert scene.cameras.size_px.tolist() == [[width, height]] * 3
    assert tuple(scene.photos[0].pixels.shape) == (height, width, 3)
    np.testing.assert_allclose(scene.cameras.focal_px[0], [40 * width / WIDTH, 40 * height / HEIGHT], rtol=1e-6)
    np.testing.assert_allclose(scene.cameras.principal_px[0], [width / 2, height / 2], rtol=1e-6)
    assert scene.downscale == downscale
    assert_paired(scene, views)


@pytest.mark.parametrize("downscale", [0, 0.5, -1, float("nan"), float("inf")])
def test_downscales_that_make_no_sense(tmp_path, downscale):
    colmap_capture(tmp_path, ring(3))
    with pytest.raises(InputError, match="downscale is .*, expected 1 or more"):
        load_capture(tmp_path, downscale=downscale)


def test_the_downscale_is_chosen_from_the_size(tmp_path):
    large = ColmapCamera(1, "PINHOLE", 4000, 30, (3000.0, 3000.0, 2000.0, 15.0))
    views = ring(2)
    write_colmap(tmp_path / "sparse/0", views, cameras=(large,))
    for view in views:
        write_photo(tmp_path / "images" / view.name, view.color, (4000, 30))
    scene = load_capture(tmp_path)
    assert scene.downscale == 3
    assert scene.warnings == ("photos are used at 1/3 of their size, chosen from size and memory",)
    assert load_capture(tmp_path, downscale=1).downscale == 1


def test_the_downscale_is_chosen_from_the_memory(tmp_path):
    colmap_capture(tmp_path, ring(4))
    needed = 4 * WIDTH * HEIGHT * 3
    assert load_capture(tmp_path, max_memory_bytes=needed).downscale == 1
    assert load_capture(tmp_path, max_memory_bytes=needed - 1).downscale == 2
    scene = load_capture(tmp_path, max_memory_bytes=needed // 10)
    assert scene.downscale == 4
    assert sum(photo.pixels.numel() for photo in scene.photos) <= needed // 10


def test_photos_that_do_not_fit_are_refused_with_the_downscale_that_does(tmp_path, monkeypatch):
    colmap_capture(tmp_path, ring(4))
    needed = 4 * WIDTH * HEIGHT * 3
    with pytest.raises(InputError, match="choose downscale 2 or more"):
        load_capture(tmp_path, downscale=1, max_memory_bytes=needed - 1)
    monkeypatch.setattr("neural3d.capture.load.free_memory_bytes", lambda: needed - 1)
    with pytest.raises(InputError, match="4 photos at downscale 1 take"):
        load_capture(tmp_path, downscale=1)
    # Unless told, photos take a quarter of it.
    assert load_capture(tmp_path).downscale == 3


def test_free_memory_is_less_than_all_memory():
    assert 2**20 < memory.free_memory_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_threads_are_given_back(tmp_path):
    colmap_capture(tmp_path, ring(3))
    torch.set_num_threads(2)
    before = threading.active_count()
    load_capture(tmp_path)
    assert torch.get_num_threads() == 2
    assert threading.active_count() == before
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]


def test_transparency_is_all_or_nothing(tmp_path):
    """One transparent photo makes the capture RGBA; alpha that is opaque everywhere is none."""
    views = colmap_capture(tmp_path, ring(4))
    write_photo(tmp_path / "images/v001.png", (1, 2, 3, 255), mode="RGBA")
    scene = load_capture(tmp_path)
    assert not scene.has_alpha and all(photo.alpha is None for photo in scene.photos)
    write_photo(tmp_path / "images/v002.png", (*views[2].color, 90), mode="RGBA")
    scene = load_capture(tmp_path)
    assert scene.has_alpha
    assert [int(photo.alpha[0, 0]) for photo in scene.photos] == [255, 255, 90, 255]
    assert scene.photos[2].pixels[0, 0].tolist() == list(views[2].color)
    assert not [warning for warning in scene.warnings if "transparent" in warning]


def test_photos_that_show_nothing_are_told(tmp_path):
    views = colmap_capture(tmp_path, ring(4))
    write_photo(tmp_path / "images" / views[2].name, (9, 9, 9, 0), mode="RGBA")
    (told,) = [warning for warning in load_capture(tmp_path).warnings if "transparent" in warning]
    assert told == "1 photos are transparent everywhere, check their alpha: v002.png"


def test_loading_twice_gives_the_same_bytes(tmp_path):
    camera = ColmapCamera(1, "OPENCV", WIDTH, HEIGHT, (40.0, 41.0, 24.0, 16.0, -0.1, 0.02, 0.001, 0.002))
    colmap_capture(tmp_path, cameras=(camera,))
    first, second = load_capture(tmp_path, downscale=1.5), load_capture(tmp_path, downscale=1.5)
    for a, b in zip(first.photos, second.photos, strict=True):
        assert torch.equal(a.pixels, b.pixels)
    assert torch.equal(first.cameras.camera_from_world, second.cameras.camera_from_world)
