"""Every parser of files from strangers, with a good file to damage: what `benchmarks/fuzz.py` runs for an hour.

A parser may end in its result or in one line; `Target.refusals` are the exceptions that are such a line.
"""

import gzip
import io
import json
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import msgspec
import numpy as np
from capture.test_formats import CASES, FILES, write_case
from capture.test_fuzz import COLMAP, read_listing, write_file
from capture.test_photo_files import HEIC, write_dng
from capture.writers import ring, transforms_capture, write_ply
from cli.captures import ring_cameras, write_capture
from export.splats import IDENTITY, like_a_scene
from PIL import Image

from neural3d.cameras import Cameras
from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.control_points import read_control_points
from neural3d.capture.georeference.place import place_capture
from neural3d.capture.georeference.references import camera_center
from neural3d.capture.images import read_header, read_mask, read_pixels
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.state import PreparedPhoto, State, load_state, save_state
from neural3d.capture.ingest.videos import read_facts, score_frames
from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import read_photo
from neural3d.capture.point_files import read_points_ply
from neural3d.cli import main
from neural3d.cli.runs import load_trained
from neural3d.errors import InputError
from neural3d.export.camera_formats import read_cameras, write_cameras
from neural3d.export.formats import read_splats, write_splats
from neural3d.priors.files import load_prior, save_prior
from neural3d.priors.label_files import read_labels
from neural3d.priors.prior import PriorConfig
from neural3d.priors.registry import make_prior
from neural3d.render.camera_files import CameraPath, load_keyframes
from neural3d.run import Run
from neural3d.viewer.inbox import Hostile, is_usable, read_message

Layer = Callable[[bytes], tuple[bytes, Callable[[bytes], bytes]]]
"""Of a file's bytes: what is damaged of them, and the way back to a file."""
SIZE = (192, 108)


def _whole(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    return content, bytes


@dataclass(frozen=True)
class Target:
    """One parser, one kind of file."""

    name: str
    write: Callable[[Path], Path]
    """Into an empty folder: a good file with all that belongs to it; the file that is damaged."""
    read: Callable[[Path], object]
    """Of the damaged file; asserts that what it read makes sense."""
    refusals: tuple[type[Exception], ...] = (InputError,)
    layer: Layer = _whole
    """Below what would refuse nearly every damage by its checksum."""
    slow: bool = False
    """Each reading starts a program."""


def all_targets() -> list[Target]:
    """By name, of those whose libraries are there."""
    found = [*_poses(), *_photos(), *_places(), *_points(), *_cameras(), *_splats(), *_runs(), *_others()]
    return sorted(found, key=lambda target: target.name)


def _poses() -> list[Target]:
    kinds = [*COLMAP, "transforms.json", *CASES]
    deep = {"polycam": 2}
    extra = {"bundler list": ("bundler", "list.txt"), "open3d lens": ("open3d log", "camera_intrinsic.json")}
    targets = [
        Target(f"poses {kind}", partial(_posed, kind), partial(_listed, 2 if kind in COLMAP else deep.get(kind, 0)))
        for kind in kinds
    ]
    return targets + [
        Target(f"poses {name}", partial(_beside, case, file), partial(_listed, 0))
        for name, (case, file) in extra.items()
    ]


def _posed(kind: str, root: Path) -> Path:
    return write_file(root, kind)


def _beside(case: str, file: str, root: Path) -> Path:
    write_case(root, case)
    assert FILES[case] != file
    return root / file


def _listed(depth: int, path: Path) -> None:
    read_listing(path.parents[depth])


def _photos() -> list[Target]:
    names = ("a.jpg", "a.png", "grey16.png", "palette.png", "a.tif", "grey16.tif", "lossless.webp", "a.webp", "a.bmp")
    names = (*names, "a.ppm", "a.heic", "a.dng")
    targets = [Target(f"photo {name}", partial(_photo, name), _read_photo, (BadFrame,)) for name in names]
    return [*targets, Target("mask", partial(_photo, "palette.png"), _read_mask, (BadFrame,))]


def _photo(name: str, root: Path) -> Path:
    path = root / name
    if name == "a.heic":
        shutil.copy(HEIC, path)
        return path
    if name == "a.dng":
        write_dng(path, np.full((64, 96), 20000), 6)
        return path
    grey = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(grey).resize((48, 32))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769)[41989] = 26
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 1.0), 3: "E", 4: (11.0, 34.0, 1.0), 5: b"\0", 6: 520.0})
    options = {"exif": exif, "icc_profile": _profile()} if name.endswith((".jpg", ".png", ".webp", ".tif")) else {}
    if name.startswith("grey16"):
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        options = {}
    elif name.startswith("palette"):
        image = image.quantize(16)
        options = {"transparency": 3}
    elif name.startswith("lossless"):
        options["lossless"] = True
    image.save(path, **options)
    return path


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _read_photo(path: Path) -> None:
    found = read_photo(path).pixels
    assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] in (3, 4) and found.size > 0
    if path.suffix not in (".heic", ".dng"):
        header = read_header(path)
        assert read_pixels(path, turned=False).shape[:2] == (header.height, header.width)


