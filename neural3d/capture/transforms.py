"""transforms.json captures: the dialects of nerfstudio, instant-ngp and Blender's NeRF scenes.

The world is the file's own: `applied_transform`, which leads from the original COLMAP world to it, is already in the
poses and in the points that the file names, so it only matters for points that are still in COLMAP's world.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from neural3d.capture.camera_models import CURVE_MODELS, FISHEYE_MODELS, PRISM_MODELS, SUPPORTED_MODELS
from neural3d.capture.colmap import find_model, model_points
from neural3d.capture.images import read_header
from neural3d.capture.lenses import Lens, unsupported
from neural3d.capture.listing import BadFrame, Frame, Listing, PointCloud, Skipped, Split, require_frames
from neural3d.capture.panoramas import EQUIRECTANGULAR, panorama_lens
from neural3d.capture.paths import ImageFinder, find_mask, printable, resolve_inside
from neural3d.capture.point_files import read_points_ply
from neural3d.capture.poses import pose_from_opengl
from neural3d.capture.strict_json import load_json, number, text
from neural3d.errors import InputError
from neural3d.storage import atomic_write_text

WORLD_UP = (0.0, 0.0, 1.0)
"""Blender's worlds, and those that nerfstudio and instant-ngp write, have z up."""

_PERSPECTIVE = ("PERSPECTIVE", "")
"""Other names of a perspective lens; its coefficients say what it does."""
_CAMERA_KEYS = (
    *("camera_model", "is_fisheye", "camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h"),
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
)
"""What frames inherit from the top of the file."""


def find_transforms(root: Path) -> tuple[Path, ...]:
    """The JSON files that count: the train file and the test file (val only where there is no test), or one for all."""
    train, test, val, whole = (root / f"transforms{split}.json" for split in ("_train", "_test", "_val", ""))
    if train.is_file():
        held_out = next((path for path in (test, val) if path.is_file()), None)
        return (train, held_out) if held_out else (train,)
    return (whole,) if whole.is_file() else ()


def list_transforms(root: Path, files: tuple[Path, ...]) -> Listing:
    """List the frames of transforms.json, or of a train file and the held-out one, sorted by name.

    Raises: InputError when no frame is left, a path leaves the capture, or a file is broken.
    """
    metas = {file: load_json(file) for file in files}
    notes: list[str] = []
    listed: list[Frame | Skipped] = []
    # Held-out frames first: a photo that is named twice stays held out, or its score would mean nothing.
    for file in reversed(files):
        splits = _split_files(file) if len(files) > 1 else _split_names(file, metas[file], notes)
        listed += _list_file(root, file, metas[file], splits, {f.image_path for f in listed if isinstance(f, Frame)})
    frames = sorted((entry for entry in listed if isinstance(entry, Frame)), key=lambda frame: frame.name)
    skipped = tuple(entry for entry in listed if isinstance(entry, Skipped))
    if not listed:
        raise InputError(f"{files[0]}: train_filenames names none of its frames; correct or remove it")
    require_frames(len(frames), skipped, files[0])
    return Listing(
        root=root,
        format=" + ".join(file.name for file in files),
        source=files[0],
        frames=tuple(frames),
        skipped=skipped,
        points=_points(root, metas, notes),
        world_up=np.array(WORLD_UP),
        notes=tuple(notes),
        summary=f"{len(listed)} photos have a pose in {' and '.join(file.name for file in files)}",
    )


SplitOf = Callable[[str], Split | Literal["unused"] | None]
"""The split of a file_path; None where the capture names none."""


def _split_files(file: Path) -> SplitOf:
    return lambda path: "train" if file.name == "transforms_train.json" else "test"


def _split_names(file: Path, meta: dict[str, Any], notes: list[str]) -> SplitOf:
    """Splits by train_filenames, test_filenames and val_filenames, as nerfstudio writes them."""
    named = {split: _names(file, meta, f"{split}_filenames") for split in ("train", "test", "val")}
    held_out = named["test"] or named["val"]
    if not held_out and not named["train"]:
        return lambda path: None
    if both := sorted(held_out & named["train"]):
        notes.append(f"{len(both)} photos are named for training and for testing, they are only tested: {both[0]}, …")

    def split_of(path: str) -> Split | Literal["unused"] | None:
        if _plain(path) in held_out:
            return "test"
        if named["train"] and _plain(path) not in named["train"]:
            return "unused"
        return "train" if held_out else None

    return split_of


