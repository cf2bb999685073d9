"""Metres: positions on the Earth, alignments that ignore what is wrong, control points, and world.json."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.capture import load_capture
from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.control_points import nearest_to_rays, read_control_points
from neural3d.capture.georeference.geodesy import east_north_up, geocentric, geographic, middle_fix
from neural3d.capture.georeference.gps import gps_references
from neural3d.capture.georeference.place import Placed, place_capture
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.georeference.robust_fit import fit_robustly
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.state import PreparedPhoto, State, save_state
from neural3d.errors import InputError

VIEWS, SIZE, FOCAL = 10, (64, 48), 60.0
UP = np.array([0.0, 0.0, 1.0])
SCALE = 2.5
"""Metres in a unit of the capture."""
BERLIN = np.array([52.5163, 13.3777, 38.0])


def _rotation(seed: int) -> np.ndarray:
    left, _, right = np.linalg.svd(np.random.default_rng(seed).normal(size=(3, 3)))
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right


def _centers(count: int = VIEWS) -> np.ndarray:
    """Around the scene, at heights that differ."""
    angles = np.arange(count) * 2 * np.pi / count
    return np.stack([4 * np.cos(angles), 3 * np.sin(angles), 1 + np.sin(3 * angles)], axis=1)


def _metres(points: np.ndarray) -> np.ndarray:
    """The truth: the capture's frame, turned by 30 degrees about its z axis and SCALE times as large."""
    turn = np.radians(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return SCALE * points @ rotation.T


def _fix_at(metres: np.ndarray) -> np.ndarray:
    """The fix that lies there, by Newton's method on what is tested."""
    fix = BERLIN.copy()
    for _ in range(5):
        east, north, up = metres - east_north_up(fix[None], BERLIN)[0]
        fix += [north / 111_270, east / (111_320 * np.cos(np.radians(fix[0]))), up]
    return fix


def _exif(fix: np.ndarray) -> Image.Exif:
    def parts(angle: float) -> tuple[float, float, float]:
        degrees = int(abs(angle))
        return float(degrees), 0.0, (abs(angle) - degrees) * 3600

    exif = Image.Exif()
    exif[34853] = {
        1: "N" if fix[0] >= 0 else "S",
        2: parts(fix[0]),
        3: "E" if fix[1] >= 0 else "W",
        4: parts(fix[1]),
        5: b"\0",
        6: float(fix[2]),
    }
    return exif


def _poses() -> np.ndarray:
    """camera_from_world of cameras that look at the origin, upright."""
    poses = []
    for center in _centers():
        forward = -center / np.linalg.norm(center)
        right = np.cross(forward, UP) / np.linalg.norm(np.cross(forward, UP))
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = -pose[:3, :3] @ center
        poses.append(pose)
    return np.array(poses)


def write_capture(folder: Path, fixes: dict[int, np.ndarray] | None = None) -> Path:
    """transforms.json with photos of one grey, which say where they were taken."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for index, pose in enumerate(_poses()):
        exif = {"exif": _exif(fixes[index])} if fixes and index in fixes else {}
        Image.new("RGB", SIZE, (90, 90, 90)).save(folder / f"images/{index:02d}.jpg", **exif)
        matrix = np.linalg.inv(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/{index:02d}.jpg", "transform_matrix": matrix.tolist()})
    lens = {"w": SIZE[0], "h": SIZE[1], "fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE[0] / 2, "cy": SIZE[1] / 2}
    lens |= {"camera_model": "OPENCV", "k1": -0.05}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def _fixes(noise_m: float = 0.0) -> dict[int, np.ndarray]:
    random = np.random.default_rng(5)
    places = _metres(_centers()) + noise_m * random.normal(size=(VIEWS, 3))
    return {index: _fix_at(place) for index, place in enumerate(places)}


def _misses(placed: Placed) -> float:
    """Largest error of the way to metres within the scene, up to where its zero is."""
    points = np.random.default_rng(1).uniform(-3, 3, (50, 3))
    found = placed.world.metres_from_capture.apply(torch.from_numpy(points)).numpy()
    true = _metres(points)
    return float(np.abs((found - found.mean(axis=0)) - (true - true.mean(axis=0))).max())


# The Earth.


def test_positions_on_the_earth():
    """Source: the worked examples of EPSG Guidance Note 7-2, 4.1.1 and 4.1.2."""
    place = np.array([[53 + 48 / 60 + 33.820 / 3600, 2 + 7 / 60 + 46.380 / 3600, 73.0]])
    np.testing.assert_allclose(geocentric(place)[0], [3771793.968, 140253.342, 5124304.349], atol=1e-3)
    np.testing.assert_allclose(
        east_north_up(place, np.array([55.0, 5.0, 200.0]))[0], [-189013.869, -128642.040, -4220.171], atol=1e-3
    )


@pytest.mark.parametrize("latitude", [-90.0, -45.0, 0.0, 53.8, 89.9999, 90.0])
@pytest.mark.parametrize("altitude", [-11_000.0, 0.0, 9000.0])
def test_the_way_back_from_the_earths_centre(latitude, altitude):
    fix = np.array([latitude, -170.25, altitude])
    place = geocentric(fix[None])[0]
    np.testing.assert_allclose(geocentric(geographic(place)[None])[0], place, atol=1e-6)
    assert geographic(place)[2] == pytest.approx(altitude, abs=1e-6)


def test_the_date_line_is_no_border():
    fixes = np.array([[10.0, 179.9999, 5.0], [10.0, -179.9999, 5.0], [10.0001, 180.0, 5.0]])
    apart = east_north_up(fixes, middle_fix(fixes))
    assert np.ptp(apart, axis=0).max() < 25


# Alignment.


@pytest.mark.parametrize("count", [5, 8, 30, 200])
def test_wrong_positions_change_nothing(count):
    """Up to a third of the pairs is anywhere: the fit is to the last bit that of the others."""
    random = np.random.default_rng(count)
    rotation, bad = _rotation(3), np.arange(count) < min(count // 3, count // 2 - 2 + count % 2)
    source = random.normal(size=(count, 3)) * [5, 4, 2]
    target = 0.7 * source @ rotation.T + [100.0, -20.0, 3.0] + 0.01 * random.normal(size=(count, 3))
    target[bad] += random.uniform(20, 3000, (bad.sum(), 3))
    fit, clean = fit_robustly(source, target, UP), fit_robustly(source[~bad], target[~bad], UP)
    assert not fit.used[bad].any()
    if count <= 30:  # of two hundred one or two of the good ones are far, too
        np.testing.assert_array_equal(fit.used, ~bad)
        np.testing.assert_array_equal(fit.rotation, clean.rotation)
        assert fit.scale == clean.scale
    assert abs(fit.scale / 0.7 - 1) < 5 * max(fit.scale_error, 1e-4)
    np.testing.assert_allclose(fit.rotation, rotation, atol=0.02)


def test_exact_positions_are_all_used():
    source = _centers()
    fit = fit_robustly(source, 3.0 * source @ _rotation(1).T + 5.0, UP)
    assert fit.used.all() and fit.scale == pytest.approx(3.0) and fit.scale_error < 1e-8
    np.testing.assert_allclose(fit.rotation, _rotation(1), atol=1e-9)


def test_positions_on_a_line_take_up_from_the_photos():
    """As along a street: the turn about the line is not in them."""
    along = np.linspace(0, 50, 12)[:, None] * [1.0, 0.2, 0.0]
    tilted = _rotation(2)
    source = along @ tilted  # the capture's own axes
    random = np.random.default_rng(0)
    target = 2 * along + 0.5 * random.normal(size=along.shape)
    fit = fit_robustly(source, target, tilted.T @ UP)
    assert fit.is_level
    np.testing.assert_allclose(fit.rotation @ tilted.T @ UP, UP, atol=1e-9)
    assert fit.scale == pytest.approx(2, rel=0.03)
    np.testing.assert_allclose(fit.rotation, tilted, atol=0.03)


def test_the_standard_error_is_as_large_as_the_errors_are():
    """Over many draws of the noise."""
    random, source = np.random.default_rng(0), _centers(11)
    fits = [fit_robustly(source, source + 0.3 * random.normal(size=source.shape), UP) for _ in range(30)]
    spread = np.std([fit.scale for fit in fits])
    assert 0.6 < np.mean([fit.scale_error for fit in fits]) / spread < 1.6


# GPS.


def test_metres_by_gps(tmp_path):
    capture = write_capture(tmp_path / "c", _fixes())
    before = (capture / "transforms.json").read_bytes()
    placed = place_capture(capture)
    assert placed.world.metres_from_capture.scale == pytest.approx(SCALE, rel=1e-5)
    assert _misses(placed) < 1e-3  # EXIF keeps fractions of seconds
    assert placed.num_used == VIEWS and not placed.left_out and not placed.notes
    origin = east_north_up(np.array([placed.world.origin]), BERLIN)[0]
    assert np.linalg.norm(_metres(_centers()) - origin, axis=1).min() < 1e-3  # where a photo was taken
    assert (capture / "transforms.json").read_bytes() == before
    scene = load_capture(capture)
    assert scene.world.source == "10 GPS positions" and scene.world.origin == placed.world.origin
    np.testing.assert_allclose(scene.up_world, [0, 0, 1], atol=1e-4)


def test_one_bad_fix_changes_nothing(tmp_path):
    """A phone that still thinks it is at home."""
    fixes = _fixes(noise_m=0.3)
    without = {index: fix for index, fix in fixes.items() if index != 4}
    away = {**fixes, 4: fixes[4] + [0.02, 0.0, 0.0]}
    clean = place_capture(write_capture(tmp_path / "clean", without))
    odd = place_capture(write_capture(tmp_path / "odd", away))
    assert odd.world.metres_from_capture.scale == clean.world.metres_from_capture.scale
    assert torch.equal(odd.world.metres_from_capture.rotation, clean.world.metres_from_capture.rotation)
    assert torch.equal(odd.world.metres_from_capture.translation, clean.world.metres_from_capture.translation)
    assert odd.left_out.keys() == {"images/04.jpg"} and odd.left_out["images/04.jpg"] == pytest.approx(2225, rel=0.01)
    assert "left out: images/04.jpg" in "\n".join(odd.lines())
    assert abs(odd.world.metres_from_capture.scale / SCALE - 1) < 4 * odd.world.scale_error < 0.2


def test_positions_that_an_ingest_noted(tmp_path):
    """Converted photos have no EXIF, and views of one panorama are one position."""
    capture, fixes = write_capture(tmp_path / "c"), _fixes()
    photos = [
        PreparedPhoto(f"{index:02d}.jpg", "", "", gps=tuple(fixes[index].tolist()), rig="r" if index < 2 else "")
        for index in range(VIEWS)
    ]
    save_state(capture, State(Settings(), False, tuple(photos)))
    assert len(gps_references(list_capture(capture)).names) == VIEWS
    assert place_capture(capture).world.metres_from_capture.scale == pytest.approx(SCALE, rel=1e-6)


def test_real_photos_say_where_they_were_taken():
    """OpenSfM's own example, whose reconstruction was aligned by GPS: a unit is about a metre."""
    import os

    folder = Path(os.environ.get("NEURAL3D_DATA", "")) / "opensfm_berlin"
    if not os.environ.get("NEURAL3D_DATA") or not folder.is_dir():
        pytest.skip("NEURAL3D_DATA names no folder with opensfm_berlin")
    references = gps_references(list_capture(folder))
    assert len(references.names) == 3
    assert np.abs(references.measured[:, :2] - [52.5192, 13.4007]).max() < 0.001


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fixes: {}, "0 photos with a pose have GPS positions, 3 are needed; measure control points"),
        (lambda fixes: dict(list(fixes.items())[:2]), "2 photos with a pose have GPS positions"),
        (lambda fixes: dict.fromkeys(fixes, BERLIN), "of 10 GPS positions, all positions are one"),
        (lambda fixes: {i: _fix_at(8 * np.random.default_rng(i).normal(size=3)) for i in fixes}, "too little to tell"),
    ],
)
def test_positions_that_say_nothing(tmp_path, change, message):
    capture = write_capture(tmp_path / "c", change(_fixes()))
    with pytest.raises(InputError, match=message):
        place_capture(capture)
    assert not (capture / "world.json").exists()


