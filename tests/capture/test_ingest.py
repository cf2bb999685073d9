"""Ingest: photos of every kind into a capture, poses against known ones, resumed, added to, and what cannot work."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from neural3d.bench.poses import compare_captures
from neural3d.capture import load_capture
from neural3d.capture.detect import list_capture
from neural3d.capture.ingest import pipeline
from neural3d.capture.ingest.pipeline import followed_settings, ingest_photos, is_of, pair_plan
from neural3d.capture.ingest.report import likely_reason
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import find_source
from neural3d.capture.ingest.state import PreparedPhoto, State, load_state, save_state
from neural3d.capture.photo_quality import measure_photo
from neural3d.errors import InputError
from neural3d.locks import FileLock

TEATIME = Path(__file__).parents[2] / "scenes" / "teatime"
VIEWS = (11, 12, 13, 22, 23, 24, 32, 33, 34, 43, 44, 69)
"""Of a spiral around the scene, those from one side: neighbours overlap."""
FEW = (11, 12, 22, 23, 33, 34)
LATER = (32, 44)
NUM_PHOTOS = len(VIEWS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Views of the synthetic scene, and one photo that shows nothing of it."""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    folder = tmp_path_factory.mktemp("user's photos 数")
    for index in VIEWS:
        Image.open(TEATIME / f"images/{index:03d}.webp").convert("RGB").save(folder / f"{index:03d}.png")
    Image.fromarray(np.full((480, 480, 3), 90, dtype=np.uint8)).save(folder / "wall.png")
    return folder


@pytest.fixture(scope="module")
def ingested(photos, tmp_path_factory) -> tuple[Path, object]:
    capture = tmp_path_factory.mktemp("out") / "capture"
    return capture, ingest_photos(photos, capture, Settings(threads=1))


@pytest.fixture(scope="module")
def few(photos, tmp_path_factory) -> Path:
    """As few of these photos as still make a scene, for what is done to them more than once."""
    folder = tmp_path_factory.mktemp("few")
    for name in (*(f"{index:03d}.png" for index in FEW), "wall.png"):
        shutil.copy(photos / name, folder)
    return folder


@pytest.fixture(scope="module")
def few_ingested(few, tmp_path_factory) -> tuple[Path, object]:
    capture = tmp_path_factory.mktemp("out") / "capture"
    return capture, ingest_photos(few, capture, Settings(threads=1))


def test_poses_of_the_synthetic_scene(ingested):
    capture, report = ingested
    assert (report.num_photos, report.num_registered) == (NUM_PHOTOS + 1, NUM_PHOTOS)
    assert report.reprojection_error_px < 1
    difference = compare_captures(capture, TEATIME)
    # 12 views of 480 pixels; the whole scene is a long test, and is held to less.
    assert difference.centers.max() < 0.003
    assert difference.angles_deg.max() < 0.15


def test_a_photo_without_a_pose_is_named_with_the_reason(ingested):
    assert ingested[1].failed.keys() == {"wall.png"}
    assert "too little texture" in ingested[1].failed["wall.png"]
    assert "12 of 13 photos have a pose" in ingested[1].lines()[0]


def test_both_files_of_a_capture_say_the_same(ingested, tmp_path):
    """transforms.json and the COLMAP model, each by its own reader."""
    capture, _ = ingested
    transforms = list_capture(capture)
    assert transforms.format == "transforms.json"
    other = tmp_path / "colmap"
    shutil.copytree(capture, other, ignore=shutil.ignore_patterns("transforms.json"))
    model = list_capture(other)
    assert [f"images/{frame.name}" for frame in model.frames] == [frame.name for frame in transforms.frames]
    for first, second in zip(model.frames, transforms.frames, strict=True):
        np.testing.assert_allclose(first.camera_from_world, second.camera_from_world, atol=1e-9)
        assert first.lens.scaled(480, 480).focal_px == second.lens.focal_px
    np.testing.assert_allclose(np.float32(model.points.xyz), transforms.points.xyz)
    np.testing.assert_array_equal(model.points.rgb, transforms.points.rgb)


def test_up_is_up(ingested):
    scene = load_capture(ingested[0])
    assert scene.up_world.tolist() == [0, 0, 1]
    assert (scene.cameras.camera_from_world[:, 1, 2] < -0.5).all()  # the cameras' y axes point down
    assert scene.warnings == ()


