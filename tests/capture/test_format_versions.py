"""One program's files by its versions and its projects' kinds: rigs, georeferenced chunks, renamed columns."""

import json
from pathlib import Path

import numpy as np
import pytest

from neural3d.capture.detect import list_capture
from neural3d.errors import InputError

from . import format_writers as writers
from .writers import FOCAL, HEIGHT, WIDTH, ring, write_photos

# Meshroom.


def _meshroom(root: Path, version: str, **intrinsic):
    """Four views; the intrinsic's fields are replaced, those that are None taken away."""
    views = ring(4)
    write_photos(root / "images", views)
    writers.write_meshroom(root, views, version=tuple(version.split(".")))
    path = root / "cameras.sfm"
    content = json.loads(path.read_text())
    record = {**content["intrinsics"][0], **intrinsic}
    content["intrinsics"] = [{key: value for key, value in record.items() if value is not None}]
    path.write_text(json.dumps(content))
    return views


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("none", [], {"radial": ()}),
        ("none", "", {"radial": ()}),
        ("radialk1", ["0.1"], {"radial": (0.1,)}),
        ("radialk3", ["0.1", "0.02", "0.003"], {"radial": (0.1, 0.02, 0.003)}),
        (
            "brown",
            ["0.1", "0.02", "0.003", "0.004", "0.005"],
            {"radial": (0.1, 0.02, 0.003), "tangential": (0.004, 0.005)},
        ),
        ("fisheye", ["0.1", "0.02", "0.003", "0.0004"], {"radial": (0.1, 0.02, 0.003, 0.0004), "fisheye": True}),
    ],
)
def test_meshrooms_distortion_has_a_field_of_its_own(tmp_path, kind, params, expected):
    """Since 1.2.8 the type says pinhole of every lens that is no fisheye's projection."""
    _meshroom(tmp_path, "1.2.8", type="pinhole", distortionType=kind, distortionParams=params, undistortionType="none")
    lens = list_capture(tmp_path).frames[0].lens
    assert {name: getattr(lens, name) for name in expected} == expected
    assert lens.fisheye == (kind == "fisheye")


def test_meshrooms_equidistant_projection(tmp_path):
    """Its own model counts the radius in parts of another: without coefficients there is nothing to count."""
    fields = {"type": "equidistant", "distortionType": "radialk3pt", "distortionParams": ["0", "0", "0"]}
    _meshroom(tmp_path, "1.2.12", **fields)
    lens = list_capture(tmp_path).frames[0].lens
    assert (lens.fisheye, lens.radial) == (True, ())


@pytest.mark.parametrize(
    ("version", "fields", "message"),
    [
        ("1.2.8", {"type": "pinhole", "distortionType": "3declassicld"}, "distortionType '3declassicld' is not"),
        ("1.2.8", {"type": "radial3"}, "camera type 'radial3' is not supported; supported are pinhole, equidistant;"),
        ("1.2.9", {"type": "pinhole", "undistortionType": "3deanamorphic4"}, "undistortionType '3deanamorphic4' is"),
        ("1.2.8", {"type": "pinhole"}, "distortionParams has 3 numbers, its model 'none' reads 0; undistort"),
        ("1.2.7", {"type": "pinhole"}, "distortionParams has 3 numbers, its model 'none' reads 0; undistort"),
        ("1.2.7", {"type": "radial1"}, "distortionParams has 3 numbers, its model 'radialk1' reads 1"),
        ("1.2.8", {"type": "equidistant", "distortionType": "radialk3pt"}, "its model 'radialk3pt' reads 0"),
        ("1.2.8", {"type": "pinhole", "distortionParams": {"k": 1}}, "distortionParams is {'k': 1}, expected 0"),
    ],
)
def test_meshrooms_distortion_that_is_not_read_is_refused(tmp_path, version, fields, message):
    _meshroom(tmp_path, version, **fields)
    with pytest.raises(InputError, match=message) as caught:
        list_capture(tmp_path)
    assert "cameras.sfm" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.3", (FOCAL, FOCAL / 2)),
        ("1.2.5", (FOCAL, FOCAL * 2)),
        ("1.2.10", (FOCAL, FOCAL * 2)),
        ("1.2.11", (FOCAL / 2, FOCAL)),
    ],
)
def test_meshrooms_pixel_ratio_by_version(tmp_path, version, expected):
    _meshroom(tmp_path, version, type="pinhole", distortionParams=None, pixelRatio="2")
    assert list_capture(tmp_path).frames[0].lens.focal_px == pytest.approx(expected)


