"""Captures as they come from disks, tools and strangers: each gives the right photos, or one line with file and remedy.

Cases F12 to F29 are failures that users of other programs reported.
"""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural3d.capture import load_capture
from neural3d.cli import main
from neural3d.errors import InputError

from .writers import (
    HEIGHT,
    WIDTH,
    ColmapCamera,
    assert_paired,
    colmap_capture,
    renamed,
    ring,
    transforms_capture,
    write_colmap,
    write_json,
    write_photo,
)

COUNT = 6
VIEWS = ring(COUNT)
VICTIM = VIEWS[2].name


@dataclass(frozen=True)
class Broken:
    """What is done to a good capture, and what must come of it."""

    spoil: Callable[[Path], object]
    photos: int | None
    """How many photos are loaded, each with its own colour and pose; None: the capture is refused."""
    words: str = ""
    """In a warning, or in the one line of the refusal; a regular expression."""
    source: str = "colmap"


def photo(root: Path) -> Path:
    return root / "images" / VICTIM


def colmap(root: Path, views=VIEWS, **options) -> None:
    write_colmap(root / "sparse/0", views, **options)


def changed_view(**changes) -> list:
    return [replace(view, **changes) if view.name == VICTIM else view for view in VIEWS]


def pose(change: Callable[[np.ndarray], np.ndarray]) -> list:
    return changed_view(camera_from_world=change(VIEWS[2].camera_from_world.copy()))


def with_nan(matrix: np.ndarray) -> np.ndarray:
    matrix[0, 3] = np.nan
    return matrix


def moved_away(matrix: np.ndarray) -> np.ndarray:
    matrix[:3, 3] += 1e6
    return matrix


def camera(model: str = "PINHOLE", params=(40.0, 40.0, 24.0, 16.0), width=WIDTH, height=HEIGHT) -> dict:
    return {"cameras": (ColmapCamera(1, model, width, height, params),)}


def cut(name: str, share: float) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return spoil


def patch(name: str, at: int, data: bytes) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        content = bytearray((root / name).read_bytes())
        content[at : at + len(data)] = data
        (root / name).write_bytes(content)

    return spoil