def test_pycolmap_reads_the_model(ingested):
    program = (
        "import sys, pycolmap; m = pycolmap.Reconstruction(sys.argv[1]); print(m.num_reg_images(), m.num_points3D())"
    )
    command = [sys.executable, "-c", program, str(ingested[0] / "sparse/0")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said == [str(NUM_PHOTOS), str(ingested[1].num_points)]


def test_the_originals_are_not_touched_and_a_finished_ingest_does_nothing(photos, ingested):
    capture, report = ingested
    before = {path: path.stat().st_mtime_ns for path in [*photos.iterdir(), *(capture / "images").iterdir()]}
    model = (capture / "sparse/0/images.bin").stat().st_mtime_ns
    assert ingest_photos(photos, capture, Settings(threads=1)) == report
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (capture / "sparse/0/images.bin").stat().st_mtime_ns == model


def test_it_goes_on_where_it_was_stopped_with_the_same_result(few, few_ingested, tmp_path):
    """Interrupted in each stage in turn, as by Ctrl-C; the poses are those of the ingest that was never stopped."""

    class Stop(Exception):
        pass

    capture = tmp_path / "capture"
    reached = []
    for stage in ("photos", "features", "matches", "poses"):

        def stop(progress, stage=stage):
            reached.append((progress.stage, progress.done))
            if progress.stage == stage and progress.done >= 2:
                raise Stop

        with pytest.raises(Stop):
            ingest_photos(few, capture, Settings(threads=1), watch=stop)
        assert not (capture / "transforms.json").exists()
    started = [done for stage, done in reached if stage == "features"]
    assert started[0] == 0 and max(started) == len(FEW) + 1
    report = ingest_photos(few, capture, Settings(threads=1))
    assert report.failed.keys() == few_ingested[1].failed.keys() == {"wall.png"}
    for file in ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin", "transforms.json"):
        assert (capture / file).read_bytes() == (few_ingested[0] / file).read_bytes()


def test_photos_can_be_added_later(few_ingested, tmp_path):
    capture, more = tmp_path / "capture", tmp_path / "more"
    shutil.copytree(few_ingested[0], capture)
    more.mkdir()
    for index in LATER:
        Image.open(TEATIME / f"images/{index:03d}.webp").convert("RGB").save(more / f"{index:03d}.png")
    report = ingest_photos(more, capture)
    assert report.num_registered == len(FEW) + 2
    assert compare_captures(capture, TEATIME).centers.max() < 0.015


def test_other_settings_and_foreign_folders_are_refused(photos, ingested, tmp_path):
    with pytest.raises(InputError, match="begun with other settings .focal_px.*--overwrite"):
        ingest_photos(photos, ingested[0], Settings(focal_px=500.0))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something that is no ingest; choose an empty folder"):
        ingest_photos(photos, tmp_path)
    with pytest.raises(InputError, match="lies in the folder of the photos"):
        ingest_photos(photos, photos / "capture")


def test_beginning_anew_removes_what_an_ingest_wrote_and_nothing_else(tmp_path):
    """A run that was put beside the poses stays, and photos that lie in the capture are no reason to lose them."""
    photos, capture = tmp_path / "photos", tmp_path / "capture"
    photos.mkdir()
    Image.new("RGB", (80, 80)).save(photos / "a.png")
    for _ in range(2):
        with pytest.raises(InputError, match="1 photos can be read"):
            ingest_photos(photos, capture, overwrite=True)
        (capture / "run").mkdir(exist_ok=True)
        (capture / "run" / "checkpoint").write_text("mine")
        (capture / "masks").mkdir(exist_ok=True)
        (capture / "masks" / "old.png").write_text("ours")
    with pytest.raises(InputError, match="1 photos can be read"):
        ingest_photos(photos, capture, overwrite=True)
    assert (capture / "run" / "checkpoint").read_text() == "mine" and not (capture / "masks" / "old.png").exists()
    shutil.move(photos, capture / "photos")
    with pytest.raises(InputError, match="lies in the capture that --overwrite would replace"):
        ingest_photos(capture / "photos", capture, overwrite=True)
    assert (capture / "photos" / "a.png").is_file()


def test_a_running_ingest_is_not_begun_anew_by_another(tmp_path):
    """It removed the photos and the lock of the first before it looked whether there was one."""
    photos, capture = tmp_path / "photos", tmp_path / "capture"
    photos.mkdir()
    Image.new("RGB", (80, 80)).save(photos / "a.png")
    with pytest.raises(InputError, match="1 photos can be read"):
        ingest_photos(photos, capture)
    lock = FileLock(capture / "ingest/lock")
    assert lock.acquire()
    with pytest.raises(InputError, match="another ingest .* works on it"):
        ingest_photos(photos, capture, overwrite=True)
    assert (capture / "images/a.png").is_file() and (capture / "ingest.json").is_file()
    lock.release()


def test_features_of_photos_that_are_gone_go(tmp_path):
    stages = pipeline._Stages(tmp_path, lambda progress: None)
    stages.work.mkdir()
    database = stages.work / pipeline.DATABASE
    database.write_text("features")
    stages._save_photos({"a.png": "1:1"}, State(Settings(), False, ()))
    assert not database.exists()


def test_an_earlier_start_is_of_the_same_photos_and_settings_or_is_not(tmp_path):
    photos, other = tmp_path / "photos", tmp_path / "other"
    taken = PreparedPhoto("a.png", str(photos.resolve() / "a.png"), "2:2", 80, 80, "lens")
    save_state(tmp_path, State(Settings(focal_px=500.0), False, (taken,)))
    assert is_of(tmp_path, photos, Settings(focal_px=500.0))
    assert not is_of(tmp_path, other, Settings(focal_px=500.0)) and not is_of(tmp_path, photos, Settings())
    assert followed_settings(tmp_path, Settings()) == {"focal_px": 500.0}
    assert followed_settings(tmp_path, Settings(focal_px=500.0)) == {}
    (tmp_path / "ingest.json").write_text("{")
    assert not is_of(tmp_path, photos, Settings(focal_px=500.0)), "it is damaged"


def test_features_of_old_pixels_go_before_a_photo_counts_as_new(tmp_path, monkeypatch):
    """Whoever is stopped between the two would keep them for good."""
    stages = pipeline._Stages(tmp_path, lambda progress: None)
    stages.work.mkdir()
    database = stages.work / pipeline.DATABASE
    photo = PreparedPhoto("a.png", "/p/a.png", "2:2", 80, 80, "lens")
    for stamp, is_kept in (("2:2", True), ("1:1", False)):
        database.write_text("features")
        monkeypatch.setattr(pipeline, "save_state", lambda *_, is_kept=is_kept: database.exists() is is_kept or 1 / 0)
        stages._save_photos({"a.png": stamp}, State(Settings(), False, (photo,)))
        assert database.exists() is is_kept


def test_what_could_not_be_taken_settles_nothing(few, tmp_path):
    """A video that is none, then photos with other settings into the same folder; photos beside frames are no video."""
    capture, photos = tmp_path / "capture", tmp_path / "photos"
    (tmp_path / "bad.mp4").write_bytes(b"none")
    with pytest.raises(InputError, match="bad.mp4: is no video"):
        ingest_photos(tmp_path / "bad.mp4", capture, Settings(frames=7))
    photos.mkdir()
    shutil.copy(few / f"{FEW[0]:03d}.png", photos)
    with pytest.raises(InputError, match="1 photos can be read, at least 3 are needed"):
        ingest_photos(photos, capture, Settings(focal_px=660.0))
    state = load_state(capture)
    assert (state.is_video, state.settings) == (False, Settings(focal_px=660.0))
    save_state(capture, replace(state, is_video=True))
    with pytest.raises(InputError, match="1 photos can be read"):
        ingest_photos(photos, capture, Settings(focal_px=660.0))
    assert not load_state(capture).is_video


def test_photos_that_do_not_connect(tmp_path):
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    rng = np.random.default_rng(0)
    for index in range(3):
        noise = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).resize((200, 200))
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise.save(tmp_path / f"photos/{index}.png")
    with pytest.raises(InputError, match="no poses could be found: 0 of 3 photos match.*more overlap"):
        ingest_photos(tmp_path / "photos", tmp_path / "capture", Settings(threads=1))


