"""Each fault that a photo or a pose can have, planted in a capture that has none, and seen caught; and the picture."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from neural3d.capture import load_capture
from neural3d.capture.checks import check_scene
from neural3d.capture.coverage import measure_coverage
from neural3d.capture.findings import Finding, verdict
from neural3d.capture.load import read_capture
from neural3d.capture.pose_picture import TEST, TRAIN, WRONG, draw_poses, write_pose_picture

TEATIME = Path(__file__).parents[2] / "scenes" / "teatime"
SIDE, VIEWS = 200, tuple(range(0, 70, 3))
VICTIM = "images/030.png"


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """Every third view of the synthetic scene, small, on grey."""
    root = tmp_path_factory.mktemp("checks") / "capture"
    (root / "images").mkdir(parents=True)
    meta = json.loads((TEATIME / "transforms.json").read_text())
    frames = {Path(frame["file_path"]).stem: frame for frame in meta["frames"]}
    for index in VIEWS:
        photo = Image.open(TEATIME / f"images/{index:03d}.webp").convert("RGBA")
        grey = Image.new("RGBA", photo.size, (128, 128, 128, 255))
        Image.alpha_composite(grey, photo).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX).save(
            root / f"images/{index:03d}.png"
        )
    shutil.copy(TEATIME / "points.ply", root)
    chosen = [{**frames[f"{index:03d}"], "file_path": f"images/{index:03d}.png"} for index in VIEWS]
    lens = {"w": SIDE, "h": SIDE, "fl_x": 275.0, "fl_y": 275.0, "cx": SIDE / 2, "cy": SIDE / 2}
    (root / "transforms.json").write_text(json.dumps({**lens, "ply_file_path": "points.ply", "frames": chosen}))
    return root


@pytest.fixture
def capture(clean, tmp_path) -> Path:
    return shutil.copytree(clean, tmp_path / "capture")


def found(capture: Path) -> list[Finding]:
    return [finding for finding in check_scene(load_capture(capture)).findings if finding.severity != "note"]


def change_photo(capture: Path, change) -> None:
    path = capture / VICTIM
    with Image.open(path) as photo:
        changed = change(photo.convert("RGB"))
    changed.save(path)


def change_pose(capture: Path, change) -> None:
    path = capture / "transforms.json"
    meta = json.loads(path.read_text())
    for frame in meta["frames"]:
        if frame["file_path"] == VICTIM:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()
    path.write_text(json.dumps(meta))


def test_a_good_capture_has_nothing_wrong(clean):
    assert found(clean) == []


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda p: p.filter(ImageFilter.GaussianBlur(2.5)), "blurred", "is blurred (sharpness"),
        (lambda p: p.point(lambda v: min(255, int(1.8 * v))), "exposure", "overexposed (+"),
        (lambda p: p.point(lambda v: v // 3), "exposure", "underexposed (-"),
        (lambda p: Image.new("RGB", p.size, (2, 2, 2)), "dark", "nearly black"),
        (lambda p: Image.new("RGB", p.size, (255, 255, 255)), "bright", "nearly white"),
        (lambda p: p.transpose(Image.Transpose.ROTATE_180), "turned", "turned by 180 degrees"),
        (lambda p: p.transpose(Image.Transpose.ROTATE_90), "turned", "turned by 90 degrees anticlockwise"),
        (lambda p: p.transpose(Image.Transpose.ROTATE_270), "turned", "turned by 90 degrees clockwise"),
        (lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "turned", "mirrored"),
    ],
)
def test_a_photo_that_is_spoilt_is_named(capture, change, kind, words):
    change_photo(capture, change)
    findings = found(capture)
    assert (kind, (VICTIM,)) in [(finding.kind, finding.photos) for finding in findings]
    assert any(words in finding.text for finding in findings)
    assert {name for finding in findings for name in finding.photos} == {VICTIM}


def test_a_photo_that_is_there_twice_is_named(capture):
    """Under another name, in another encoding, with the pose of the photo that it replaces."""
    with Image.open(capture / "images/012.png") as photo:
        photo.save(capture / VICTIM, compress_level=1)
    kinds = {finding.kind: finding.photos for finding in found(capture)}
    assert kinds["duplicate"] == ("images/012.png", VICTIM)


def test_a_pose_that_belongs_elsewhere_is_named(capture):
    """On the other side of the scene, looking away from it: not one point is in view."""
    change_pose(capture, lambda pose: pose @ np.diag([-1.0, 1.0, -1.0, 1.0]))
    assert ("few_points", (VICTIM,)) in [(finding.kind, finding.photos) for finding in found(capture)]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "cannot be decoded"),
        (lambda path: path.unlink(), "the photo is missing"),
        (lambda path: Image.new("RGB", (90, 61)).save(path), "only a common factor can be allowed for"),
    ],
)
def test_photos_that_cannot_be_used_are_skipped_by_name(capture, spoil, reason):
    spoil(capture / VICTIM)
    scene, skipped = read_capture(capture)
    assert len(scene.photos) == len(VIEWS) - 1
    assert [entry.name.removeprefix("images/") for entry in skipped] == ["030.png"] and reason in skipped[0].reason


def test_cameras_in_one_place_are_a_fault(capture):
    """All photos from where the first was taken, up to a hair."""
    path = capture / "transforms.json"
    meta = json.loads(path.read_text())
    for number, frame in enumerate(meta["frames"]):
        frame["transform_matrix"] = [list(row) for row in meta["frames"][0]["transform_matrix"]]
        frame["transform_matrix"][0][3] += 1e-3 * number
    path.write_text(json.dumps(meta))
    faults = [finding for finding in found(capture) if finding.severity == "fault"]
    assert [finding.kind for finding in faults] == ["baseline"] and "walk sideways" in faults[0].text
    assert verdict(faults, 24, 24).startswith("not ready: 24 of 24 photos can be used; all photos are taken from")


def test_a_sector_without_photos_is_noted(capture):
    path = capture / "transforms.json"
    meta = json.loads(path.read_text())
    meta["frames"] = [f for f in meta["frames"] if np.arctan2(*np.array(f["transform_matrix"])[:2, 3]) > -1]
    path.write_text(json.dumps(meta))
    scene = load_capture(path)
    coverage = measure_coverage(scene)
    centers = scene.cameras.centers_world.double() * scene.capture_from_scene.scale
    centers += scene.capture_from_scene.translation
    x, y = centers.numpy()[:, 0], centers.numpy()[:, 1]
    angles = np.sort(np.degrees(np.arctan2(x, y)))
    assert coverage.gap_deg == pytest.approx(360 - angles[-1] + angles[0], abs=8)
    assert "coverage" in [finding.kind for finding in check_scene(scene).findings]


def test_points_in_view_are_those_that_project_into_it(clean):
    """Counted again by hand, without the cells; hidden points are fewer, never more."""
    scene = load_capture(clean)
    coverage = measure_coverage(scene)
    for view in (0, 11):
        pose = scene.cameras.camera_from_world[view]
        points = scene.points.means_world @ pose[:3, :3].T + pose[:3, 3]
        pixels = points[:, :2] / points[:, 2:] * scene.cameras.focal_px[view] + scene.cameras.principal_px[view]
        inside = ((pixels >= 0) & (pixels < SIDE)).all(dim=1) & (points[:, 2] > 0)
        assert 0.2 * int(inside.sum()) < coverage.points_in_view[view] < int(inside.sum())
    assert coverage.agreement.min() > 0.4


def test_scenes_without_points_and_of_one_photo_are_checked(capture):
    path = capture / "transforms.json"
    meta = json.loads(path.read_text())
    del meta["ply_file_path"]
    path.write_text(json.dumps(meta))
    scene = load_capture(capture)
    checks = check_scene(scene)
    assert checks.findings == () and np.isnan(checks.coverage.agreement).all()
    path.write_text(json.dumps({**meta, "frames": meta["frames"][:1]}))
    assert [finding.kind for finding in check_scene(load_capture(capture)).findings] == ["few_photos"]


def test_the_picture_shows_each_camera_in_its_colour(clean, tmp_path):
    scene = load_capture(clean)
    path = tmp_path / "poses.png"
    write_pose_picture(path, scene, "title", [VICTIM])
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB")).reshape(-1, 3).astype(int)
    for color in (TRAIN, TEST, WRONG):
        assert (np.abs(pixels - color).max(axis=1) < 12).sum() > 50, color
    without = np.asarray(draw_poses(scene, "title", [])).reshape(-1, 3).astype(int)
    assert (np.abs(without - WRONG).max(axis=1) < 12).sum() == 0


def test_one_camera_far_away_does_not_shrink_the_picture(clean):
    scene = load_capture(clean)
    plain = np.asarray(draw_poses(scene, "t", []))
    scene.cameras.camera_from_world[5, :3, 3] += torch.tensor([0.0, 0.0, 1e5])
    moved = np.asarray(draw_poses(scene, "t", []))
    assert (plain != moved).any(axis=2).mean() < 0.25


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], "ready: 9 of 10 photos can be used, nothing speaks against training"),
        ([Finding("coverage", "note", (), "x")], "ready: 9 of 10"),
        ([Finding("blurred", "warning", ("a",), "x")] * 2, "usable, but look at 2 warnings first (blurred)"),
    ],
)
def test_the_verdict_is_one_line(findings, words):
    assert verdict(findings, 9, 10).startswith(words)