# Control points.

POINTS = {
    "corner a": (0.5, 0.2, 0.1),
    "b": (-0.4, 0.6, 0.3),
    "c": (0.1, -0.5, 0.4),
    "d": (0.3, 0.3, -0.3),
    "e": (0, 0, 0.6),
}


def _sightings(views=(0, 3, 5), shift: tuple[float, float, float] = (0, 0, 0)) -> list[str]:
    """Lines of a file, by a lens with k1 = -0.05."""
    lines = ["# measured by tape", "name, x, y, z, photo, u, v"]
    for name, point in POINTS.items():
        x, y, z = _metres(np.array([point]))[0] + shift
        for view in views:
            pose = _poses()[view]
            seen = pose[:3, :3] @ point + pose[:3, 3]
            plane = seen[:2] / seen[2]
            u, v = plane * (1 - 0.05 * plane @ plane) * FOCAL + np.array(SIZE) / 2
            lines.append(f"{name}, {x:.9f}, {y:.9f}, {z:.9f}, {view:02d}.jpg, {u:.9f}, {v:.9f}")
    return lines


@pytest.mark.parametrize("shift", [(0, 0, 0), (392_000, 5_820_000, 34)])
def test_metres_by_points_seen_in_photos(tmp_path, shift):
    """Through the lens; coordinates of a country become those of a place."""
    (tmp_path / "gcp.csv").write_text("\n".join(_sightings(shift=shift)))
    placed = place_capture(write_capture(tmp_path / "c"), tmp_path / "gcp.csv")
    assert _misses(placed) < 1e-4 and placed.num_used == 5
    way = placed.world.metres_from_capture
    point = way.apply(torch.tensor([POINTS["b"]], dtype=torch.float64))[0].numpy()
    np.testing.assert_allclose(point + placed.world.origin, _metres(np.array([POINTS["b"]]))[0] + shift, atol=1e-4)
    assert np.abs(point).max() < 200
    assert placed.world.origin == (0, 0, 0) if shift[0] == 0 else placed.world.origin == (392_000, 5_820_000, 0)


