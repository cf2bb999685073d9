"""transforms.json in its dialects: nerfstudio, instant-ngp, Blender."""

import math

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import inspect_capture, load_capture
from neural3d.errors import InputError

from .writers import (
    FOCAL,
    HEIGHT,
    POINTS,
    WIDTH,
    assert_paired,
    opengl_matrix,
    renamed,
    ring,
    transforms_capture,
    transforms_meta,
    write_colmap,
    write_json,
    write_photo,
    write_photos,
    write_ply,
)


def names(scene, indices) -> list[str]:
    return [scene.photos[i].name.removeprefix("images/") for i in indices.tolist()]


def test_poses_become_opencv(tmp_path):
    views = ring(5)
    transforms_capture(tmp_path, views)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views])
    expected = np.stack([view.camera_from_world[:3, :3] for view in views])
    np.testing.assert_allclose(scene.cameras.camera_from_world[:, :3, :3].numpy(), expected, atol=1e-6)
    # What the cameras look at lies in front of them, in the middle of the picture.
    ahead = scene.cameras.camera_from_world[:, :3, 3] + (
        scene.cameras.camera_from_world[:, :3, :3]
        @ scene.capture_from_scene.inverse().apply(scene.cameras.centers_world[0] * 0)
    )
    np.testing.assert_allclose(ahead[:, :2].numpy(), 0, atol=1e-5)
    assert (ahead[:, 2] > 0).all()


def test_the_json_file_itself_may_be_named(tmp_path):
    views = ring(3)
    transforms_capture(tmp_path, views)
    (tmp_path / "transforms.json").rename(tmp_path / "other.json")
    assert_paired(load_capture(tmp_path / "other.json"), views)


def test_frames_in_any_order_are_sorted_by_name(tmp_path):
    views = ring(9)
    meta = transforms_capture(tmp_path, views)
    write_json(tmp_path / "transforms.json", {**meta, "frames": meta["frames"][::-1]})
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views])
    assert names(scene, scene.test_indices) == ["v000.png", "v008.png"]


def test_intrinsics_of_a_frame_win_over_those_of_the_file(tmp_path):
    views = ring(3)
    meta = transforms_capture(tmp_path, views)
    meta["frames"][1] |= {"fl_x": 55.0, "fl_y": 44.0, "cx": 20.0, "cy": 10.0, "w": 40, "h": 30}
    meta["frames"][2] |= {"camera_angle_x": 2 * math.atan(WIDTH / 2 / 33.0)}
    del meta["fl_y"]
    write_json(tmp_path / "transforms.json", meta)
    write_photo(tmp_path / "images/v001.png", views[1].color, (40, 30))
    scene = load_capture(tmp_path)
    np.testing.assert_allclose(scene.cameras.focal_px.numpy(), [[40, 40], [55, 44], [33, 33]], rtol=1e-6)
    assert scene.cameras.principal_px.tolist() == [[24, 16], [20, 10], [24, 16]]
    assert scene.cameras.size_px.tolist() == [[48, 32], [40, 30], [48, 32]]


def test_blender_scenes(tmp_path):
    """camera_angle_x alone, no suffix, no size, straight alpha, a file for each split."""
    angle = 0.8
    views = ring(6)
    for split, part in (("train", views[:3]), ("val", views[3:4]), ("test", views[4:])):
        frames = [{"file_path": f"./{split}/{v.name[:-4]}", "transform_matrix": opengl_matrix(v.camera_from_world)}
                  for v in part]  # fmt: skip
        write_json(tmp_path / f"transforms_{split}.json", {"camera_angle_x": angle, "frames": frames})
        for view in part:
            pixels = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
            pixels[4:20, 8:30] = (*view.color, 255)
            pixels[20:24, 8:30] = (*view.color, 100)
            (tmp_path / split).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / split / view.name)
    scene = load_capture(tmp_path)
    assert names(scene, scene.train_indices) == ["train/v000.png", "train/v001.png", "train/v002.png"]
    assert names(scene, scene.test_indices) == ["test/v004.png", "test/v005.png"]
    assert scene.has_alpha
    np.testing.assert_allclose(scene.cameras.focal_px.numpy(), WIDTH / 2 / math.tan(angle / 2), rtol=1e-6)
    assert scene.photos[0].alpha[5, 10] == 255 and scene.photos[0].alpha[22, 10] == 100
    assert scene.photos[0].pixels[22, 10].tolist() == list(views[4].color)
    assert scene.up_world.tolist() == [0, 0, 1]
    assert scene.points is None
    assert inspect_capture(tmp_path).format == "transforms_train.json + transforms_test.json"


