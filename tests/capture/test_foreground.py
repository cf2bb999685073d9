"""Foreground masks: what the points call the object, GrabCut against a known outline, models of the user's own."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.capture import foreground
from neural3d.capture.detect import list_capture
from neural3d.capture.foreground import Seeds, grab_cut, load_segmenter, object_points
from neural3d.capture.listing import PointCloud
from neural3d.capture.survey import survey
from neural3d.cli import main
from neural3d.errors import InputError

SIDE, FOCAL, RADIUS = 160, 200.0, 0.5


def _pose(angle: float) -> np.ndarray:
    """A camera 3 units away and 1.5 high that looks at the ball; up is +z."""
    center = np.array([3 * np.cos(angle), 3 * np.sin(angle), 1.5])
    forward = np.array([0, 0, RADIUS]) - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ center
    return pose


POSES = np.stack([_pose(angle) for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False)])


def _cloud() -> tuple[PointCloud, np.ndarray]:
    """Points on a ball that stands on a table, on the table, and on walls; which of them are the ball's."""
    random = np.random.default_rng(0)
    ball = random.normal(size=(400, 3))
    ball = RADIUS * ball / np.linalg.norm(ball, axis=1, keepdims=True) + [0, 0, RADIUS]
    table = np.c_[random.uniform(-1.5, 1.5, (600, 2)), 0.004 * random.normal(size=600)]
    angles = random.uniform(0, 2 * np.pi, 300)
    walls = np.c_[9 * np.cos(angles), 9 * np.sin(angles), random.uniform(0, 5, 300)]
    xyz = np.concatenate([ball, table, walls])
    return PointCloud(xyz, np.full(xyz.shape, 99, dtype=np.uint8)), np.arange(len(xyz)) < 400