def test_metres_by_where_cameras_stood(tmp_path):
    """Parted by spaces, without a header; one place was measured wrongly, one photo has no pose."""
    lines = [f"{index:02d}.jpg {x} {y} {z}" for index, (x, y, z) in enumerate(_metres(_centers()).tolist())]
    lines[7] = "07.jpg 40 40 0"
    (tmp_path / "gcp.txt").write_text("\n".join([*lines, "lost.jpg 1 2 3", ""]))
    placed = place_capture(write_capture(tmp_path / "c"), tmp_path / "gcp.txt")
    assert _misses(placed) < 1e-9
    assert placed.left_out.keys() == {"07.jpg"} and placed.num_used == VIEWS - 1
    assert "lost.jpg: no photo of this name has a pose" in placed.notes[0]


def test_a_wrong_click_spoils_its_point_alone(tmp_path):
    lines = _sightings()
    row = next(i for i, line in enumerate(lines) if line.startswith("c,"))
    lines[row] = lines[row].rpartition(",")[0] + ", 3.5"
    (tmp_path / "gcp.csv").write_text("\n".join(lines))
    placed = place_capture(write_capture(tmp_path / "c"), tmp_path / "gcp.csv")
    assert placed.left_out.keys() == {"c"} and _misses(placed) < 1e-4