def test_val_is_held_out_where_there_is_no_test(tmp_path):
    views = ring(4)
    write_photos(tmp_path / "images", views)
    write_json(tmp_path / "transforms_train.json", transforms_meta(views[:3]))
    write_json(tmp_path / "transforms_val.json", transforms_meta(views[3:]))
    scene = load_capture(tmp_path)
    assert names(scene, scene.test_indices) == ["v003.png"]


def test_a_photo_in_both_split_files_stays_held_out(tmp_path):
    views = ring(4)
    write_photos(tmp_path / "images", views)
    write_json(tmp_path / "transforms_train.json", transforms_meta(views))
    write_json(tmp_path / "transforms_test.json", transforms_meta(views[3:]))
    scene = load_capture(tmp_path)
    assert names(scene, scene.test_indices) == ["v003.png"]
    assert len(scene.photos) == 4
    assert "skipped images/v003.png: is named twice" in scene.warnings


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["images/none.png"], "train_filenames names none of its frames; correct or remove it"),
        ([1, 2], "train_filenames is no list of paths; correct or remove it"),
    ],
)
def test_names_for_training_that_leave_nothing_are_named(tmp_path, names, message):
    transforms_capture(tmp_path, ring(3), train_filenames=names)
    with pytest.raises(InputError, match=rf"{tmp_path}/transforms\.json: {message}"):
        load_capture(tmp_path)


def test_splits_named_in_the_file(tmp_path):
    views = ring(6)
    meta = transforms_capture(tmp_path, views)
    paths = [frame["file_path"] for frame in meta["frames"]]
    meta |= {"train_filenames": paths[:3], "test_filenames": ["./" + paths[4]], "val_filenames": [paths[5]]}
    write_json(tmp_path / "transforms.json", meta)
    scene = load_capture(tmp_path)
    assert names(scene, scene.train_indices) == ["v000.png", "v001.png", "v002.png"]
    assert names(scene, scene.test_indices) == ["v004.png"]
    assert len(scene.photos) == 4


def test_a_photo_named_for_both_is_only_tested(tmp_path):
    views = ring(3)
    meta = transforms_capture(tmp_path, views)
    paths = [frame["file_path"] for frame in meta["frames"]]
    write_json(tmp_path / "transforms.json", {**meta, "train_filenames": paths, "test_filenames": paths[:1]})
    scene = load_capture(tmp_path)
    assert names(scene, scene.train_indices) == ["v001.png", "v002.png"]
    assert scene.warnings[0].startswith("1 photos are named for training and for testing")


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({}, ("PINHOLE", True)),
        ({"k1": 0.1}, ("OPENCV", False)),
        ({"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}, ("OPENCV", True)),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, ("SIMPLE_RADIAL", False)),
        ({"camera_model": "SIMPLE_PINHOLE"}, ("SIMPLE_PINHOLE", True)),
        ({"camera_model": "OPENCV_FISHEYE"}, ("OPENCV_FISHEYE", False)),
        ({"is_fisheye": True, "k1": 0.01}, ("OPENCV_FISHEYE", False)),
        ({"is_fisheye": False}, ("PINHOLE", True)),
    ],
)
def test_camera_models(tmp_path, top, expected):
    model, is_pinhole = expected
    transforms_capture(tmp_path, ring(3), **top)
    assert inspect_capture(tmp_path).camera_models == {model: 3}
    scene = load_capture(tmp_path)
    photo = scene.photos[0].pixels
    assert (photo == photo[0, 0]).all() == (is_pinhole or scene.photos[0].valid is None)
    assert scene.cameras.focal_px[0].tolist() == [FOCAL, FOCAL]


def test_every_coefficient_counts(tmp_path):
    """Each of k1..k4, p1, p2 moves the picture."""
    view = ring(1)
    ramp = np.stack(np.broadcast_arrays(np.arange(WIDTH) * 5, np.arange(HEIGHT)[:, None] * 7, 0), -1).astype(np.uint8)
    seen = []
    for top in ({}, *({key: 0.3} for key in ("k1", "k2", "k3", "k4")), {"p1": 0.05}, {"p2": 0.05}):
        transforms_capture(tmp_path, view, camera_model="OPENCV", **top)
        Image.fromarray(ramp).save(tmp_path / "images/v000.png")
        seen.append(load_capture(tmp_path).photos[0].pixels.numpy().tobytes())
    assert len(set(seen)) == len(seen)