def _read_mask(path: Path) -> None:
    assert read_mask(path).dtype == bool


def _places() -> list[Target]:
    ways = (_placed, _world)
    stations, world = (Target(f"places {way.__name__[1:]}", way, _check_world) for way in ways)
    state = Target("state of an ingest", _state, lambda path: load_state(path.parent))
    return [stations, world, state, Target("control points", _control_points, read_control_points)]


def _placed(root: Path) -> Path:
    transforms_capture(root, ring(4))
    centers = ((frame.name, camera_center(frame.camera_from_world)) for frame in list_capture(root).frames)
    path = root / "stations.csv"
    path.write_text("name,x,y,z\n" + "\n".join(f"{name},{x},{y},{z}" for name, (x, y, z) in centers))
    return path


def _world(root: Path) -> Path:
    return place_capture(root, _placed(root)).path


def _check_world(path: Path) -> None:
    if path.suffix == ".csv":
        way = place_capture(path.parent, path, overwrite=True).world.metres_from_capture
        assert 0 < way.scale < np.inf and way.translation.isfinite().all()
    read_listing(path.parent)


def _state(root: Path) -> Path:
    photos = tuple(PreparedPhoto(f"{i}.jpg", f"/p/{i}.jpg", "1:2", 40, 30, "lens", 35.0) for i in range(3))
    save_state(root, State(Settings(), False, photos, mapped={"report": {}}))
    return root / "ingest.json"


def _control_points(root: Path) -> Path:
    path = root / "points.csv"
    rows = [f"p{i},{i}.5,{i - 3},2,photo{j}.jpg,{10 + j},20" for i in range(3) for j in range(2)]
    path.write_text("# name, x, y, z, photo, u, v\n" + "\n".join(rows) + "\nphoto9.jpg 1 2 3\n")
    return path


def _points() -> list[Target]:
    kinds = ("ascii", "binary_little_endian", "binary_big_endian")
    return [Target(f"points {kind}", partial(_cloud, kind), _read_points) for kind in kinds]


def _cloud(kind: str, root: Path) -> Path:
    write_ply(root / "cloud.ply", kind=kind)
    return root / "cloud.ply"


def _read_points(path: Path) -> None:
    points = read_points_ply(path)
    assert points.xyz.shape == points.rgb.shape and points.rgb.dtype == np.uint8


def _cameras() -> list[Target]:
    suffixes = ("usda", "usdc", "usdz", "chan", "glb", "gltf", "blender.json", "json")
    targets = [Target(f"cameras {suffix}", partial(_track, suffix), _read_track) for suffix in suffixes]
    return [*targets, Target("key frames", partial(_track, "json"), _read_keys)]


def _track(suffix: str, root: Path) -> Path:
    path = root / f"track.{suffix}"
    write_cameras(path, CameraPath(ring_cameras(), 24.0, tuple(range(10))), capture_from_scene=IDENTITY)
    return path


def _read_track(path: Path) -> None:
    cameras = read_cameras(path, scene_from_capture=IDENTITY, size_px=SIZE).cameras
    assert len(cameras) > 0 and cameras.camera_from_world.isfinite().all() and (cameras.focal_px > 0).all()


def _read_keys(path: Path) -> None:
    cameras = load_keyframes(path, scene_from_capture=IDENTITY, size_px=SIZE)
    assert cameras is None or cameras.camera_from_world.isfinite().all()


def _splats() -> list[Target]:
    names = ("a.ply", "a.compressed.ply", "a.splat", "a.spz", "a.sog", "a.glb", "a.usda", "a.usdc", "a.usdz")
    targets = [Target(f"splats {name[2:]}", partial(_model, name), _read_splats) for name in names]
    four = Target("splats spz 4", _spz_4, _read_splats)
    inner = {"spz": _in_gzip, "sog": partial(_in_zip, "meta.json"), "glb": _in_glb}
    return [
        *targets,
        four,
        *(
            Target(f"splats {kind}, inside", partial(_model, f"a.{kind}"), _read_splats, layer=layer)
            for kind, layer in inner.items()
        ),
    ]