def test_the_point_that_rays_meet_in():
    """Of rays that miss each other the near camera's counts more: it errs by less."""
    point = np.array([1.0, 2.0, 3.0])
    centers = np.array([[0.0, 0, 0], [5.0, 0, 0], [0, 9.0, -4.0]])
    directions = (point - centers) / np.linalg.norm(point - centers, axis=1, keepdims=True)
    np.testing.assert_allclose(nearest_to_rays(centers, directions), point, atol=1e-12)
    near, far = np.array([0.0, 0, 0]), np.array([0.0, 0.0, -100.0])
    found = nearest_to_rays(np.array([near, far]), np.array([[1.0, 0, 0], [0.6, 0.0, 0.8]]))
    assert abs(found[2]) < 1e-2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no control points; a line is name, x, y, z"),
        ("a, 1, 2", "line 1 has 3 fields, expected name, x, y, z"),
        ("a,1,2,3,p.jpg,4", "line 1 has 6 fields"),
        (",1,2,3", "line 1 has 4 fields"),
        ("a,1,2,3\nb,1,zwei,3", "line 2: y is 'zwei', expected a number"),
        ("a,1,2,nan", "line 1: z is 'nan'"),
        ("a,1,2,1e400", "line 1: z is '1e400'"),
        ("a,1,2,3,00.jpg,4,5\na,1,2,4,01.jpg,4,5", "line 2 places a elsewhere than line 1"),
        ("a,1,2,3,00.jpg,4,99\na,1,2,3,01.jpg,4,5", "line 1: 4, 99 is not in 00.jpg .64 x 48"),
        ("a,1,2,3\nb,2,3,4", r"0 of its points can be used, 3 are needed .a: no photo of this name"),
        ("a,1,2,3,00.jpg,4,5", "0 of its points can be used.*1 of the photos that show it have a pose"),
        ("\n".join(f"{i:02d}.jpg,1,2,3" for i in range(5)), "of 5 control points, all positions are one"),
    ],
)
def test_bad_control_points(tmp_path, text, message):
    (tmp_path / "gcp.csv").write_text(text)
    capture = write_capture(tmp_path / "c")
    with pytest.raises(InputError, match=rf"gcp.csv: .*{message}"):
        place_capture(capture, tmp_path / "gcp.csv")
    assert not (capture / "world.json").exists()