def _names(file: Path, meta: dict[str, Any], key: str) -> set[str]:
    names = meta.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: {key} is no list of paths; correct or remove it")
    return {_plain(name) for name in names}


def _plain(path: str) -> str:
    """The path without `./` at its front, so that spellings compare."""
    return str(PurePosixPath(path))


def _list_file(
    root: Path, file: Path, meta: dict[str, Any], split_of: SplitOf, taken: set[Path]
) -> list[Frame | Skipped]:
    records = meta.get("frames")
    if not isinstance(records, list) or not records:
        raise InputError(f"{file}: has no list of frames; it needs file_path and transform_matrix for each photo")
    finder = ImageFinder(root, file)
    inherited = {key: meta[key] for key in _CAMERA_KEYS if key in meta}
    taken = set(taken)
    listed: list[Frame | Skipped] = []
    for index, record in enumerate(records):
        name = f"frames[{index}]"
        try:
            if not isinstance(record, dict):
                raise BadFrame("is no object with file_path and transform_matrix")
            name = printable(_plain(text(record, "file_path")))
            split = split_of(record["file_path"])
            if split != "unused":
                frame = _frame(root, record, inherited, split, finder)
                if frame.image_path in taken:
                    raise BadFrame("is named twice")
                taken.add(frame.image_path)
                listed.append(frame)
        except BadFrame as bad:
            listed.append(Skipped(name, str(bad)))
    return listed


def _frame(
    root: Path, record: dict[str, Any], inherited: dict[str, Any], split: Split | None, finder: ImageFinder
) -> Frame:
    image_path = _find_image(text(record, "file_path"), finder)
    camera_from_world = pose_from_opengl(record.get("transform_matrix"))
    camera = {**inherited, **record}
    if "camera_angle_x" in record and "fl_x" not in record:
        camera.pop("fl_x", None)
    name = image_path.relative_to(root.resolve()).as_posix()
    return Frame(
        printable(name),
        image_path,
        _mask(root, record, name, finder),
        _lens(camera, image_path),
        camera_from_world,
        split,
    )


def _find_image(path: str, finder: ImageFinder) -> Path:
    """The photo itself, below images/ where the path lacks that, or with the separators of another system."""
    candidates = [path, f"images/{path}"]
    if "\\" in path:
        candidates += [candidate.replace("\\", "/") for candidate in candidates]
    for candidate in candidates:
        if found := finder.find(candidate):
            return found
    raise BadFrame("the photo is missing")


def _mask(root: Path, record: dict[str, Any], name: str, finder: ImageFinder) -> Path | None:
    if record.get("mask_path") is not None:
        found = finder.find(text(record, "mask_path"))
        if found is None:
            raise BadFrame(f"its mask {record['mask_path']!r} is missing")
        return found
    below_images = PurePosixPath(*PurePosixPath(name).parts[1:])
    return find_mask(root, name, *([str(below_images)] if below_images.name else []))


def rename_masks(listing: Listing, gone: Collection[Path], mask_from_photo: Mapping[Path, Path]) -> None:
    """Where transforms.json, or what was given in its place, names masks that shall go, name the new ones, or none.

    Raises: InputError for a broken file; StorageError.
    """
    root, files = listing.root, list(find_transforms(listing.root))
    if listing.format == listing.source.name and listing.source not in files:
        files.append(listing.source)  # one with a name of its own
    for file in files:
        meta, finder = load_json(file), ImageFinder(root, file)
        changed = [_rename_mask(root, record, finder, gone, mask_from_photo) for record in meta["frames"]]
        if any(changed):
            atomic_write_text(file, json.dumps(meta, indent=1) + "\n")


def _rename_mask(
    root: Path, record: Any, finder: ImageFinder, gone: Collection[Path], mask_from_photo: Mapping[Path, Path]
) -> bool:
    """In place, where its mask is one of those; whether it was."""
    try:
        if record.get("mask_path") is None or finder.find(text(record, "mask_path")) not in gone:
            return False
        mask = mask_from_photo.get(_find_image(text(record, "file_path"), finder))
    except (AttributeError, BadFrame):
        return False  # no record of a photo that is in use
    del record["mask_path"]
    if mask is not None:
        record["mask_path"] = mask.relative_to(root.resolve()).as_posix()
    return True