def frames(change: Callable[[list], object]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        meta = json.loads((root / "transforms.json").read_text())
        change(meta["frames"])
        write_json(root / "transforms.json", meta)

    return spoil


def top(**changes) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        meta = json.loads((root / "transforms.json").read_text()) | changes
        write_json(root / "transforms.json", {key: value for key, value in meta.items() if value is not None})

    return spoil


def moved_into_folders(root: Path) -> None:
    views = [renamed(view, f"{index % 2}/{view.name}") for index, view in enumerate(VIEWS)]
    for old, new in zip(VIEWS, views, strict=True):
        (root / "images" / new.name).parent.mkdir(exist_ok=True)
        (root / "images" / old.name).rename(root / "images" / new.name)
    colmap(root, views)


def upper_case(root: Path) -> None:
    for view in VIEWS:
        (root / "images" / view.name).rename(root / "images" / view.name.upper())


def second_model(root: Path) -> None:
    (root / "sparse/0").rename(root / "sparse/1")
    write_colmap(root / "sparse/0", VIEWS[:2])


def unregistered(root: Path) -> None:
    for index in range(3):
        write_photo(root / f"images/extra{index}.png", (1, 2, 3))


def claims_a_billion(root: Path) -> None:
    patch("sparse/0/images.bin", 0, struct.pack("<Q", 10**9))(root)


def huge_header(root: Path) -> None:
    content = bytearray(photo(root).read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    photo(root).write_bytes(content)


def masks(value: int, size=(WIDTH, HEIGHT)) -> Callable[[Path], object]:
    return lambda root: write_photo(root / "masks" / VICTIM, value, size, mode="L")


MISSING = f"skipped {VICTIM}: "
BROKEN = {
    "F12 two models": Broken(second_model, COUNT),
    "F13 a photo is missing": Broken(lambda root: photo(root).unlink(), COUNT - 1, MISSING + "the photo is not in"),
    "F14 photos without poses": Broken(unregistered, COUNT),
    "F15 a photo on its side": Broken(
        lambda root: write_photo(photo(root), (1, 2, 3), (HEIGHT, WIDTH)), COUNT - 1, "it lies on its side, turn it"
    ),
    "F15 a photo of another size": Broken(
        lambda root: write_photo(photo(root), (1, 2, 3), (31, 30)), COUNT - 1, "31 x 30 pixels, its camera 48 x 32"
    ),
    "F16 photos in folders": Broken(moved_into_folders, COUNT),
    "F20 names in capitals": Broken(upper_case, COUNT),
    "F20 another suffix": Broken(lambda root: photo(root).rename(photo(root).with_suffix(".bmp")), COUNT),
    "F21 a pose that is no number": Broken(lambda root: colmap(root, pose(with_nan)), COUNT - 1, MISSING),
    "F21 a lens that is no number": Broken(
        lambda root: colmap(root, **camera(params=(np.nan, 40.0, 24.0, 16.0))), None, r"images\.bin: none of its 6"
    ),
    "F22 a camera at a million": Broken(lambda root: colmap(root, pose(moved_away)), COUNT, "far from all others"),
    "F25 a mask of another shape": Broken(masks(255, (20, 30)), COUNT, "its mask is 20 x 30 pixels"),
    "F25 a mask that is black": Broken(masks(0), COUNT - 1, "its mask is black everywhere"),
    "F25 a mask that is none": Broken(
        lambda root: [(root / "masks").mkdir(), (root / "masks" / VICTIM).write_bytes(b"x")], COUNT - 1, "its mask: "
    ),
    "F26 an unknown lens": Broken(
        patch("sparse/0/cameras.bin", 12, struct.pack("<i", 99)), None, r"cameras\.bin: .*99"
    ),
    "F27 one photo": Broken(lambda root: colmap(root, VIEWS[:1]), 1, "there is one photo"),
    "F27 two photos": Broken(lambda root: colmap(root, VIEWS[:2]), 2),
    "F27 no points": Broken(lambda root: colmap(root, points=[]), COUNT, "there are no points"),
    "F29 a photo that is cut off": Broken(
        lambda root: [photo(root).with_suffix(".jpg"), cut(f"images/{VICTIM}", 0.7)(root)],
        COUNT - 1,
        "cannot be decoded",
    ),
    "an empty photo": Broken(lambda root: photo(root).write_bytes(b""), COUNT - 1, "cannot be decoded"),
    "text in place of a photo": Broken(lambda root: photo(root).write_text("hello"), COUNT - 1, "cannot be decoded"),
    "a folder in place of a photo": Broken(
        lambda root: [photo(root).unlink(), photo(root).mkdir()], COUNT - 1, MISSING
    ),
    "a header of gigabytes": Broken(huge_header, COUNT - 1, MISSING),
    "floats in a photo": Broken(
        lambda root: Image.new("F", (WIDTH, HEIGHT)).save(photo(root), format="TIFF"), COUNT - 1, "pixels of type F"
    ),
    "no photos": Broken(
        lambda root: [path.unlink() for path in (root / "images").iterdir()], None, "none of the 6 photos.*put them"
    ),
    "cameras.bin is missing": Broken(lambda root: (root / "sparse/0/cameras.bin").unlink(), None, r"cameras"),
    "images.bin is cut off": Broken(cut("sparse/0/images.bin", 0.6), None, r"images\.bin: "),
    "cameras.bin is cut off": Broken(cut("sparse/0/cameras.bin", 0.6), None, r"cameras\.bin: "),
    "points3D.bin is cut off": Broken(cut("sparse/0/points3D.bin", 0.6), None, r"points3D\.bin: "),
    "a billion images": Broken(claims_a_billion, None, r"images\.bin: "),
    "a lens of no width": Broken(lambda root: colmap(root, **camera(width=0)), None, r"none of its 6 frames"),
    "a focal length below zero": Broken(
        lambda root: colmap(root, **camera(params=(-40.0, 40.0, 24.0, 16.0))), None, "none of its 6 frames"
    ),
    "a lens that is not there": Broken(lambda root: colmap(root, changed_view(camera_id=9)), COUNT - 1, MISSING),
    "text with a broken line": Broken(
        lambda root: [
            [path.unlink() for path in (root / "sparse/0").iterdir()],
            colmap(root, suffix=".txt"),
            (root / "sparse/0/images.txt").write_text("1 2 three\n"),
        ],
        None,
        r"images\.txt: ",
    ),
    "no JSON": Broken(lambda root: (root / "transforms.json").write_text("{"), None, r"transforms\.json: ", "json"),
    "an empty file": Broken(
        lambda root: (root / "transforms.json").write_text(""), None, r"transforms\.json: ", "json"
    ),
    "no frames": Broken(top(frames=[]), None, r"transforms\.json: has no list of frames; it needs", "json"),
    "frames are no list": Broken(top(frames={"a": 1}), None, r"transforms\.json: .*frames", "json"),
    "no focal length": Broken(top(fl_x=None, fl_y=None), None, r"transforms\.json: .*fl_x", "json"),
    "a lens that nobody knows": Broken(top(camera_model="MAGIC"), None, "MAGIC", "json"),
    "a matrix of three rows": Broken(
        frames(lambda f: f[2].update(transform_matrix=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])), COUNT - 1, VICTIM, "json"
    ),
    "a matrix that mirrors": Broken(
        frames(lambda f: f[2].update(transform_matrix=(np.diag([-1.0, 1, 1, 1]) @ f[2]["transform_matrix"]).tolist())),
        COUNT - 1,
        VICTIM,
        "json",
    ),
    "a matrix without numbers": Broken(
        frames(lambda f: f[2].update(transform_matrix="abc")), COUNT - 1, VICTIM, "json"
    ),
    "a frame without a photo": Broken(frames(lambda f: f[2].pop("file_path")), COUNT - 1, "file_path", "json"),
    "a frame that is there twice": Broken(frames(lambda f: f.append(dict(f[2]))), COUNT, VICTIM, "json"),
    "a path that leaves": Broken(
        frames(lambda f: f[2].update(file_path="../../secret.png")),
        None,
        "leaves the capture; put the file inside",
        "json",
    ),
    "points that are missing": Broken(top(ply_file_path="none.ply"), COUNT, r"none\.ply", "json"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_capture(tmp_path, case):
    broken, root = BROKEN[case], tmp_path / "ünï 数据 x'y"  # F18, F19: whatever the folder is called
    (colmap_capture if broken.source == "colmap" else transforms_capture)(root, VIEWS)
    broken.spoil(root)
    if broken.photos is None:
        with pytest.raises(InputError, match=broken.words) as refused:
            load_capture(root)
        assert "\n" not in str(refused.value) and str(root) in str(refused.value)
        return
    scene = load_capture(root)
    assert len(scene.photos) == broken.photos
    views = [renamed(view, Path(view.name).name) for view in VIEWS]
    if case.startswith(("F22", "F20 another", "F20 names", "F16")):
        scene = scene_with_names_of(scene, views)
    if not case.startswith("F22"):
        assert_paired(scene, views)
    assert re.search(broken.words, "\n".join(scene.warnings)), scene.warnings


def scene_with_names_of(scene, views):
    """The scene with the views' names: files may be spelt otherwise than the capture names them."""
    by_stem = {Path(view.name).stem: view.name for view in views}
    photos = tuple(replace(photo, name=by_stem[Path(photo.name).stem.lower()]) for photo in scene.photos)
    return replace(scene, photos=photos)


def test_there_are_forty_of_them():
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("case", ["a billion images", "no JSON", "no photos"])
def test_the_command_line_says_one_line_with_status_2(tmp_path, capsys, case):
    broken = BROKEN[case]
    (colmap_capture if broken.source == "colmap" else transforms_capture)(tmp_path, VIEWS)
    broken.spoil(tmp_path)
    for command in (["inspect", str(tmp_path)], ["train", "splat", "--capture", str(tmp_path), "--output", "run"]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("neural3d: error: ") and re.search(broken.words, line)