def test_unsupported_models_name_the_supported_ones(tmp_path):
    transforms_capture(tmp_path, camera_model="MAGIC")
    with pytest.raises(InputError, match="model MAGIC is not supported; supported are .*OPENCV_FISHEYE"):
        load_capture(tmp_path)


@pytest.mark.parametrize("written", ["v001", "v001.PNG", "v001.jpg", "./images/v001.png", "images\\v001.png"])
def test_paths_as_tools_write_them(tmp_path, written):
    views = ring(3)
    meta = transforms_capture(tmp_path, views)
    meta["frames"][1]["file_path"] = written
    write_json(tmp_path / "transforms.json", meta)
    assert_paired(load_capture(tmp_path), views, [view.name for view in views])


def test_masks_are_named_by_the_frame(tmp_path):
    meta = transforms_capture(tmp_path, ring(3))
    keep = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    keep[:10] = 255
    (tmp_path / "m").mkdir()
    Image.fromarray(keep).save(tmp_path / "m/some.png")
    meta["frames"][1]["mask_path"] = "m/some.png"
    meta["frames"][2]["mask_path"] = "m/none.png"
    write_json(tmp_path / "transforms.json", meta)
    scene = load_capture(tmp_path)
    np.testing.assert_array_equal(scene.photos[1].valid.numpy(), keep > 0)
    assert scene.photos[0].valid is None
    assert scene.warnings[1].endswith("its mask 'm/none.png' is missing")


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_points_of_the_file(tmp_path, kind):
    transforms_capture(tmp_path, ply_file_path="cloud.ply", applied_transform=np.eye(4)[[0, 2, 1]].tolist())
    write_ply(tmp_path / "cloud.ply", kind=kind)
    scene = load_capture(tmp_path)
    means = scene.capture_from_scene.apply(scene.points.means_world.double())
    np.testing.assert_allclose(means.numpy(), [xyz for xyz, _ in POINTS], atol=1e-5)
    assert scene.points.colors.tolist() == [list(rgb) for _, rgb in POINTS]


def test_points_of_the_colmap_model_follow_applied_transform(tmp_path):
    applied = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 5]]
    views = ring(3)
    transforms_capture(tmp_path, views, applied_transform=applied)
    write_colmap(tmp_path / "colmap/sparse/0", views)
    scene = load_capture(tmp_path)
    means = scene.capture_from_scene.apply(scene.points.means_world.double()).numpy()
    np.testing.assert_allclose(means, [(x, z, 5 - y) for (x, y, z), _ in POINTS], atol=1e-5)


def test_a_missing_point_file_is_said(tmp_path):
    transforms_capture(tmp_path, ply_file_path="cloud.ply")
    scene = load_capture(tmp_path)
    assert scene.points is None
    assert "transforms.json: ply_file_path 'cloud.ply' is missing; training starts without its points" in scene.warnings


BAD_FRAMES = {
    "nan": (lambda f: f["transform_matrix"][0].__setitem__(0, float("nan")), "its pose is not finite"),
    "infinity": (lambda f: f["transform_matrix"][1].__setitem__(3, float("inf")), "its pose is not finite"),
    "scaled": (lambda f: f["transform_matrix"][0].__setitem__(0, 7.0), "its rotation is scaled or skewed"),
    "mirrored": (
        lambda f: [row.__setitem__(0, -row[0]) for row in f["transform_matrix"]],
        "its rotation is mirrored",
    ),
    "short": (lambda f: f["transform_matrix"].pop(0) and f["transform_matrix"].pop(0), "no 4x4 matrix of numbers"),
    "text": (lambda f: f["transform_matrix"][0].__setitem__(0, "1.0"), "no 4x4 matrix of numbers"),
    "huge": (lambda f: f["transform_matrix"][0].__setitem__(0, 10**400), "no 4x4 matrix of numbers"),
    "last row": (lambda f: f["transform_matrix"][3].__setitem__(0, 1.0), "last row of transform_matrix"),
    "no matrix": (lambda f: f.pop("transform_matrix"), "no 4x4 matrix of numbers"),
    "no path": (lambda f: f.pop("file_path"), "file_path is None, expected a path"),
    "focal": (lambda f: f.__setitem__("fl_x", float("nan")), "fl_x is nan, expected a finite number"),
    "negative focal": (lambda f: f.__setitem__("fl_x", -5), "its focal length is -5"),
    "focal as text": (lambda f: f.__setitem__("fl_x", "40"), "fl_x is '40', expected a finite number"),
    "width": (lambda f: f.__setitem__("w", 47.5), "expected whole pixels"),
    "missing": (lambda f: f.__setitem__("file_path", "images/none.png"), "the photo is missing"),
}


