"""COLMAP captures: both encodings, which model, which folder, and each photo with its own pose."""

import struct

import numpy as np
import pytest

from neural3d.capture import inspect_capture, load_capture
from neural3d.errors import InputError

from .writers import (
    HEIGHT,
    PINHOLE,
    POINTS,
    WIDTH,
    ColmapCamera,
    assert_paired,
    colmap_capture,
    renamed,
    ring,
    write_colmap,
    write_photo,
    write_photos,
    write_ply,
)


@pytest.mark.parametrize("rigs", [False, True])
@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_both_encodings_give_the_same_scene(tmp_path, suffix, rigs):
    views = colmap_capture(tmp_path, suffix=suffix, rigs=rigs)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views])
    assert scene.warnings == ()
    assert scene.cameras.size_px.tolist() == [[WIDTH, HEIGHT]] * 10
    assert scene.cameras.focal_px[0].tolist() == [40.0, 40.0]
    means = scene.capture_from_scene.apply(scene.points.means_world.double()).numpy()
    np.testing.assert_allclose(means, [xyz for xyz, _ in POINTS], atol=1e-5)
    assert scene.points.colors.tolist() == [list(rgb) for _, rgb in POINTS]


def test_rotations_are_kept(tmp_path):
    views = colmap_capture(tmp_path)
    scene = load_capture(tmp_path)
    expected = np.stack([view.camera_from_world[:3, :3] for view in views])
    np.testing.assert_allclose(scene.cameras.camera_from_world[:, :3, :3].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "."])
def test_models_are_found_where_tools_put_them(tmp_path, place):
    views = ring(4)
    write_photos(tmp_path / "images", views)
    write_colmap(tmp_path / place, views)
    assert_paired(load_capture(tmp_path), views)


@pytest.mark.parametrize("folder", ["images", "input", ".", "images_4"])
def test_photos_are_found_where_tools_put_them(tmp_path, folder):
    views = ring(4)
    write_photos(tmp_path / folder, views)
    write_colmap(tmp_path / "sparse/0", views)
    assert_paired(load_capture(tmp_path), views)


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_the_model_with_most_images_is_used(tmp_path, suffix):
    views = colmap_capture(tmp_path, suffix=suffix)
    write_colmap(tmp_path / "sparse/0", views[:3], suffix=suffix)
    write_colmap(tmp_path / "sparse/1", views, suffix=suffix)
    assert len(load_capture(tmp_path).photos) == 10
    assert inspect_capture(tmp_path).summary == "10 of 10 photos have a pose, model sparse/1 (2 of 2)"


def test_photos_without_a_pose_are_listed(tmp_path):
    views = colmap_capture(tmp_path)
    write_colmap(tmp_path / "sparse/0", views[:7])
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views[:7]])
    assert scene.warnings == ("3 photos have no pose and are not used: v007.png, v008.png, v009.png",)
    assert inspect_capture(tmp_path).summary == "7 of 10 photos have a pose, model sparse/0 (1 of 1)"


def test_a_missing_photo_shifts_no_other(tmp_path):
    views = colmap_capture(tmp_path)
    (tmp_path / "images/v004.png").unlink()
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views if view.name != "v004.png"])
    assert scene.warnings[0] == "1 of 10 frames were skipped"
    assert scene.warnings[1].startswith("skipped v004.png: the photo is not in")


def test_the_same_name_in_two_folders_stays_two_photos(tmp_path):
    views = [renamed(view, f"{folder}/0001.png") for view, folder in zip(ring(3), ("a", "b", "b/c"), strict=True)]
    write_photos(tmp_path / "images", views)
    write_colmap(tmp_path / "sparse/0", views)
    assert_paired(load_capture(tmp_path), views, ["a/0001.png", "b/0001.png", "b/c/0001.png"])


def test_names_that_start_with_the_folder(tmp_path):
    views = ring(3)
    write_photos(tmp_path / "images", views)
    write_colmap(tmp_path / "sparse/0", [renamed(view, f"images/{view.name}") for view in views])
    assert_paired(load_capture(tmp_path), views)


@pytest.mark.parametrize("on_disk", ["V000.PNG", "v000.JPG", "v000.jpeg"])
def test_case_and_suffix_may_differ(tmp_path, on_disk):
    views = ring(3)
    write_photos(tmp_path / "images", views)
    (tmp_path / "images/v000.png").unlink()
    write_photo(tmp_path / "images" / on_disk, (200, 200, 200))
    write_colmap(tmp_path / "sparse/0", views)
    scene = load_capture(tmp_path)
    assert scene.photos[0].pixels[0, 0].tolist() == [200, 200, 200]
    assert len(scene.photos) == 3