def _outline(pose: np.ndarray) -> np.ndarray:
    """The ball's true mask: rays that pass its centre within its radius."""
    plane = (np.arange(SIDE) + 0.5 - SIDE / 2) / FOCAL
    rays = np.stack([*np.meshgrid(plane, plane), np.ones((SIDE, SIDE))], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    middle = pose[:3, :3] @ [0, 0, RADIUS] + pose[:3, 3]
    return np.linalg.norm(np.cross(rays, middle), axis=-1) < RADIUS


@pytest.fixture
def capture(tmp_path) -> Path:
    """Noisy photos of a red ball before blue-grey surroundings."""
    random = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    frames = []
    for index, pose in enumerate(POSES):
        colors = np.where(_outline(pose)[..., None], (190, 60, 50), (70, 80, 110)) + random.normal(
            0, 12, (SIDE, SIDE, 3)
        )
        Image.fromarray(colors.clip(0, 255).astype(np.uint8)).save(tmp_path / f"images/{index}.png")
        matrix = np.linalg.inv(pose) @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": matrix.tolist()})
    cloud = _cloud()[0]
    rows = "\n".join(f"{x} {y} {z} 99 99 99" for x, y, z in cloud.xyz)
    header = f"ply\nformat ascii 1.0\nelement vertex {len(cloud.xyz)}\n" + "".join(
        f"property {kind} {name}\n"
        for kind, names in (("float", "xyz"), ("uchar", ("red", "green", "blue")))
        for name in names
    )
    (tmp_path / "points.ply").write_text(f"{header}end_header\n{rows}\n")
    meta = {"w": SIDE, "h": SIDE, "fl_x": FOCAL, "fl_y": FOCAL, "ply_file_path": "points.ply", "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(meta))
    return tmp_path


def test_the_object_is_what_stands_on_the_table():
    cloud, is_ball = _cloud()
    found = object_points(cloud, POSES)
    assert (found & ~is_ball).sum() <= 2
    above = cloud.xyz[:, 2] > 0.08  # where the ball touches the table, it is the table's
    assert found[is_ball & above].all()


def test_many_points_are_compared_in_parts(monkeypatch):
    """Never all with all; the parts say what one comparison of all would have said."""
    cloud = _cloud()[0]
    xyz = np.repeat(cloud.xyz[:400], 40, axis=0) + 0.3 * np.random.default_rng(2).normal(size=(16_000, 3))
    many = PointCloud(np.concatenate([xyz, cloud.xyz]), np.full((17_300, 3), 99, dtype=np.uint8))
    sizes, cdist = [], torch.cdist

    def counted(a, b):
        sizes.append(len(a))
        return cdist(a, b)

    monkeypatch.setattr("neural3d.capture.foreground.torch.cdist", counted)
    found = object_points(many, POSES)
    assert max(sizes) <= foreground.MOST_POINTS < len(many.xyz)
    monkeypatch.setattr(foreground, "_ROWS", len(many.xyz))
    assert np.array_equal(object_points(many, POSES), found) and 8000 < found.sum() < len(many.xyz)
    assert max(sizes) > 10_000


def test_too_little_to_go_by_is_told():
    cloud, _ = _cloud()
    with pytest.raises(InputError, match="too few points to find an object by"):
        object_points(None, POSES)
    flat = PointCloud(cloud.xyz[400:], cloud.rgb[400:])
    with pytest.raises(InputError, match="nothing stands out from the plane"):
        object_points(flat, POSES)
    far = PointCloud(cloud.xyz[1000:], cloud.rgb[1000:])
    with pytest.raises(InputError, match="the cameras look at no place in common"):
        object_points(far, POSES)


def test_masks_of_a_capture(capture, capsys):
    """Written where readers look for them, and right: the overlap is 0.85 of the union at least."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    assert main(["masks", str(capture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_masks"] == 6
    placed = survey(list_capture(capture)).placed
    for entry, pose in zip(placed, POSES, strict=True):
        mask, truth = np.asarray(Image.open(entry.frame.mask_path)) > 127, _outline(pose)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    assert main(["masks", str(capture)]) == 2
    assert "holds masks already; replace them with --overwrite" in capsys.readouterr().err


def _one_of_two(picture: np.ndarray, seeds: Seeds) -> np.ndarray:
    """What finds the object in every other photo, to be told apart from GrabCut's masks."""
    _one_of_two.calls += 1
    return np.full(picture.shape[:2], _one_of_two.calls % 2 == 1)


@pytest.mark.parametrize("is_named", [False, True])
def test_masks_are_replaced_whatever_they_are_called(capture, monkeypatch, capsys, is_named):
    """Of another tool beside the new ones, of photos in which nothing is found now; named in transforms.json or not."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    (capture / "images/0.png").rename(capture / "images/0.JPG")  # what it holds counts, not its name
    meta = json.loads((capture / "transforms.json").read_text())
    meta["frames"][0]["file_path"] = "images/0.JPG"
    (capture / "masks").mkdir()
    for index, name in ((0, "0.png"), (1, "1.png.png"), (2, "other.png")):
        Image.new("L", (SIDE, SIDE), 255).save(capture / "masks" / name)
        if is_named:
            meta["frames"][index]["mask_path"] = f"masks/{name}"
    (capture / "masks/notes.txt").write_text("mine")
    (capture / "transforms.json").write_text(json.dumps(meta))
    _one_of_two.calls = 0
    monkeypatch.setattr("neural3d.cli.masking.grab_cut", _one_of_two)
    assert main(["masks", str(capture), "--overwrite", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    frames = list_capture(capture).frames
    used = {frame.image_path.stem: frame.mask_path and frame.mask_path.name for frame in frames}
    assert used == {"0": "0.JPG.png", "1": None, "2": "2.png.png", "3": None, "4": "4.png.png", "5": None}
    assert set(answer["failed"]) == {f"images/{index}.png" for index in (1, 3, 5)}
    left = {path.name for path in (capture / "masks").iterdir()} - set(used.values())
    assert left == ({"notes.txt"} if is_named else {"notes.txt", "other.png"})  # which nothing called a mask


def test_a_file_with_a_name_of_its_own_names_the_new_masks(capture, monkeypatch):
    """It would name what is no longer there, and the photos be left out."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    meta, mine = json.loads((capture / "transforms.json").read_text()), capture / "mine.json"
    (capture / "masks").mkdir()
    for index in (0, 1):
        Image.new("L", (SIDE, SIDE), 255).save(capture / f"masks/other-{index}.png")
        meta["frames"][index]["mask_path"] = f"masks/other-{index}.png"
    mine.write_text(json.dumps(meta))
    (capture / "transforms.json").unlink()
    _one_of_two.calls = 0
    monkeypatch.setattr("neural3d.cli.masking.grab_cut", _one_of_two)
    assert main(["masks", str(mine), "--overwrite"]) == 0
    listing = list_capture(mine)
    assert [frame.mask_path and frame.mask_path.name for frame in listing.frames[:2]] == ["0.png.png", None]
    assert len(listing.frames) == len(meta["frames"]) and not listing.skipped


def test_a_photo_that_cannot_be_read_keeps_its_mask(capture, monkeypatch):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    monkeypatch.setattr("neural3d.cli.masking.grab_cut", lambda picture, seeds: picture[..., 0] > 130)
    assert main(["masks", str(capture)]) == 0
    before = (capture / "masks/1.png.png").read_bytes()
    photo = (capture / "images/1.png").read_bytes()
    (capture / "images/1.png").write_bytes(photo[: len(photo) // 2])
    assert main(["masks", str(capture), "--overwrite"]) == 0
    assert (capture / "masks/1.png.png").read_bytes() == before


def test_photos_are_never_taken_for_old_masks(capture, monkeypatch, capsys):
    """In another folder pictures of their names may be anything: smaller copies, or the photos themselves."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    monkeypatch.setattr("neural3d.cli.masking.grab_cut", lambda picture, seeds: picture[..., 0] > 130)
    shutil.copytree(capture / "images", capture / "images_2")
    before = {path: path.read_bytes() for path in capture.rglob("*.png")}
    for folder in (capture, capture / "images"):
        assert main(["masks", str(capture), "--output", str(folder), "--overwrite"]) == 2
        assert "the photos lie in it; name a folder of its own" in capsys.readouterr().err
    assert main(["masks", str(capture), "--output", str(capture / "images_2"), "--overwrite"]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_without_an_object_old_masks_stay(capture, monkeypatch):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    assert main(["masks", str(capture)]) == 0
    before = {path.name: path.read_bytes() for path in (capture / "masks").iterdir()}
    monkeypatch.setattr("neural3d.cli.masking.grab_cut", lambda picture, seeds: picture[..., 0] < 0)
    assert main(["masks", str(capture), "--overwrite"]) == 2
    assert {path.name: path.read_bytes() for path in (capture / "masks").iterdir()} == before


def test_a_segmenter_of_ones_own(capture, monkeypatch, capsys):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    (capture / "mine.py").write_text(
        "def red(picture, seeds):\n    assert len(seeds.object_px)\n    return picture[..., 0] > picture[..., 2]\n"
        "def wrong(picture, seeds):\n    return picture[:5, :5, 0] > 0\n"
    )
    monkeypatch.syspath_prepend(str(capture))
    folder = capture / "cut"
    assert main(["masks", str(capture), "--segment", "mine:red", "--output", str(folder)]) == 0
    photo = np.asarray(Image.open(capture / "images/3.png"))
    expected = photo[..., 0] > photo[..., 2]
    assert np.array_equal(np.asarray(Image.open(folder / "3.png.png")) > 127, expected)
    for name, message in (
        ("mine:wrong", "its mask is (5, 5), expected"),
        ("mine:no", "no attribute"),
        ("x", "expected"),
    ):
        assert main(["masks", str(capture), "--segment", name, "--overwrite"]) == 2
        assert message in capsys.readouterr().err
    sys.modules.pop("mine", None)
    assert callable(load_segmenter("math:sqrt"))


def test_without_points_on_it_a_photo_shows_no_object():
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    picture = np.full((40, 50, 3), 90, dtype=np.uint8)
    assert not grab_cut(picture, Seeds(np.zeros((0, 2)), np.ones((9, 2)))).any()


def test_without_opencv_the_remedy_is_named(capture, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["masks", str(capture)]) == 2
    assert "pip install opencv-python-headless" in capsys.readouterr().err
