"""Plain matrices: LLFF's poses_bounds.npy, Middlebury's K-R-t text, Open3D's trajectories."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from neural3d.capture.formats.posed_photos import (
    PosedPhoto,
    inverse_rigid,
    list_posed,
    read_lines,
    rigid,
)
from neural3d.capture.images import Header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Listing, Skipped
from neural3d.capture.paths import list_images
from neural3d.capture.strict_json import load_json, vector
from neural3d.errors import InputError, said

_HALF = 0.5
"""From pixel centres at whole numbers, as Open3D and Middlebury have them, to ours."""
_NPY_HEAD = b"\x93NUMPY"
_AS_TEXT = (
    "its rows belong to the photos by their names as text (10 before 2), as LLFF writes them; name them 02, 10 if not"
)


def find_llff(root: Path) -> Path | None:
    """poses_bounds.npy."""
    path = root / "poses_bounds.npy"
    return path if path.is_file() else None


def list_llff(root: Path, path: Path) -> Listing:
    """List the photos of images/ in the order of their names as text, one for each row.

    Rows hold 3x5 numbers: axes down, right, back and the centre, then height, width and focal length; then two depths.

    Raises: InputError when the rows are no such numbers, or are not as many as the photos.
    """
    try:
        with path.open("rb") as file:
            if file.read(6) != _NPY_HEAD:
                raise ValueError("it is no .npy file")
        rows = np.load(path, allow_pickle=False, mmap_mode="r")
        table = np.array(rows, dtype=np.float64) if rows.ndim == 2 and rows.shape[1] == 17 else None
    except Exception as error:
        # numpy takes the header for Python source: what is wrong with it ends in errors of nearly every kind.
        raise InputError(f"{path}: cannot be read ({said(error)}); write the poses again") from error
    if table is None:
        raise InputError(f"{path}: has the shape {rows.shape}, expected (photos, 17); write the poses again")
    # As LLFF's own scripts and its readers have them: as text, so that 10.png comes before 2.png.
    names = sorted(_photos(root, path, len(table)))
    photos = [_llff_photo(name, row[:15].reshape(3, 5)) for name, row in zip(names, table, strict=True)]
    notes = (_AS_TEXT,) if names != sorted(names, key=_by_number) else ()
    return list_posed(root, path, "LLFF", photos, notes=notes)


def _llff_photo(name: str, matrix: Float64[np.ndarray, "3 5"]) -> PosedPhoto | Skipped:
    down, right, back, center, (height, width, focal) = matrix.T
    try:
        world_from_camera = rigid(np.stack([right, down, -back], axis=1), center)
        if not np.isfinite([height, width, focal]).all():
            raise BadFrame("its intrinsics are not finite numbers")
        lens = Lens("PINHOLE", int(width), int(height), (focal, focal), (width / 2, height / 2))
        return PosedPhoto(name, lens, inverse_rigid(world_from_camera))
    except BadFrame as bad:
        return Skipped(name, str(bad))


def _photos(root: Path, path: Path, count: int) -> list[str]:
    """The photos that rows without names belong to.

    Raises: InputError when there are more or fewer.
    """
    folders = ("images", "rgb", "color", "image", "images_4", "images_8")
    names: list[str] = []
    for folder in folders:
        names = [f"{folder}/{name}" for name in list_images(root / folder)] if (root / folder).is_dir() else []
        if names:
            break
    if len(names) != count:
        raise InputError(
            f"{path}: has {count} poses, {root} holds {len(names)} photos in images/, and their order is all that "
            "joins them; restore the photos that are missing, remove those that are too many"
        )
    return names


def _by_number(name: str) -> tuple[int, int, str]:
    """Plain numbers by value (2 before 10), everything else by name."""
    stem = Path(name).stem
    return (0, int(stem), name) if stem.isdigit() else (1, 0, name)


def find_krt(root: Path) -> Path | None:
    """The one text file whose name ends in _par.txt."""
    found = sorted(root.glob("*_par.txt"))
    return found[0] if found else None


def list_krt(root: Path, path: Path) -> Listing:
    """List lines of a name, the nine numbers of K, the nine of R, the three of t: pixel = K (R x + t).

    Source: Seitz et al. 2006, the Middlebury multi-view data's *_par.txt.

    Raises: InputError when a line has other fields.
    """
    lines = [line for line in read_lines(path) if line.strip()]
    has_count = bool(lines) and len(lines[0].split()) == 1
    photos = [_krt_photo(path, line) for line in (lines[1:] if has_count else lines)]
    return list_posed(root, path, "K-R-t text", photos)


def _krt_photo(path: Path, line: str) -> PosedPhoto | Skipped:
    words = line.rsplit(maxsplit=21)
    try:
        if len(words) != 22:
            raise ValueError(f"{len(words)} fields")
        numbers = np.array(words[1:], dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {line[:40]!r} is no name with 21 numbers ({said(error)}); write it again") from error
    try:
        return PosedPhoto(
            words[0], _lens_of(numbers[:9].reshape(3, 3)), rigid(numbers[9:18].reshape(3, 3), numbers[18:])
        )
    except BadFrame as bad:
        return Skipped(words[0], str(bad))


def _lens_of(k: Float64[np.ndarray, "3 3"]):
    """The pinhole of an intrinsic matrix whose pixel centres are at whole numbers, for a photo of any size."""
    if not np.isfinite(k).all() or k[2, 2] == 0:
        raise BadFrame("its intrinsics are not finite numbers")
    k = k / k[2, 2]

    def lens(header: Header) -> Lens:
        middle = (float(k[0, 2]) + _HALF, float(k[1, 2]) + _HALF)
        return Lens("PINHOLE", header.width, header.height, (float(k[0, 0]), float(k[1, 1])), middle)

    return lens


def find_open3d(root: Path) -> Path | None:
    """A trajectory: JSON with its intrinsics, or a .log beside a JSON with an intrinsic matrix."""
    for path in sorted(root.glob("*.json")):
        with path.open("rb") as file:
            if b'"PinholeCameraTrajectory"' in file.read(4096):
                return path
    found = sorted(root.glob("*.log"))
    return found[0] if found and _is_log(found[0]) else None


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        words = file.readline(200).split()
    return len(words) == 3 and all(word.lstrip(b"-").isdigit() for word in words)


def list_open3d(root: Path, path: Path) -> Listing:
    """List the photos of images/, rgb/ or color/ in their order, one for each pose.

    Raises: InputError when a pose is damaged, the numbers of poses and photos differ, or intrinsics are missing.
    """
    entries = _log_entries(root, path) if path.suffix == ".log" else _json_entries(path)
    names = sorted(_photos(root, path, len(entries)), key=_by_number)
    photos: list[PosedPhoto | Skipped] = []
    for name, (matrix, lens) in zip(names, entries, strict=True):
        try:
            photos.append(PosedPhoto(name, lens, rigid(matrix[:3, :3], matrix[:3, 3])))
        except BadFrame as bad:
            photos.append(Skipped(name, str(bad)))
    return list_posed(root, path, "Open3D trajectory", photos)


def _json_entries(path: Path) -> list[tuple[Float64[np.ndarray, "4 4"], Lens]]:
    """camera_from_world, column after column, with each photo's lens."""
    parameters = load_json(path).get("parameters")
    if not isinstance(parameters, list):
        raise InputError(f"{path}: has no list of parameters; write the trajectory again")
    try:
        return [
            (vector(entry, "extrinsic", 16).reshape(4, 4).T, intrinsic_lens(entry.get("intrinsic")))
            for entry in parameters
        ]
    except (AttributeError, BadFrame) as error:
        raise InputError(f"{path}: a camera is damaged ({said(error)}); write the trajectory again") from error