def test_no_photo_serves_two_poses(tmp_path):
    """Of v000.jpg and v000.png only the first is left: the other's pose is not paired with it."""
    views = ring(4)
    both = [renamed(views[0], "v000.jpg"), *views]
    write_photos(tmp_path / "images", both)
    write_colmap(tmp_path / "sparse/0", both)
    assert len(load_capture(tmp_path).photos) == 5
    (tmp_path / "images/v000.png").unlink()
    scene = load_capture(tmp_path)
    assert [photo.name for photo in scene.photos] == ["v000.jpg", *(view.name for view in views[1:])]
    assert any("v000.png" in line for line in scene.warnings)


def test_an_ambiguous_suffix_is_not_guessed(tmp_path):
    views = colmap_capture(tmp_path, ring(3))
    (tmp_path / "images/v000.png").unlink()
    write_photo(tmp_path / "images/v000.jpg", (1, 2, 3))
    write_photo(tmp_path / "images/v000.webp", (4, 5, 6))
    assert [photo.name for photo in load_capture(tmp_path).photos] == [view.name for view in views[1:]]


@pytest.mark.parametrize("name", ["ünï 数据 x'y/a b.png", 'quo"te $(x) `y`;&.png', "a" * 120 + ".png"])
def test_any_name_works(tmp_path, name):
    root = tmp_path / "cäp 数 'ture"
    views = [renamed(view, name) if i == 1 else view for i, view in enumerate(ring(3))]
    colmap_capture(root, views, suffix=".txt")
    assert_paired(load_capture(root), views, sorted(view.name for view in views))


def test_cameras_differ_between_photos(tmp_path):
    views = [View for View in ring(2)]
    wide = ColmapCamera(9, "SIMPLE_PINHOLE", 64, 40, (50.0, 30.0, 21.0))
    views[1] = type(views[1])(views[1].name, views[1].color, views[1].camera_from_world, camera_id=9)
    write_colmap(tmp_path / "sparse/0", views, cameras=(wide, PINHOLE))
    write_photo(tmp_path / "images/v000.png", views[0].color)
    write_photo(tmp_path / "images/v001.png", views[1].color, (64, 40))
    scene = load_capture(tmp_path)
    assert scene.cameras.size_px.tolist() == [[WIDTH, HEIGHT], [64, 40]]
    assert scene.cameras.focal_px.tolist() == [[40, 40], [50, 50]]
    assert scene.cameras.principal_px.tolist() == [[24, 16], [30, 21]]


