"""Writers of the formats that captures come in, made from the formats' documentation and not from our readers."""

import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

MODEL_IDS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "FOV": 7,
    "EQUIRECTANGULAR": 17,
}
WIDTH, HEIGHT, FOCAL = 48, 32, 40.0


@dataclass(frozen=True)
class View:
    """A photo of one colour and where it was taken from."""

    name: str
    color: tuple[int, int, int]
    camera_from_world: np.ndarray
    camera_id: int = 1

    @property
    def center(self) -> np.ndarray:
        return -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]


@dataclass(frozen=True)
class ColmapCamera:
    camera_id: int
    model: str
    width: int
    height: int
    params: tuple[float, ...]


PINHOLE = ColmapCamera(1, "PINHOLE", WIDTH, HEIGHT, (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
POINTS = [((x, y, z), (10 * x + 100, 20, 30)) for x in range(3) for y in range(3) for z in range(2)]


def look_at(center: np.ndarray, target=(0.0, 0.0, 0.0), up=(0.0, 0.0, 1.0)) -> np.ndarray:
    """camera_from_world with OpenCV axes."""
    forward = np.asarray(target, float) - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ center
    return matrix


def ring(count: int, *, radius: float = 4.0, suffix: str = ".png", up=(0.0, 0.0, 1.0)) -> list[View]:
    """Views around the z axis, each of another colour; names sort in the order of the list."""
    views = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        center = np.array([radius * math.cos(angle), radius * math.sin(angle), 1.0])
        color = (20 + 200 * i // max(count, 1), 255 - 9 * i, 37 * i % 256)
        views.append(View(f"v{i:03d}{suffix}", color, look_at(center, up=up)))
    return views


def write_photo(path: Path, color, size=(WIDTH, HEIGHT), mode="RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)


def write_photos(folder: Path, views: list[View], size=(WIDTH, HEIGHT)) -> None:
    for view in views:
        write_photo(folder / view.name, view.color, size)


def quat_wxyz(rotation: np.ndarray) -> tuple[float, ...]:
    """By the eigenvector of the quaternion's quadratic form (Bar-Itzhack 2000), whatever the trace."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    form = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(form)[1][:, -1]
    return (w, x, y, z)


def write_colmap(folder: Path, views: list[View], cameras=(PINHOLE,), points=POINTS, suffix=".bin", rigs=False) -> None:
    """A COLMAP model; `rigs` adds the two files that newer versions write."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = _write_binary if suffix == ".bin" else _write_text
    writer(folder, views, cameras, points)
    if rigs:
        for name in ("rigs", "frames"):
            (folder / f"{name}{suffix}").write_bytes(struct.pack("<Q", 0) if suffix == ".bin" else b"# none\n")


def _write_binary(folder: Path, views, cameras, points) -> None:
    content = struct.pack("<Q", len(cameras))
    for camera in cameras:
        content += struct.pack("<IiQQ", camera.camera_id, MODEL_IDS[camera.model], camera.width, camera.height)
        content += struct.pack(f"<{len(camera.params)}d", *camera.params)
    (folder / "cameras.bin").write_bytes(content)
    content = struct.pack("<Q", len(views))
    for number, view in enumerate(views):
        pose = (*quat_wxyz(view.camera_from_world[:3, :3]), *view.camera_from_world[:3, 3])
        # Ids as COLMAP has them: neither contiguous nor sorted.
        content += struct.pack("<I7dI", 7 * (len(views) - number), *pose, view.camera_id)
        content += view.name.encode() + b"\0" + struct.pack("<Q", 2) + struct.pack("<ddQddQ", 1, 2, 3, 4, 5, 6)
    (folder / "images.bin").write_bytes(content)
    content = struct.pack("<Q", len(points))
    for number, (xyz, rgb) in enumerate(points):
        track = number % 3
        content += struct.pack("<Q3d3BdQ", number + 1, *xyz, *rgb, 0.5, track) + struct.pack("<II", 1, 1) * track
    (folder / "points3D.bin").write_bytes(content)


def _write_text(folder: Path, views, cameras, points) -> None:
    lines = ["# Camera list with one line of data per camera:"]
    lines += [
        f"{c.camera_id} {c.model} {c.width} {c.height} {' '.join(repr(float(p)) for p in c.params)}" for c in cameras
    ]
    (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:"]
    for number, view in enumerate(views):
        pose = (*quat_wxyz(view.camera_from_world[:3, :3]), *view.camera_from_world[:3, 3])
        words = " ".join(repr(float(value)) for value in pose)
        lines += [f"{7 * (len(views) - number)} {words} {view.camera_id} {view.name}", "1 2 3" if number % 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    lines = ["# 3D point list"]
    for number, (xyz, rgb) in enumerate(points):
        lines.append(" ".join(str(v) for v in (number + 1, *xyz, *rgb, 0.5, 1, 1)))
    (folder / "points3D.txt").write_text("\n".join(lines) + "\n")


def colmap_capture(root: Path, views: list[View] | None = None, **options) -> list[View]:
    """A whole COLMAP capture; its views."""
    views = ring(10) if views is None else views
    write_photos(root / "images", views)
    write_colmap(root / "sparse/0", views, **options)
    return views


def opengl_matrix(camera_from_world: np.ndarray) -> list[list[float]]:
    """transform_matrix: world from camera with y up and z backward."""
    return (np.linalg.inv(camera_from_world) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist()


def transforms_meta(views: list[View], folder: str = "images", **top) -> dict:
    """The content of a transforms.json; keywords of None leave a key out."""
    meta = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, **top}
    meta = {key: value for key, value in meta.items() if value is not None}
    frames = [
        {"file_path": f"{folder}/{v.name}", "transform_matrix": opengl_matrix(v.camera_from_world)} for v in views
    ]
    return {**meta, "frames": frames}


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def transforms_capture(root: Path, views: list[View] | None = None, **top) -> dict:
    """A whole transforms.json capture; its content."""
    views = ring(10) if views is None else views
    write_photos(root / "images", views)
    meta = transforms_meta(views, **top)
    write_json(root / "transforms.json", meta)
    return meta


def renamed(view: View, name: str) -> View:
    return replace(view, name=name)


def write_ply(path: Path, points=POINTS, kind="binary_little_endian") -> None:
    """Points as PLY."""
    header = f"ply\nformat {kind} 1.0\ncomment made by a test\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue")) + "end_header\n"
    order = ">" if kind == "binary_big_endian" else "<"
    if kind == "ascii":
        body = "".join(" ".join(str(v) for v in (*xyz, *rgb)) + "\n" for xyz, rgb in points).encode()
    else:
        body = b"".join(struct.pack(f"{order}3f3B", *xyz, *rgb) for xyz, rgb in points)
    path.write_bytes(header.encode() + body)


def assert_paired(scene, views: list[View], expected_names: list[str] | None = None) -> None:
    """Each photo of the scene has the colour and the place of the view of its name."""
    by_name = {view.name: view for view in views}
    centers = scene.capture_from_scene.apply(scene.cameras.centers_world.double()).numpy()
    assert len(scene.photos) == len(scene.cameras) > 0
    for photo, center in zip(scene.photos, centers, strict=True):
        view = by_name[photo.name.removeprefix("images/")]
        assert tuple(photo.pixels[0, 0].tolist()) == view.color, photo.name
        np.testing.assert_allclose(center, view.center, atol=1e-4, err_msg=photo.name)
    if expected_names is not None:
        assert [photo.name.removeprefix("images/") for photo in scene.photos] == expected_names