def _rig(root: Path):
    """Two shots of two cameras that share a pose each, which is the first camera's."""
    views = ring(4)
    write_photos(root / "images", views)
    writers.write_meshroom(root, views)
    content = json.loads((root / "cameras.sfm").read_text())
    content["poses"] = content["poses"][::2]
    for index, view in enumerate(content["views"]):
        shared = content["views"][index - index % 2]["poseId"]
        view |= {"rigId": "55", "subPoseId": str(index % 2), "poseId": shared, "isPoseIndependant": "false"}
    places = [
        {"rotation": [str(v) for v in turn.T.ravel()], "center": [str(v) for v in center]}
        for turn, center in writers.RIG
    ]
    content["rigs"] = [{"rigId": "55", "subPoses": [{"status": "estimated", "pose": place} for place in places]}]
    return views, content


def test_meshrooms_rigs(tmp_path):
    """By hand: a camera stands at the rig's place plus its own, turned as the rig is."""
    views, content = _rig(tmp_path)
    (tmp_path / "cameras.sfm").write_text(json.dumps(content))
    for index, frame in enumerate(list_capture(tmp_path).frames):
        rig, (turn, center) = views[index - index % 2], writers.RIG[index % 2]
        rotation = rig.camera_from_world[:3, :3]
        np.testing.assert_allclose(frame.camera_from_world[:3, :3], turn @ rotation, atol=1e-9)
        placed = -frame.camera_from_world[:3, :3].T @ frame.camera_from_world[:3, 3]
        np.testing.assert_allclose(placed, rig.center + rotation.T @ center, atol=1e-9)


def test_meshrooms_views_with_a_pose_of_their_own(tmp_path):
    """On a rig, and yet not bound to it."""
    views, content = _rig(tmp_path)
    for view in content["views"]:
        del view["isPoseIndependant"]
    (tmp_path / "cameras.sfm").write_text(json.dumps(content))
    for index, frame in enumerate(list_capture(tmp_path).frames):
        np.testing.assert_allclose(frame.camera_from_world, views[index - index % 2].camera_from_world, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("rigs"), "its place 1 on rig 55 is not in the file; save it with extrinsics"),
        (lambda content: content["rigs"][0].update(rigId="56"), "its place 1 on rig 55 is not in the file"),
        (lambda content: content["rigs"][0]["subPoses"].pop(), "its place 1 on rig 55 is not in the file"),
        (lambda content: content["rigs"][0].update(subPoses="x"), "its place 1 on rig 55 is not in the file"),
        (lambda content: content["views"][1].update(subPoseId="-1"), "its place -1 on rig 55 is not in the file"),
        (
            lambda content: content["rigs"][0]["subPoses"][1].update(status="uninitialized"),
            "its place 1 on rig 55 was not estimated",
        ),
        (lambda content: content["rigs"][0]["subPoses"].__setitem__(1, 3), "its place 1 on rig 55 was not estimated"),
        (lambda content: content["rigs"][0]["subPoses"][1]["pose"].pop("center"), "center is None, expected 3"),
    ],
)
def test_meshrooms_rigs_that_are_damaged(tmp_path, change, reason):
    _, content = _rig(tmp_path)
    own = {**content["views"][3], "isPoseIndependant": "true"}
    content["views"][3] = own
    change(content)
    (tmp_path / "cameras.sfm").write_text(json.dumps(content))
    listing = list_capture(tmp_path)
    reasons = {Path(entry.name.replace("\\", "/")).name: entry.reason for entry in listing.skipped}
    assert reasons["v001.png"].startswith(reason)
    assert "images/v003.png" in [frame.name for frame in listing.frames]


# RealityCapture, RealityScan.

_FIRST = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"


def _realitycapture(root: Path, header: str = _FIRST, before: str = ""):
    views = ring(4)
    write_photos(root / "images", views)
    writers.write_realitycapture(root, views)
    path = root / "registration.csv"
    path.write_text(before + path.read_text().replace(_FIRST, header, 1))
    return views, path


@pytest.mark.parametrize("before", ["", "#cameras 4\n", "#cameras\t4\n\n"])
@pytest.mark.parametrize(
    "header",
    [
        "#name,x,y,alt,yaw,pitch,roll,f_35mm,px_norm,py_norm,k1,k2,k3,k4,t1,t2",
        "#name,x,y,alt,yaw,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2",
        "#Name, X, Y, Alt, Heading, Pitch, Roll, f, px, py, k1, k2, k3, k4, t1, t2",
        _FIRST,
    ],
)
def test_realityscans_columns_by_other_names(tmp_path, header, before):
    """The folder alone, too: it is found by its columns."""
    views, _ = _realitycapture(tmp_path, header, before)
    for frame, view in zip(list_capture(tmp_path).frames, views, strict=True):
        np.testing.assert_allclose(frame.camera_from_world, view.camera_from_world, atol=1e-9)
        assert frame.lens.principal_px == pytest.approx((24.48, 15.04))
        assert frame.lens.focal_px == pytest.approx((FOCAL, FOCAL))


