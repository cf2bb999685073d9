"""Captures from strangers: paths that leave, headers that lie, bytes at random."""

import os
import random
import struct

import pytest

from neural3d.capture import inspect_capture, load_capture
from neural3d.capture.point_files import read_points_ply
from neural3d.errors import InputError

from .writers import colmap_capture, renamed, ring, transforms_capture, write_colmap, write_json, write_photo, write_ply

OUTSIDE = ["../secret.png", "images/../../secret.png", "a/b/../../../secret.png", "/etc/passwd", "images/\0.png"]


def outside_photo(root) -> str:
    write_photo(root.parent / "secret.png", (1, 2, 3))
    return str(root.parent / "secret.png")


@pytest.mark.parametrize("path", [*OUTSIDE, "ABSOLUTE", "\ud800.png"])
def test_photos_outside_the_capture_are_refused(tmp_path, path):
    root = tmp_path / "capture"
    secret = outside_photo(root)
    meta = transforms_capture(root, ring(3))
    meta["frames"][1]["file_path"] = secret if path == "ABSOLUTE" else path
    write_json(root / "transforms.json", meta)
    with pytest.raises(InputError, match=r"transforms\.json: the path .*(leaves the capture|cannot be followed)"):
        load_capture(root)


@pytest.mark.parametrize("path", ["../../secret.png", "/etc/passwd"])
def test_colmap_names_outside_the_capture_are_refused(tmp_path, path):
    root = tmp_path / "capture"
    outside_photo(root)
    views = ring(3)
    colmap_capture(root, views)
    write_colmap(root / "sparse/0", [renamed(views[0], path), *views[1:]])
    with pytest.raises(InputError, match="leaves the capture"):
        load_capture(root)


@pytest.mark.parametrize("key", ["mask_path", "ply_file_path"])
def test_masks_and_points_outside_the_capture_are_refused(tmp_path, key):
    root = tmp_path / "capture"
    meta = transforms_capture(root, ring(3))
    (meta["frames"][0] if key == "mask_path" else meta)[key] = "../secret.png"
    outside_photo(root)
    write_json(root / "transforms.json", meta)
    with pytest.raises(InputError, match=r"'\.\./secret\.png' leaves the capture; put the file inside"):
        load_capture(root)


@pytest.mark.parametrize("linked", ["file", "folder", "other case"])
def test_links_that_lead_outside_are_refused(tmp_path, linked):
    root = tmp_path / "capture"
    secret = outside_photo(root)
    transforms_capture(root, ring(3))
    if linked == "folder":
        (root / "images").rename(tmp_path / "elsewhere")
        (root / "images").symlink_to(tmp_path / "elsewhere")
    else:
        (root / "images/v001.png").unlink()
        (root / ("images/v001.png" if linked == "file" else "images/V001.PNG")).symlink_to(secret)
    with pytest.raises(InputError, match="leaves the capture"):
        load_capture(root)


def test_links_inside_the_capture_and_to_it_are_fine(tmp_path):
    root = tmp_path / "capture"
    transforms_capture(root, ring(3))
    (root / "images").rename(root / "photos")
    (root / "images").symlink_to("photos")
    (tmp_path / "link").symlink_to(root)
    assert len(load_capture(tmp_path / "link").photos) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX systems")
def test_a_pipe_in_place_of_a_photo_does_not_hang(tmp_path):
    transforms_capture(tmp_path, ring(3))
    (tmp_path / "images/v001.png").unlink()
    os.mkfifo(tmp_path / "images/v001.png")
    assert len(load_capture(tmp_path).photos) == 2


def test_a_name_that_no_file_can_have_spoils_its_frame_alone(tmp_path):
    meta = transforms_capture(tmp_path, ring(3))
    meta["frames"][1]["file_path"] = "images/" + 5000 * "x"
    write_json(tmp_path / "transforms.json", meta)
    scene = load_capture(tmp_path)
    assert len(scene.photos) == 2 and any("the photo is missing" in warning for warning in scene.warnings)


def test_nothing_to_work_on(tmp_path):
    with pytest.raises(InputError, match="does not exist, expected the folder of a capture"):
        load_capture(tmp_path / "none")
    (tmp_path / "a.md").write_text("")
    with pytest.raises(InputError, match="is a file, expected the folder"):
        load_capture(tmp_path / "a.md")
    with pytest.raises(InputError, match="has no poses .0 photos"):
        load_capture(tmp_path)
    write_photo(tmp_path / "images/a.png", (1, 2, 3))
    with pytest.raises(InputError, match="has no poses .1 photos.*estimate the poses first"):
        inspect_capture(tmp_path)


def test_a_name_is_said_once(tmp_path):
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError) as caught:
        load_capture(tmp_path)
    assert str(caught.value).count("transforms.json") == 1 and "is not UTF-8 text" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_photo_that_may_not_be_read_is_skipped(tmp_path):
    transforms_capture(tmp_path, ring(3))
    (tmp_path / "images/v001.png").chmod(0)
    scene = load_capture(tmp_path)
    assert len(scene.photos) == 2 and any("change its permissions" in warning for warning in scene.warnings)