def test_fields_may_be_parted_in_four_ways(tmp_path):
    for separator in (",", ";", "\t", " "):
        (tmp_path / "gcp").write_text(separator.join(["p1", "1", "-2.5e1", ".5"]) + "  # a comment\n")
        assert read_control_points(tmp_path / "gcp")[0].position == (1, -25, 0.5)


# world.json.


def test_poses_that_have_changed_leave_it_out(tmp_path):
    capture = write_capture(tmp_path / "c", _fixes())
    place_capture(capture)
    content = json.loads((capture / "transforms.json").read_text())
    content["frames"].pop(0)
    (capture / "transforms.json").write_text(json.dumps(content))
    assert list_capture(capture).world is not None  # one photo less is no other world
    for frame in content["frames"]:
        frame["transform_matrix"][0][3] *= 1.001
    (capture / "transforms.json").write_text(json.dumps(content))
    listing = list_capture(capture)
    assert listing.world is None and "world.json was made for other poses" in listing.notes[-1]
    with pytest.raises(InputError, match=r"world.json: is there already; replace it with --overwrite"):
        place_capture(capture)
    place_capture(capture, overwrite=True)
    assert list_capture(capture).world is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 9}, "not a world.json of version 1"),
        ({"metres_from_capture": None}, "not as it was written"),
        (
            {"metres_from_capture": {"scale": -1, "rotation": np.eye(3).tolist(), "translation": [0, 0, 0]}},
            "similarity",
        ),
        (
            {"metres_from_capture": {"scale": 1, "rotation": np.ones((3, 3)).tolist(), "translation": [0, 0, 0]}},
            "simil",
        ),
        ({"origin": [1, 2]}, "not as it was written"),
        ({"cameras": {"images/00.jpg": [1, 2]}}, "no three coordinates"),
        ({"scale_error": float("nan")}, "not finite"),
    ],
)
def test_a_damaged_world_is_told(tmp_path, change, message):
    capture = write_capture(tmp_path / "c", _fixes())
    path = place_capture(capture).path
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=rf"world.json: .*{message}"):
        list_capture(capture)


def test_where_cameras_stand():
    for pose, center in zip(_poses(), _centers(), strict=True):
        np.testing.assert_allclose(camera_center(pose), center, atol=1e-12)