def test_realitycapture_without_a_principal_point(tmp_path):
    """The columns are a template that people change."""
    views, path = _realitycapture(tmp_path)
    rows = [line.split(",")[:8] for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(row) for row in rows))
    frames = list_capture(tmp_path).frames
    assert len(frames) == len(views)
    assert (frames[0].lens.principal_px, frames[0].lens.is_pinhole) == ((WIDTH / 2, HEIGHT / 2), True)


def test_realitycapture_with_an_angle_by_two_names(tmp_path):
    _, path = _realitycapture(tmp_path, _FIRST.replace("k4", "yaw"))
    with pytest.raises(InputError, match=r"registration.csv: the columns heading are there twice, .*keep one of each"):
        list_capture(path)


def _moved(path: Path, scale: float, shift, lift: float) -> None:
    """Places of the CSV: scaled across, moved, each camera some higher than the one before."""
    head, *rows = path.read_text().splitlines()
    for number, row in enumerate(rows):
        name, *values = row.split(",")
        places = np.array(values[:3], dtype=float) * (scale, scale, 1) + shift + (0, 0, lift * number)
        rows[number] = ",".join([name, *map(repr, places.tolist()), *values[3:]])
    path.write_text("\n".join([head, *rows]))


@pytest.mark.parametrize("shift", [(14.42, 50.09, 230.0), (-0.1, 51.5, 30.0), (-68.2, -16.5, 3600.0)])
def test_realitycapture_in_degrees(tmp_path, shift):
    _, path = _realitycapture(tmp_path)
    _moved(path, 1e-5, shift, 0.1)
    message = r"registration.csv: x and y look like degrees .*; export the registration again with .* Local Euclidean"
    with pytest.raises(InputError, match=message):
        list_capture(tmp_path)


@pytest.mark.parametrize(
    ("scale", "shift", "lift"),
    [(0.01, (14.0, 50.0, 0.0), 0.02), (1e-3, (0.0, 0.0, 0.0), 1.0), (1.0, (5e5, 5.5e6, 90.0), 0.1)],
)
def test_realitycapture_in_metres(tmp_path, scale, shift, lift):
    """A small thing in its grid, a pole in the middle, a scene in UTM."""
    views, path = _realitycapture(tmp_path)
    _moved(path, scale, shift, lift)
    assert len(list_capture(tmp_path).frames) == len(views)


# Formats without names.


def _numbered(root: Path, write) -> dict[str, np.ndarray]:
    """Photos called 0 to 11; `write` gets the views in the order that the format has them in."""
    views = [writers.View(f"{i}.png", view.color, view.camera_from_world) for i, view in enumerate(ring(12))]
    write_photos(root / "images", views)
    write(root, views)
    return {f"images/{view.name}": view.camera_from_world for view in views}


def test_llffs_rows_go_by_names_as_text(tmp_path):
    """LLFF sorts by numpy's argsort of names, and all who read it by sorted(os.listdir())."""
    poses = _numbered(tmp_path, lambda root, views: writers.write_llff(root, sorted(views, key=lambda v: v.name)))
    listing = list_capture(tmp_path)
    for frame in listing.frames:
        np.testing.assert_allclose(frame.camera_from_world, poses[frame.name], atol=1e-9)
    assert any("names as text (10 before 2)" in note for note in listing.notes)


def test_open3ds_poses_go_by_number(tmp_path):
    poses = _numbered(tmp_path, writers.write_open3d_json)
    for frame in list_capture(tmp_path).frames:
        np.testing.assert_allclose(frame.camera_from_world, poses[frame.name], atol=1e-9)


# Polycam, Record3D.


def _polycam_without_sizes(root: Path):
    views = ring(4, suffix=".jpg")
    writers.write_polycam(root, views)
    for path in (root / "keyframes/corrected_cameras").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({key: record[key] for key in record.keys() - {"width", "height"}}))
    return views