def test_a_failing_colmap_is_told_with_the_end_of_its_log(photos, tmp_path):
    from neural3d.capture.ingest.colmap_process import run_task

    task = {"seed": 0, "threads": 1, "database": "/nowhere/database.db", "groups": []}
    with pytest.raises(RuntimeError, match="features ended with status 1 .*colmap.log"):
        run_task("features", tmp_path, task, lambda *_: None)


# What needs no COLMAP: sources, plans, reasons.


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no photos"),
        (["film.mp4"], "a video is given by itself"),
    ],
)
def test_folders_without_photos(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        find_source(tmp_path)


def test_live_photos_are_their_stills(tmp_path):
    Image.new("RGB", (100, 80)).save(tmp_path / "IMG_1.JPG")
    for name in ("IMG_1.MOV", "holiday.mp4"):
        (tmp_path / name).write_bytes(b"x")
    source = find_source(tmp_path)
    assert [file.relative for file in source.files] == ["IMG_1.JPG"]
    assert source.notes[0] == "1 Live Photos: their stills are used" and "holiday.mp4" in source.notes[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"focal_px": -1.0}, "--focal -1: expected pixels"),
        ({"camera": "MAGIC"}, "--camera MAGIC: expected one of"),
        ({"camera": "PINHOLE:1,2"}, "PINHOLE takes 4 parameters"),
        ({"camera": "PINHOLE:1,2,x,4"}, "expected numbers after the colon"),
        ({"camera": "PINHOLE:1,2,3,4", "focal_px": 3.0}, "leave one out"),
        ({"camera": "FOV"}, "--camera FOV: expected one of"),
        ({"camera": "THIN_PRISM_FISHEYE"}, "expected one of"),
        ({"frames": 2}, "--frames 2"),
        ({"threads": 0}, "--threads 0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_settings_that_make_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        Settings(**values)


def test_the_state_survives_its_file(tmp_path):
    photo = PreparedPhoto("a.jpg", "/p/a.jpg", "1:2", 4, 3, "lens", 5.5, (1.0, 2.0, 3.0))
    photo = replace(photo, rig="panorama-8", view="up", has_mask=True, quality=measure_photo(_noise()))
    state = State(Settings(camera="PINHOLE:1,2,3,4", seed=3), True, (photo,), mapped={"report": {}})
    save_state(tmp_path, state)
    assert load_state(tmp_path) == state


@pytest.mark.parametrize("content", ["[]", "{", '{"version": 9}', '{"version": 1, "settings": {"a": 1}}'])
def test_a_broken_state_is_told(tmp_path, content):
    (tmp_path / "ingest.json").write_text(content)
    with pytest.raises(InputError, match="ingest.json"):
        load_state(tmp_path)


def test_which_pairs_are_matched():
    def plan(count: int, **options) -> str:
        photos = tuple(PreparedPhoto(str(i), str(i), "") for i in range(count))
        return pair_plan(State(Settings(**options.pop("settings", {})), options.pop("is_video", False), photos))[
            "matching"
        ]

    assert plan(60) == "exhaustive"
    assert plan(61) == "similar"
    assert plan(500) == "similar"
    assert plan(501) == "vocabtree"
    assert plan(10, is_video=True) == "sequential"
    assert plan(500, settings={"matching": "exhaustive"}) == "exhaustive"


def _noise(seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("pixels", "features", "matches", "others", "reason"),
    [
        (np.zeros((80, 80, 3), np.uint8), 900, [3, 90], [], "nearly black"),
        (np.full((80, 80, 3), 255, np.uint8), 900, [3, 90], [], "nearly white"),
        (np.asarray(Image.fromarray(_noise()).filter(ImageFilter.GaussianBlur(6))), 900, [3, 90], [], "blurred"),
        (_noise(), 20, [0, 0], [], "too little texture"),
        (_noise(), 900, [0, 0], [], "looks like no other photo"),
        (_noise(), 900, [3, 40], [["x", "p", "y"]], "belongs to 3 photos that do not connect"),
        (_noise(), 900, [3, 40], [], "3 photos match it, the best in 40 points"),
    ],
)
def test_likely_reasons(pixels, features, matches, others, reason):
    photo = PreparedPhoto("p", "", "", quality=measure_photo(pixels))
    poses = {"others": others, "weak": {}, "doubtful": []}
    assert reason in likely_reason(photo, measure_photo(_noise()).sharpness, features, matches, poses)
    poses["doubtful"] = ["p"]
    assert "two places fit it" in likely_reason(photo, 1.0, features, matches, poses)


def test_similar_photos_are_found():
    """Photos whose large features are copies of each other; in the worker's own process, see there."""
    program = """
import json, numpy as np
from neural3d.capture.ingest import colmap_worker as worker
rng = np.random.default_rng(0)
def unit(rows): return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
scenes = [unit(rng.random((40, 128))**4) for _ in range(3)]
photos = [unit(scenes[i % 3] + 0.01 * rng.random((40, 128))) for i in range(9)] + [np.zeros((0, 128), np.float32)]
print(json.dumps(sorted(worker.similar_pairs(photos, 2))))
"""
    pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [[a, b] for a in range(9) for b in range(a + 1, 9) if (b - a) % 3 == 0]