def _lens(camera: dict[str, Any], image_path: Path) -> Lens:
    model = camera.get("camera_model", "")
    if model == EQUIRECTANGULAR:
        return panorama_lens(*_size(camera, image_path))
    if model in CURVE_MODELS + PRISM_MODELS:
        raise BadFrame(f"transforms.json has no numbers for the camera model {model}; give the COLMAP model instead")
    if model not in SUPPORTED_MODELS + _PERSPECTIVE:
        raise BadFrame(unsupported(str(model)))
    width, height = _size(camera, image_path)
    focal_px = _focal_px(camera, width, height)
    principal_px = number(camera, "cx", width / 2), number(camera, "cy", height / 2)
    k = [number(camera, f"k{i}", 0.0) for i in range(1, 7)]
    fisheye = camera.get("is_fisheye") is True or model in FISHEYE_MODELS
    full = model == "FULL_OPENCV"
    lens = Lens(
        model=model or ("OPENCV_FISHEYE" if fisheye else "OPENCV" if any(k) else "PINHOLE"),
        width=width,
        height=height,
        focal_px=focal_px,
        principal_px=principal_px,
        # nerfstudio's k3 and k4 go on with the polynomial; only FULL_OPENCV divides by k4, k5 and k6.
        radial=tuple(k[:3] if full else k[:4]),
        radial_denominator=tuple(k[3:]) if full else (),
        tangential=(0.0, 0.0) if fisheye else (number(camera, "p1", 0.0), number(camera, "p2", 0.0)),
        fisheye=fisheye,
    )
    if fault := lens.fault():
        raise BadFrame(fault)
    return lens


def _size(camera: dict[str, Any], image_path: Path) -> tuple[int, int]:
    """Width and height that the intrinsics are meant for; the photo's own where the file does not say."""
    if "w" not in camera or "h" not in camera:
        header = read_header(image_path)
        return header.width, header.height
    width, height = number(camera, "w"), number(camera, "h")
    if width != int(width) or height != int(height):
        raise BadFrame(f"w and h are {width:g} and {height:g}, expected whole pixels")
    return int(width), int(height)


def _focal_px(camera: dict[str, Any], width: int, height: int) -> tuple[float, float]:
    """fl_x and fl_y, or from the angle of view; either serves for both axes."""
    sizes = {"x": width, "y": height}
    focal = {}
    for axis, size in sizes.items():
        if f"fl_{axis}" in camera:
            focal[axis] = number(camera, f"fl_{axis}")
        elif f"camera_angle_{axis}" in camera:
            angle_rad = number(camera, f"camera_angle_{axis}")
            if not 0 < angle_rad < math.pi:
                raise BadFrame(f"camera_angle_{axis} is {angle_rad:g}, expected radians between 0 and pi")
            focal[axis] = 0.5 * size / math.tan(0.5 * angle_rad)
    if not focal:
        raise BadFrame("has no focal length; add fl_x (pixels) or camera_angle_x (radians)")
    return focal.get("x", focal.get("y", 0.0)), focal.get("y", focal.get("x", 0.0))


def _points(root: Path, metas: dict[Path, dict[str, Any]], notes: list[str]) -> PointCloud | None:
    for file, meta in metas.items():
        if isinstance(ply := meta.get("ply_file_path"), str):
            path = resolve_inside(root, ply, named_by=file)
            if path.is_file():
                return read_points_ply(path)
            notes.append(f"{file.name}: ply_file_path {ply!r} is missing; training starts without its points")
    found = find_model(root)
    transforms = [meta["applied_transform"] for meta in metas.values() if "applied_transform" in meta]
    if found is None or not transforms:
        return None
    points = model_points(found.folder, found.suffix)
    matrix = _applied_transform(next(iter(metas)), transforms[0])
    return None if points is None else PointCloud(points.xyz @ matrix[:, :3].T + matrix[:, 3], points.rgb)


def _applied_transform(file: Path, value: Any) -> Float64[np.ndarray, "3 4"]:
    """The map from COLMAP's world, where the model's points are, to the file's."""
    rows = value[:3] if isinstance(value, list) else []
    finite = all(
        isinstance(row, list) and len(row) == 4 and all(isinstance(v, int | float) and math.isfinite(v) for v in row)
        for row in rows
    )
    if len(rows) != 3 or not finite:
        raise InputError(f"{file}: applied_transform is no 3x4 matrix of finite numbers; correct or remove it")
    return np.array(rows, dtype=np.float64)