def test_polycams_refined_cameras_without_a_size(tmp_path):
    """Since 2025 they have none: the photo beside them says it."""
    views = _polycam_without_sizes(tmp_path)
    frames = list_capture(tmp_path).frames
    assert len(frames) == len(views)
    lens = frames[0].lens
    assert (lens.width, lens.height, lens.principal_px) == (WIDTH, HEIGHT, (WIDTH / 2, HEIGHT / 2))


def test_polycams_cameras_of_another_size(tmp_path):
    views = _polycam_without_sizes(tmp_path)
    write_photos(tmp_path / "keyframes/corrected_images", views[:1], (4 * WIDTH, 4 * HEIGHT))
    listing = list_capture(tmp_path)
    assert len(listing.frames) == len(views) - 1
    assert "width and height are missing; export the raw data from Polycam again" in listing.skipped[0].reason


def _record3d(root: Path, coefficients) -> None:
    views = [writers.View(f"{i}.jpg", view.color, view.camera_from_world) for i, view in enumerate(ring(4))]
    write_photos(root / "rgb", views)
    writers.write_record3d(root, views)
    path = root / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "perFrameIntrinsicCoeffs": coefficients}))


def test_record3ds_frames_have_intrinsics_of_their_own(tmp_path):
    """Phones focus while they film."""
    _record3d(tmp_path, [[30.0 + i, 31.0 + i, 23.0 + i, 15.0 + i] for i in range(4)])
    listing = list_capture(tmp_path)
    lenses = [frame.lens for frame in listing.frames]
    assert [lens.focal_px for lens in lenses] == [(30.0 + i, 31.0 + i) for i in range(4)]
    assert [lens.principal_px for lens in lenses] == [(23.0 + i, 15.0 + i) for i in range(4)]
    assert listing.notes == ()


@pytest.mark.parametrize(
    ("coefficients", "notes"),
    [
        (None, ()),
        ([], ()),
        ([[1, 2, 3, 4]] * 3, ("perFrameIntrinsicCoeffs has 3 entries for 4 poses and is left out: all frames have",)),
        ({"0": 1}, ("perFrameIntrinsicCoeffs has no list for 4 poses and is left out",)),
    ],
)
def test_record3ds_frames_share_k_where_the_list_does_not_fit(tmp_path, coefficients, notes):
    _record3d(tmp_path, coefficients)
    listing = list_capture(tmp_path)
    assert {frame.lens.focal_px for frame in listing.frames} == {(FOCAL, FOCAL)}
    assert len(listing.notes) == len(notes)
    assert all(note.startswith(start) for note, start in zip(listing.notes, notes, strict=True))


@pytest.mark.parametrize("broken", [[1, 2, 3], None, [1, 2, 3, "x"], [0, 0, 1, 1]])
def test_record3ds_frame_with_broken_intrinsics(tmp_path, broken):
    _record3d(tmp_path, [[30, 30, 24, 16], broken, [30, 30, 24, 16], [30, 30, 24, 16]])
    listing = list_capture(tmp_path)
    assert [entry.name for entry in listing.skipped] == ["rgb/1.jpg"]
    assert "perFrameIntrinsicCoeffs" in listing.skipped[0].reason or "focal length is 0" in listing.skipped[0].reason


# VisualSFM, Bundler.


def test_nvm_with_a_fixed_calibration(tmp_path):
    views = ring(4)
    write_photos(tmp_path / "images", views)
    writers.write_nvm(tmp_path, views)
    path = tmp_path / "model.nvm"
    path.write_text(path.read_text().replace("NVM_V3 ", "NVM_V3 FixedK 40 20 40 12", 1))
    listing = list_capture(tmp_path)
    assert listing.frames[0].lens.principal_px == (WIDTH / 2, HEIGHT / 2)
    (note,) = listing.notes
    assert "of which nothing is read" in note
    assert "the middle of each photo for cx, cy" in note


@pytest.mark.parametrize("line", ["{}", "{} 0 40.0", "./{} 0", "{} 48 32", "  {}\t0 4e1  "])
@pytest.mark.parametrize("name", ["a 1.png", "shot 2 of 3 .png", "5.png", "v.png"])
def test_bundlers_photos_with_spaces_in_their_names(tmp_path, line, name):
    views = ring(4)
    views[1] = writers.View(name, views[1].color, views[1].camera_from_world)
    write_photos(tmp_path / "images", views)
    writers.write_bundler(tmp_path, views)
    (tmp_path / "list.txt").write_text("\n".join(line.format(view.name) for view in views))
    frames = {frame.name: frame.camera_from_world for frame in list_capture(tmp_path).frames}
    assert len(frames) == 4
    np.testing.assert_allclose(frames[f"images/{name}"], views[1].camera_from_world, atol=1e-9)