@pytest.mark.parametrize("fault", BAD_FRAMES)
def test_a_bad_frame_is_skipped_by_name(tmp_path, fault):
    views = ring(4)
    meta = transforms_capture(tmp_path, views)
    change, reason = BAD_FRAMES[fault]
    change(meta["frames"][1])
    write_json(tmp_path / "transforms.json", meta)
    scene = load_capture(tmp_path)
    assert_paired(scene, views, ["v000.png", "v002.png", "v003.png"])
    assert scene.warnings[0] == "1 of 4 frames were skipped"
    assert reason in scene.warnings[1]
    name = {"no path": "frames[1]", "missing": "images/none.png"}.get(fault, "images/v001.png")
    assert scene.warnings[1].startswith(f"skipped {name}: ")


def test_a_frame_that_is_no_object_is_skipped(tmp_path):
    views = ring(3)
    meta = transforms_capture(tmp_path, views)
    write_json(tmp_path / "transforms.json", {**meta, "frames": [5, *meta["frames"]]})
    scene = load_capture(tmp_path)
    assert_paired(scene, views)
    assert scene.warnings[1].startswith("skipped frames[0]: is no object")


def test_a_photo_named_twice_is_used_once(tmp_path):
    views = ring(3)
    meta = transforms_capture(tmp_path, views)
    write_json(tmp_path / "transforms.json", {**meta, "frames": [*meta["frames"], meta["frames"][0]]})
    scene = load_capture(tmp_path)
    assert_paired(scene, views, [view.name for view in views])
    assert "skipped images/v000.png: is named twice" in scene.warnings


BROKEN_FILES = {
    "cut off": '{"frames": [{"file_path":',
    "no object": "[1, 2]",
    "no frames": '{"w": 4}',
    "empty frames": '{"frames": []}',
    "frames of another kind": '{"frames": {"a": 1}}',
    "duplicate key": '{"fl_x": 1, "fl_x": 2, "frames": []}',
    "deep": "[" * 200_000 + "]" * 200_000,
    "not text": "\x80",
    "many digits": '{"frames": [], "w": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_broken_files_are_named(tmp_path, kind):
    transforms_capture(tmp_path)
    (tmp_path / "transforms.json").write_bytes(BROKEN_FILES[kind].encode("latin-1"))
    with pytest.raises(InputError, match=r"transforms\.json: ") as caught:
        load_capture(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_focal_length_says_what_to_add(tmp_path):
    transforms_capture(tmp_path, fl_x=None, fl_y=None)
    with pytest.raises(InputError, match="has no focal length; add fl_x"):
        load_capture(tmp_path)


def test_smaller_copies_are_used_when_they_fit_exactly(tmp_path):
    views = ring(3)
    transforms_capture(tmp_path, views)
    for view in views:
        write_photo(tmp_path / "images_2" / view.name, (9, 9, 9), (WIDTH // 2, HEIGHT // 2))
    scene = load_capture(tmp_path, downscale=2)
    assert scene.photos[0].pixels[0, 0].tolist() == [9, 9, 9]
    assert scene.photos[0].name == "images/v000.png"
    assert scene.cameras.focal_px[0].tolist() == [20, 20]


def test_a_byte_order_mark_is_read_over(tmp_path):
    transforms_capture(tmp_path, ring(3))
    path = tmp_path / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_capture(tmp_path).photos) == 3


def test_the_same_name_in_two_folders_stays_two_photos(tmp_path):
    views = [renamed(view, f"{folder}/0001.png") for view, folder in zip(ring(3), "abc", strict=True)]
    transforms_capture(tmp_path, views)
    assert_paired(load_capture(tmp_path), views, ["a/0001.png", "b/0001.png", "c/0001.png"])