def intrinsic_lens(record: object) -> Lens:
    """Open3D's PinholeCameraIntrinsic.

    Raises: BadFrame when it is damaged.
    """
    if not isinstance(record, dict):
        raise BadFrame("it has no intrinsic")
    k = vector(record, "intrinsic_matrix", 9).reshape(3, 3).T
    width, height = (int(value) for value in vector({"size": [record.get("width"), record.get("height")]}, "size", 2))
    middle = (float(k[0, 2]) + _HALF, float(k[1, 2]) + _HALF)
    return Lens("PINHOLE", width, height, (float(k[0, 0]), float(k[1, 1])), middle)


def _log_entries(root: Path, path: Path) -> list[tuple[Float64[np.ndarray, "4 4"], Lens]]:
    """world_from_camera, five lines each: three whole numbers, four rows."""
    lens = _log_lens(root, path)
    rows = [line.split() for line in read_lines(path) if line.strip()]
    try:
        if len(rows) % 5 or not rows:
            raise ValueError(f"{len(rows)} lines, expected five a pose")
        matrices = [np.array(rows[i + 1 : i + 5], dtype=np.float64) for i in range(0, len(rows), 5)]
        if any(matrix.shape != (4, 4) or not np.isfinite(matrix).all() for matrix in matrices):
            raise ValueError("a pose is no 4x4 matrix of finite numbers")
        return [(np.linalg.inv(matrix), lens) for matrix in matrices]
    except (ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"{path}: {said(error)}; write the trajectory again") from error


def _log_lens(root: Path, path: Path) -> Lens:
    for candidate in sorted(root.glob("*.json")):
        content = load_json(candidate)
        try:
            if "intrinsic_matrix" in content:
                return intrinsic_lens(content)
            if content.get("class_name") == "PinholeCameraTrajectory":
                return intrinsic_lens(content["parameters"][0]["intrinsic"])
        except (BadFrame, KeyError, IndexError, TypeError) as error:
            raise InputError(f"{candidate}: its intrinsics are damaged ({said(error)}); write them again") from error
    raise InputError(f"{path}: has poses and no intrinsics; put Open3D's camera_intrinsic.json beside it")
