"""What other programs write: files written from known poses, one scene in three formats, and every way to be broken."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from neural3d.capture import load_capture
from neural3d.capture.alignment import camera_difference
from neural3d.capture.detect import list_capture
from neural3d.capture.formats.realitycapture import rotation_from_angles
from neural3d.capture.formats.registry import FORMATS
from neural3d.errors import InputError

from . import format_writers as writers
from .writers import FOCAL, HEIGHT, POINTS, WIDTH, ring, write_photo, write_photos

MIDDLE = (WIDTH / 2, HEIGHT / 2)
CASES = {
    "nvm": ("NVM (VisualSFM)", writers.write_nvm, {"curve": "inverse", "shape": (0.05,)}),
    "bundler": ("Bundler", writers.write_bundler, {"radial": (0.01, -0.002)}),
    "opensfm": (
        "OpenSfM",
        writers.write_opensfm,
        {"principal_px": (24.48, 15.04), "radial": (0.1, 0.01, 0.001), "tangential": (0.002, 0.003)},
    ),
    "meshroom": ("Meshroom", writers.write_meshroom, {"principal_px": (24.5, 15.0), "radial": (0.1, 0.02, 0.003)}),
    "metashape": (
        "Metashape",
        writers.write_metashape,
        {"focal_px": (42.0, 40.0), "principal_px": (24.5, 15.0), "tangential": (0.005, 0.004)},
    ),
    "realitycapture": (
        "RealityCapture",
        writers.write_realitycapture,
        {"principal_px": (24.48, 15.04), "radial": (0.1, 0.02, 0.003, 0.0), "tangential": (0.005, 0.004)},
    ),
    "polycam": ("Polycam", writers.write_polycam, {}),
    "record3d": ("Record3D", writers.write_record3d, {}),
    "llff": ("LLFF", writers.write_llff, {}),
    "krt": ("K-R-t text", writers.write_krt, {}),
    "open3d json": ("Open3D trajectory", writers.write_open3d_json, {}),
    "open3d log": ("Open3D trajectory", writers.write_open3d_log, {}),
}
WITH_POINTS = {"nvm", "bundler", "opensfm", "meshroom"}


def _views(case: str):
    # What Polycam and Record3D write is JPEG; Record3D counts from 0.
    suffix = ".jpg" if case in ("polycam", "record3d") else ".png"
    views = ring(10, suffix=suffix)
    if case == "record3d":
        views = [writers.View(f"{i}.jpg", v.color, v.camera_from_world) for i, v in enumerate(views)]
    return views


def write_case(root: Path, case: str):
    views = _views(case)
    if case != "polycam":
        write_photos(root / ("rgb" if case == "record3d" else "images"), views)
    CASES[case][1](root, views)
    return views


@pytest.mark.parametrize("case", CASES)
def test_poses_lenses_and_photos(tmp_path, case):
    views = write_case(tmp_path, case)
    listing = list_capture(tmp_path)
    format, _, lens = CASES[case]
    assert listing.format == format
    frames = {Path(frame.name).stem: frame for frame in listing.frames}
    assert frames.keys() == {Path(view.name).stem for view in views}
    for view in views:
        frame = frames[Path(view.name).stem]
        np.testing.assert_allclose(frame.camera_from_world, view.camera_from_world, atol=1e-9)
        assert (frame.lens.width, frame.lens.height) == (WIDTH, HEIGHT)
        assert frame.image_path.name == Path(view.name).name
        expected = {"focal_px": (FOCAL, FOCAL), "principal_px": MIDDLE, **lens}
        for name, value in expected.items():
            assert getattr(frame.lens, name) == (value if isinstance(value, str) else pytest.approx(value)), name
    assert {entry.name for entry in listing.skipped} == ({"lost"} if case == "metashape" else set())
    if case in WITH_POINTS:
        np.testing.assert_allclose(listing.points.xyz, [xyz for xyz, _ in POINTS])
        np.testing.assert_array_equal(listing.points.rgb, [rgb for _, rgb in POINTS])


@pytest.mark.parametrize("case", CASES)
def test_scenes(tmp_path, case):
    views = write_case(tmp_path, case)
    scene = load_capture(tmp_path)
    assert len(scene.photos) == 10
    colors = [photo.pixels[HEIGHT // 2, WIDTH // 2].tolist() for photo in scene.photos]
    order = sorted(views, key=lambda view: Path(view.name).name)
    np.testing.assert_allclose(colors, [view.color for view in order], atol=4 if order[0].name.endswith("jpg") else 0)


@pytest.mark.parametrize("case", CASES)
def test_a_missing_photo_is_skipped_by_name(tmp_path, case):
    """Unless the order of the photos is all that joins them with their poses."""
    views = write_case(tmp_path, case)
    next(tmp_path.rglob(views[3].name)).unlink()
    if case == "llff" or case.startswith("open3d"):
        with pytest.raises(InputError, match="has 10 poses.*holds 9 photos"):
            list_capture(tmp_path)
        return
    listing = list_capture(tmp_path)
    assert len(listing.frames) == 9
    assert any(Path(views[3].name).stem in entry.name and "missing" in entry.reason for entry in listing.skipped)


FILES = {
    "nvm": "model.nvm",
    "bundler": "bundle.out",
    "opensfm": "reconstruction.json",
    "meshroom": "cameras.sfm",
    "metashape": "cameras.xml",
    "realitycapture": "registration.csv",
    "polycam": "keyframes/corrected_cameras/v003.json",
    "record3d": "metadata.json",
    "llff": "poses_bounds.npy",
    "krt": "scene_par.txt",
    "open3d json": "trajectory.json",
    "open3d log": "trajectory.log",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_files_that_are_cut_off(tmp_path, case, share):
    """Either one line that names the file, or a frame that is skipped by name; never another exception."""
    write_case(tmp_path, case)
    path = tmp_path / FILES[case]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    try:
        listing = list_capture(path if case in ("metashape", "nvm", "meshroom") else tmp_path)
    except InputError as error:
        assert path.name in str(error) or "has no poses" in str(error)
        assert "\n" not in str(error)
    else:
        # Text without a count: what is left of it is whole, or its last line is skipped.
        assert case in ("realitycapture", "krt", "bundler", "nvm") and 0 < len(listing.frames) <= 10


@pytest.mark.parametrize("case", [case for case in CASES if case != "llff"])
@pytest.mark.parametrize("word", ["nan", "1e999", "-", '"x"', "[]", "1" * 400])
def test_numbers_that_are_none(tmp_path, case, word):
    """One number after the other in the middle of the file becomes something else."""
    import re

    write_case(tmp_path, case)
    path = tmp_path / FILES[case]
    text = path.read_text()
    matches = list(re.finditer(r"-?\d+\.\d+(e-?\d+)?", text))
    for match in matches[:: max(1, len(matches) // 12)]:
        path.write_text(text[: match.start()] + word + text[match.end() :])
        try:
            listing = list_capture(tmp_path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert all(np.isfinite(frame.camera_from_world).all() for frame in listing.frames)
            assert all(frame.lens.fault() is None for frame in listing.frames)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("nvm", lambda text: text.replace("NVM_V3", "NVM_V2"), "does not begin with NVM_V3"),
        ("nvm", lambda text: text.replace("\n10\n", "\n1000000000000\n"), "announces 1000000000000 cameras"),
        ("bundler", lambda text: text.replace("10 18", "10 99999999999999"), "announces 10 cameras and 99999999999999"),
        ("bundler", lambda text: text.replace("10 18", "9 18"), "has 9 cameras, .*list.txt 10 photos"),
        ("opensfm", lambda text: "{}", "holds a dict at the top, expected a list"),
        ("opensfm", lambda text: "[{}]", "holds no reconstruction with shots"),
        ("opensfm", lambda text: text.replace("brown", "dual"), "projection 'dual' is not supported"),
        ("meshroom", lambda text: text.replace('"poses"', '"nothing"'), "has no list of poses"),
        ("meshroom", lambda text: text.replace("radial3", "3deanamorphic4"), "3deanamorphic4.*not supported"),
        ("metashape", lambda text: text.replace("<chunk", "<lump").replace("</chunk", "</lump"), "holds no chunk"),
        ("metashape", lambda text: text.replace('type="frame"', 'type="cylindrical"'), "type cylindrical"),
        (
            "metashape",
            lambda text: text.replace("<document", '<!DOCTYPE a [<!ENTITY b "c">]><document'),
            "defines entities",
        ),
        ("metashape", lambda text: text.replace(f'width="{WIDTH}"', 'width="nan"'), "expected 1 finite numbers"),
        ("metashape", lambda text: text.replace("UTF-8", "UTF1e999"), "broken XML .unknown encoding"),
        ("metashape", lambda text: text.replace("UTF-8", "utf-7"), "broken XML .multi-byte encodings"),
        (
            "opensfm",
            lambda text: re.sub(r'("coordinates": \[)[^,]+', rf"\g<1>{400 * '9'}", text, count=1),
            "a point has no coordinates",
        ),
        ("realitycapture", lambda text: text.replace("heading", "direction"), "columns heading are missing"),
        ("record3d", lambda text: text.replace('"K"', '"L"'), "K is None, expected 9 numbers"),
        ("krt", lambda text: text.replace("v003.png ", ""), "is no name with 21 numbers"),
        ("open3d json", lambda text: text.replace("intrinsic_matrix", "matrix"), "a camera is damaged"),
        ("open3d log", lambda text: text.rsplit("\n", 2)[0], "49 lines, expected five a pose"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, case, change, message):
    write_case(tmp_path, case)
    path = tmp_path / FILES[case]
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        list_capture(path if path.suffix in (".xml", ".csv") else tmp_path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04zip"])
def test_llff_files_that_are_none(tmp_path, content):
    write_case(tmp_path, "llff")
    (tmp_path / "poses_bounds.npy").write_bytes(content)
    with pytest.raises(InputError, match="poses_bounds.npy: cannot be read"):
        list_capture(tmp_path)


def test_an_llff_file_with_objects_runs_no_code(tmp_path):
    write_case(tmp_path, "llff")
    np.save(tmp_path / "poses_bounds.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        list_capture(tmp_path)


def test_an_llff_file_of_another_shape(tmp_path):
    write_case(tmp_path, "llff")
    np.save(tmp_path / "poses_bounds.npy", np.zeros((10, 12)))
    with pytest.raises(InputError, match=r"has the shape \(10, 12\), expected \(photos, 17\)"):
        list_capture(tmp_path)


def test_bundler_needs_its_list(tmp_path):
    write_case(tmp_path, "bundler")
    (tmp_path / "list.txt").unlink()
    with pytest.raises(InputError, match="the list of its photos is missing; put list.txt beside it"):
        list_capture(tmp_path)


def test_an_open3d_log_needs_intrinsics(tmp_path):
    write_case(tmp_path, "open3d log")
    (tmp_path / "camera_intrinsic.json").unlink()
    with pytest.raises(InputError, match="has poses and no intrinsics"):
        list_capture(tmp_path)


@pytest.mark.parametrize(("version", "point"), [(("1", "2", "0"), (24.5, 15.0)), (("1", "2", "1"), (0.5, -1.0))])
def test_meshrooms_principal_point_by_version(tmp_path, version, point):
    views = ring(4)
    write_photos(tmp_path / "images", views)
    writers.write_meshroom(tmp_path, views, version=version, point=point)
    assert list_capture(tmp_path).frames[0].lens.principal_px == (24.5, 15.0)


def test_photos_of_equal_stems_are_not_guessed(tmp_path):
    write_case(tmp_path, "metashape")
    for folder in ("a", "b"):
        write_photo(tmp_path / folder / "v003.png", (1, 2, 3))
    (tmp_path / "images/v003.png").unlink()
    reasons = {entry.name: entry.reason for entry in list_capture(tmp_path).skipped}
    assert reasons["v003"] == "could be a/v003.png or b/v003.png; keep one of them in the capture"


def test_paths_do_not_leave_the_capture(tmp_path):
    root = tmp_path / "capture"
    root.mkdir()
    write_case(root, "nvm")
    write_photo(tmp_path / "secret.png", (1, 2, 3))
    path = root / "model.nvm"
    path.write_text(path.read_text().replace("images/v003.png", "../secret.png"))
    assert [entry.name for entry in list_capture(root).skipped] == ["../secret.png"]


def test_reality_captures_angles():
    """At zero the camera looks down, north at the top; a heading of 90 degrees puts east there; pitch lifts it."""
    down = rotation_from_angles(0.0, 0.0, 0.0)
    np.testing.assert_allclose(down @ [0, 0, -1], [0, 0, -1])
    np.testing.assert_allclose(down @ [0, 1, 0], [0, 1, 0])
    east = rotation_from_angles(np.pi / 2, 0.0, 0.0)
    np.testing.assert_allclose(east @ [0, 1, 0], [1, 0, 0], atol=1e-12)
    ahead = rotation_from_angles(0.0, np.pi / 2, 0.0)
    np.testing.assert_allclose(ahead @ [0, 0, -1], [0, 1, 0], atol=1e-12)


def test_every_format_has_a_test():
    assert {CASES[case][0].split(" (")[0] for case in CASES} == {
        format.name.split(" (")[0].split(",")[0] for format in FORMATS
    }


# Real files.


def _with_photos(root: Path, data: Path, names: list[str], *files: str) -> Path:
    for name in names:
        write_photo(root / "images" / name, (90, 90, 90), (354, 266))  # an eighth of the real size
    for file in files:
        source = data / "sceaux_models" / file
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / (source.name if source.suffix != ".json" else "reconstruction.json")).write_bytes(source.read_bytes())
    return root


def test_one_scene_by_three_programs(data_dir, tmp_path):
    """Sceaux castle as COLMAP, VisualSFM and OpenSfM saw it: other software, the same photos."""
    names = [f"100_{7100 + i}.JPG" for i in range(11)]
    colmap = tmp_path / "colmap"
    for name in names:
        write_photo(colmap / "images" / name, (90, 90, 90), (354, 266))
    (colmap / "sparse").mkdir()
    for file in (data_dir / "sceaux_models/colmap_example_model_bin").iterdir():
        (colmap / "sparse" / file.name).write_bytes(file.read_bytes())
    nvm = _with_photos(tmp_path / "nvm", data_dir, names, "VisualSFM_example.nvm")
    opensfm = _with_photos(tmp_path / "opensfm", data_dir, names, "OpenSfM_example_meshed.json")
    poses = {}
    for root in (colmap, nvm, opensfm):
        frames = {Path(frame.name).name: frame for frame in list_capture(root).frames}
        poses[root.name] = {name: frame.camera_from_world for name, frame in frames.items()}
    for other in ("nvm", "opensfm"):
        shared = sorted(poses["colmap"].keys() & poses[other].keys())
        assert len(shared) >= 10
        difference = camera_difference(*(np.stack([poses[key][name] for name in shared]) for key in (other, "colmap")))
        assert difference.centers.max() < 0.015
        assert difference.angles_deg.max() < 1.5


def test_sceaux_is_read_exactly(data_dir, tmp_path):
    names = [f"100_{7100 + i}.JPG" for i in range(11)]
    nvm = list_capture(_with_photos(tmp_path / "nvm", data_dir, names, "VisualSFM_example.nvm"))
    first = next(frame for frame in nvm.frames if frame.name.endswith("7103.JPG"))
    center = -first.camera_from_world[:3, :3].T @ first.camera_from_world[:3, 3]
    np.testing.assert_allclose(center, [-2.43948, -0.336453, -1.61413], atol=1e-9)
    assert (first.lens.focal_px[0], first.lens.shape) == (2975.94, (0.173699,))
    assert len(nvm.points.xyz) == 7817
    opensfm = list_capture(_with_photos(tmp_path / "opensfm", data_dir, names, "OpenSfM_example_meshed.json"))
    assert opensfm.frames[0].lens.focal_px[0] == pytest.approx(1.026087571 * 2832)
    shot = next(frame for frame in opensfm.frames if frame.name.endswith("7106.JPG"))
    translation = [-0.3868708536134876, 0.11918201792001351, 0.44928264195313083]
    np.testing.assert_allclose(shot.camera_from_world[:3, 3], translation)


def test_berlin(data_dir):
    """OpenSfM's own example: its points project to the pixels of its tracks."""
    scene = list_capture(data_dir / "opensfm_berlin")
    assert [frame.name for frame in scene.frames] == [f"images/0{i}.jpg" for i in (1, 2, 3)]
    assert all(frame.mask_path is not None for frame in scene.frames)
    content = json.loads((data_dir / "opensfm_berlin/reconstruction_example.json").read_text())[0]
    rows = [line.split("\t") for line in (data_dir / "opensfm_berlin/tracks_example.csv").read_text().splitlines()[1:]]
    frame = next(frame for frame in scene.frames if frame.name == "images/02.jpg")
    errors = []
    for shot, track, _, x, y, *_ in rows:
        if shot == "02.jpg" and track in content["points"]:
            errors.append(_projection_error(frame, content["points"][track]["coordinates"], float(x), float(y)))
    assert len(errors) > 100
    assert np.median(errors) < 1.0


def _projection_error(frame, point, x: float, y: float) -> float:
    """Pixels between a point's projection and where the track saw it (parts of the longer side, from the middle)."""
    import torch

    from neural3d.capture.lenses import distort

    seen = frame.camera_from_world[:3, :3] @ np.array(point) + frame.camera_from_world[:3, 3]
    pixel = distort(frame.lens, torch.from_numpy(seen[:2] / seen[2])[None])[0].numpy()
    size = max(frame.lens.width, frame.lens.height)
    wanted = np.array([x * size + frame.lens.width / 2, y * size + frame.lens.height / 2])
    return float(np.linalg.norm(pixel - wanted))