def test_poses_without_photos(tmp_path):
    write_colmap(tmp_path / "sparse/0", ring(3))
    with pytest.raises(InputError, match=r"none of the 3 photos .* is there, for example 'v000.png'; put them into"):
        load_capture(tmp_path)


def test_a_model_without_images(tmp_path):
    write_colmap(tmp_path / "sparse/0", [])
    with pytest.raises(InputError, match="registers no image"):
        load_capture(tmp_path)


PLY_HEADER = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
BROKEN_PLY = {
    "a billion": PLY_HEADER.format("binary_little_endian", 10**9),
    "a billion in ascii": PLY_HEADER.format("ascii", 10**9) + "1 2 3\n",
    "4e12": PLY_HEADER.format("binary_big_endian", 4 * 10**12),
    "negative": PLY_HEADER.format("ascii", -5),
    "no number": PLY_HEADER.format("ascii", "many"),
    "unknown format": PLY_HEADER.format("binary", 0),
    "no format": PLY_HEADER.format("ascii", 0).replace("format ascii 1.0\n", ""),
    "no ply": "hello",
    "empty": "",
    "endless header": "ply\n" + "comment x\n" * 100_000,
    "no end": "ply\nformat ascii 1.0\n",
    "list": PLY_HEADER.format("ascii", 0).replace("property float z", "property list uchar int z"),
    "unknown type": PLY_HEADER.format("ascii", 0).replace("float z", "quad z"),
    "no z": PLY_HEADER.format("ascii", 0).replace("property float z\n", ""),
    "twice x": PLY_HEADER.format("binary_little_endian", 0).replace("float y\n", "float x\nproperty float y\n"),
    "short line": PLY_HEADER.format("ascii", 2) + "1 2 3\n1 2\n",
    "words": PLY_HEADER.format("ascii", 1) + "one two three\n",
    "faces first": PLY_HEADER.format("ascii", 0).replace("element vertex", "element face 1\nelement vertex"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN_PLY)
def test_broken_point_files_are_named(tmp_path, kind):
    path = tmp_path / "cloud.ply"
    path.write_text(BROKEN_PLY[kind])
    with pytest.raises(InputError, match=r"cloud\.ply: ") as caught:
        read_points_ply(path)
    if "billion" in kind:
        assert "its header claims 1000000000 vertices, the file holds at most" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_point_files_of_other_tools(tmp_path):
    """Float colours, elements after the vertices, colours missing."""
    header = PLY_HEADER.format("ascii", 2).replace("end_header\n", "")
    colors = "".join(f"property float {name}\n" for name in ("red", "green", "blue"))
    (tmp_path / "a.ply").write_text(header + colors + "element face 0\nend_header\n1 2 3 0 0.5 1\n4 5 6 1 1 1\n")
    points = read_points_ply(tmp_path / "a.ply")
    assert points.xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert points.rgb.tolist() == [[0, 128, 255], [255, 255, 255]]
    (tmp_path / "b.ply").write_text(PLY_HEADER.format("ascii", 1) + "1 2 nan")
    assert read_points_ply(tmp_path / "b.ply").rgb.tolist() == [[128, 128, 128]]


def _mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, a part cut out, or the end cut off."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        match rng.randint(0, 3):
            case 0:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                at = rng.randrange(len(data))
                data[at : at + 8] = struct.pack("<Q", rng.choice([0, 2**63, 2**64 - 1, 10**9, 255]))
            case 2:
                del data[rng.randrange(len(data)) :]
            case _:
                at = rng.randrange(len(data))
                del data[at : at + rng.randint(1, 30)]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.parametrize("kind", ["cameras.bin", "images.bin", "points3D.bin", "cameras.txt", "images.txt",
                                  "points3D.txt", "transforms.json", "cloud.ply"])  # fmt: skip
def test_damaged_files_never_end_in_anything_but_an_input_error(tmp_path, kind):
    """100 damaged variants of each file: a scene, or one line that says what is wrong."""
    rng = random.Random(kind)
    if kind in ("transforms.json", "cloud.ply"):
        transforms_capture(tmp_path, ring(3), ply_file_path="cloud.ply")
        write_ply(tmp_path / "cloud.ply")
        path = tmp_path / kind
    else:
        colmap_capture(tmp_path, ring(3), suffix=kind[-4:])
        path = tmp_path / "sparse/0" / kind
    content = path.read_bytes()
    outcomes = set()
    for _ in range(100):
        path.write_bytes(_mutated(content, rng))
        try:
            scene = load_capture(tmp_path)
        except InputError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
            outcomes.add("refused")
        else:
            assert scene.cameras.camera_from_world.isfinite().all() and scene.cameras.focal_px.isfinite().all()
            assert scene.points is None or scene.points.means_world.isfinite().all()
            outcomes.add("loaded")
    assert "refused" in outcomes