def _model(name: str, root: Path) -> Path:
    write_splats(root / name, like_a_scene(40, degree=1), capture_from_scene=IDENTITY)
    return root / name


def _spz_4(root: Path) -> Path:
    write_splats(root / "a.spz", like_a_scene(40, degree=2), capture_from_scene=IDENTITY, version=4)
    return root / "a.spz"


def _read_splats(path: Path) -> None:
    assert all(bool(tensor.isfinite().all()) for tensor in read_splats(path).tensors().values())


def _in_gzip(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    return gzip.decompress(content), partial(gzip.compress, compresslevel=1)


def _in_zip(name: str, content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}

    def rebuilt(inner: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for entry, data in {**entries, name: inner}.items():
                archive.writestr(entry, data)
        return out.getvalue()

    return entries[name], rebuilt


def _in_glb(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The description, which is JSON. Source: glTF 2.0, section 4.4."""
    (size,) = struct.unpack_from("<I", content, 12)
    rest = content[20 + size :]

    def rebuilt(inner: bytes) -> bytes:
        inner = inner + b" " * (-len(inner) % 4)
        return content[:8] + struct.pack("<II4s", 20 + len(inner) + len(rest), len(inner), b"JSON") + inner + rest

    return content[20 : 20 + size], rebuilt


def _runs() -> list[Target]:
    files = ("config.json", "scene.json", "checkpoint")
    targets = [Target(f"run {file}", partial(_run, file), _read_run) for file in files]
    return [
        *targets,
        Target("run log.jsonl", partial(_run, "log.jsonl"), lambda path: Run.open(path.parent).read_log()),
    ]


def _run(file: str, root: Path) -> Path:
    """A training of two steps."""
    capture = write_capture(root / "capture")
    command = ["train", "splat", "--capture", str(capture), "--output", str(root / "run"), "--steps", "2"]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert main([*command, "--max-gaussians", "60", "--device", "cpu"]) == 0
    if file == "log.jsonl":
        records = [{"step": 1, "loss": 0.5}, {"step": 2, "num_gaussians": 60}]
        (root / "run" / file).write_text("".join(json.dumps(record) + "\n" for record in records))
    if file != "checkpoint":
        return root / "run" / file
    return next((root / "run" / "checkpoints").glob("step-*")) / "meta.json"


def _read_run(path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.name == "run")
    cameras = load_trained(folder).views.cameras
    assert all(getattr(cameras, field).isfinite().all() for field in Cameras.__dataclass_fields__)


def _others() -> list[Target]:
    return [
        Target("prior", _prior, load_prior),
        Target("labels", _labels, lambda path: read_labels(path, path.parent, [path.parent / "a" / "b.png"])),
        Target("message of a browser", _message, _read_message, (Hostile,)),
        Target("video", _video, _read_video, slow=True),
    ]


def _prior(root: Path) -> Path:
    save_prior(root / "a.safetensors", make_prior(PriorConfig("ae-linear", 8, ("a", "b"))), {"steps": 1})
    return root / "a.safetensors"


def _labels(root: Path) -> Path:
    (root / "labels.csv").write_text('.,plain\na,"mossy, old brick"\na/b.png,wall\n')
    return root / "labels.csv"


def _message(root: Path) -> Path:
    camera = {"wxyz": [1.0, 0, 0, 0], "position": [0, 0, 0], "fov": 1.0, "near": 0.01, "far": 1000}
    camera |= {"image_height": 480, "image_width": 640, "look_at": [0, 0, 1], "up_direction": [0, -1, 0]}
    (root / "message").write_bytes(msgspec.msgpack.encode({"type": "ViewerCameraMessage", **camera}))
    return root / "message"


def _read_message(path: Path) -> None:
    assert is_usable(read_message(path.read_bytes())) in (True, False)


def _video(root: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3), dtype=np.uint8)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", "48x32", "-r", "10", "-i", "-", "-pix_fmt", "yuv420p", str(root / "a.mp4")]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return root / "a.mp4"


def _read_video(path: Path) -> None:
    scores = score_frames(path, read_facts(path), lambda done: None)
    assert np.isfinite(scores.sharpness).all() and np.isfinite(scores.shift).all()