def test_photos_of_a_common_factor_scale_the_intrinsics(tmp_path):
    views = ring(3)
    write_photos(tmp_path / "images", views, size=(WIDTH // 2, HEIGHT // 2))
    write_colmap(tmp_path / "sparse/0", views)
    scene = load_capture(tmp_path)
    assert scene.cameras.size_px[0].tolist() == [24, 16]
    assert scene.cameras.focal_px[0].tolist() == [20, 20]
    assert scene.cameras.principal_px[0].tolist() == [12, 8]


@pytest.mark.parametrize("size", [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (30, 30), (WIDTH // 2, HEIGHT // 2 - 1)])
def test_photos_of_another_shape_are_skipped_by_name(tmp_path, size):
    views = colmap_capture(tmp_path, ring(3))
    write_photo(tmp_path / "images/v001.png", (0, 0, 0), size)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v002.png"])
    assert f"skipped v001.png: its photo is {size[0]} x {size[1]} pixels, its camera 48 x 32" in scene.warnings[1]


def test_smaller_copies_are_used_when_they_fit_exactly(tmp_path):
    views = colmap_capture(tmp_path, ring(3))
    for view in views:
        write_photo(tmp_path / "images_2" / view.name, (9, 9, 9), (WIDTH // 2, HEIGHT // 2))
    scene = load_capture(tmp_path, downscale=2)
    assert scene.photos[0].pixels[0, 0].tolist() == [9, 9, 9]
    assert scene.cameras.focal_px[0].tolist() == [20, 20]
    assert_paired(load_capture(tmp_path, downscale=4), views)
    (tmp_path / "images_2/v002.png").unlink()
    assert_paired(load_capture(tmp_path, downscale=2), views)


def test_unsupported_models_name_the_supported_ones(tmp_path):
    colmap_capture(tmp_path, suffix=".txt")
    path = tmp_path / "sparse/0/cameras.txt"
    path.write_text(path.read_text().replace("SIMPLE_PINHOLE", "MAGIC").replace("PINHOLE", "MAGIC"))
    with pytest.raises(InputError, match="camera model MAGIC is not supported; supported are SIMPLE_PINHOLE"):
        load_capture(tmp_path)


def test_unknown_model_numbers_are_refused(tmp_path):
    colmap_capture(tmp_path)
    path = tmp_path / "sparse/0/cameras.bin"
    path.write_bytes(path.read_bytes()[:12] + struct.pack("<i", 99) + path.read_bytes()[16:])
    with pytest.raises(InputError, match="cameras.bin: camera 1: camera model number 99"):
        load_capture(tmp_path)


def test_numbers_that_are_none_cost_their_frame_only(tmp_path):
    views = colmap_capture(tmp_path, ring(4), suffix=".txt")
    path = tmp_path / "sparse/0/images.txt"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split()[1], "-nan(ind)", 1)
    path.write_text("\n".join(lines) + "\n")
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v002.png", "v003.png"])
    assert scene.warnings[1] == "skipped v001.png: its pose is not finite"


def test_nan_intrinsics_cost_their_frames_only(tmp_path):
    views = ring(4)
    broken = ColmapCamera(2, "PINHOLE", WIDTH, HEIGHT, (float("nan"), 40.0, 24.0, 16.0))
    views[2] = type(views[2])(views[2].name, views[2].color, views[2].camera_from_world, camera_id=2)
    views[3] = type(views[3])(views[3].name, views[3].color, views[3].camera_from_world, camera_id=3)
    colmap_capture(tmp_path, views, cameras=(PINHOLE, broken))
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v001.png"])
    assert scene.warnings[1] == "skipped v002.png: its intrinsics are not finite numbers"
    assert scene.warnings[2] == "skipped v003.png: its camera 3 is not in cameras.bin"


def test_a_quaternion_of_another_length_is_no_rotation(tmp_path):
    views = colmap_capture(tmp_path, ring(3))
    path = tmp_path / "sparse/0/images.bin"
    content = bytearray(path.read_bytes())
    content[12:44] = struct.pack("<4d", 0, 0, 0, 0)
    path.write_bytes(content)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v001.png", "v002.png"])
    assert "rotation quaternion has length 0" in scene.warnings[1]


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_headers_that_claim_a_billion_are_refused(tmp_path, name):
    colmap_capture(tmp_path)
    path = tmp_path / f"sparse/0/{name}.bin"
    path.write_bytes(struct.pack("<Q", 10**9) + path.read_bytes()[8:])
    with pytest.raises(InputError, match=rf"{name}.bin: its header claims 1000000000 .* holds at most"):
        load_capture(tmp_path)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_files_that_are_cut_off_are_refused(tmp_path, name):
    colmap_capture(tmp_path)
    path = tmp_path / f"sparse/0/{name}.bin"
    content = path.read_bytes()
    for length in (0, 4, len(content) - 5):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=f"{name}.bin"):
            load_capture(tmp_path)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_broken_lines_are_named(tmp_path, name):
    colmap_capture(tmp_path, suffix=".txt")
    path = tmp_path / f"sparse/0/{name}.txt"
    path.write_text("# fine\n1 nonsense here\n")
    with pytest.raises(InputError, match=rf"{name}.txt: line 2 is no"):
        load_capture(tmp_path)


def test_points_may_be_missing_or_a_ply(tmp_path):
    colmap_capture(tmp_path)
    (tmp_path / "sparse/0/points3D.bin").unlink()
    scene = load_capture(tmp_path)
    assert scene.points is None
    assert "there are no points: training starts from random ones" in scene.warnings
    write_ply(tmp_path / "sparse/0/points3D.ply")
    assert len(load_capture(tmp_path).points.means_world) == len(POINTS)


def test_points_that_are_not_finite_are_left_out(tmp_path):
    colmap_capture(tmp_path, points=[((float("nan"), 0, 0), (1, 2, 3)), ((1, float("inf"), 0), (1, 2, 3)), *POINTS])
    scene = load_capture(tmp_path)
    assert len(scene.points.means_world) == len(POINTS) == len(scene.points.colors)
    assert scene.warnings == (f"2 of {len(POINTS) + 2} points are not finite and not used",)
