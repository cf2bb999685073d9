"""From what a file says of each photo to a listing: finds the photos, skips bad frames by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float64

from neural3d.capture.images import Header
from neural3d.capture.images import read_header as read_image_header
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame, Frame, Listing, PointCloud, Skipped, require_frames
from neural3d.capture.paths import ImageFinder, find_mask, list_images, printable
from neural3d.capture.poses import is_sane, nearest_rotation
from neural3d.errors import InputError

IMAGE_FOLDERS = ("images", "", "input", "rgb", "color", "image", "photos")
MAX_BYTES = 512 * 2**20
"""Text files of poses are read whole; ten thousand photos with their points take a tenth of it."""

LensOf = Callable[[Header], Lens]


@dataclass(frozen=True)
class PosedPhoto:
    """One photo as the file names it."""

    name: str
    lens: Lens | LensOf
    """The lens, or how to make it once the photo's size is known."""
    camera_from_world: Float64[np.ndarray, "4 4"]


def list_posed(
    root: Path,
    source: Path,
    format: str,
    photos: Iterable[PosedPhoto | Skipped],
    *,
    points: PointCloud | None = None,
    world_up: tuple[float, float, float] | None = None,
    notes: tuple[str, ...] = (),
) -> Listing:
    """Find each photo below `root`, and list the frames sorted by name.

    Raises: InputError when no frame is left or a path leaves the capture.
    """
    places = _Places(root, source)
    frames: list[Frame] = []
    skipped: list[Skipped] = []
    total = 0
    for photo in photos:
        total += 1
        try:
            if isinstance(photo, Skipped):
                raise BadFrame(photo.reason)
            frame = _frame(root, photo, places)
            if any(frame.image_path == other.image_path for other in frames):
                raise BadFrame("is named twice; the first is used")
            frames.append(frame)
        except BadFrame as bad:
            skipped.append(Skipped(printable(photo.name), str(bad)))
    require_frames(len(frames), tuple(skipped), source)
    return Listing(
        root=root,
        format=format,
        source=source,
        frames=tuple(sorted(frames, key=lambda frame: frame.name)),
        skipped=tuple(skipped),
        points=points,
        world_up=None if world_up is None else np.array(world_up),
        notes=notes,
        summary=f"{total} photos have a pose in {source.name}",
    )


def _frame(root: Path, photo: PosedPhoto, places: "_Places") -> Frame:
    path = places.find(photo.name)
    lens = photo.lens if isinstance(photo.lens, Lens) else photo.lens(read_image_header(path))
    if fault := lens.fault():
        raise BadFrame(fault)
    name = path.relative_to(root.resolve()).as_posix()
    below = PurePosixPath(*PurePosixPath(name).parts[1:])
    mask = find_mask(root, name, *([str(below)] if below.name else []))
    return Frame(printable(name), path, mask, lens, photo.camera_from_world)


class _Places:
    """Where photos lie: files name them by paths of other machines, without folder, or without suffix."""

    def __init__(self, root: Path, source: Path) -> None:
        self._root = root
        self._finder = ImageFinder(root, source)
        self._by_stem: dict[str, list[str]] | None = None

    def find(self, name: str) -> Path:
        """The photo: by what is left of its path below each known folder, at last by its stem alone.

        Raises: BadFrame when it is not there, or several could be meant.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
        for start in range(len(parts)):
            for folder in IMAGE_FOLDERS:
                if found := self._finder.find("/".join([*([folder] if folder else []), *parts[start:]])):
                    return found
        matches = self._stems().get(PurePosixPath(parts[-1] if parts else name).stem.lower(), [])
        if len(matches) > 1:
            raise BadFrame(f"could be {matches[0]} or {matches[1]}; keep one of them in the capture")
        if not matches or (found := self._finder.find(matches[0])) is None:
            raise BadFrame("the photo is missing")
        return found

    def _stems(self) -> dict[str, list[str]]:
        if self._by_stem is None:
            self._by_stem = {}
            for path in list_images(self._root):
                if not path.startswith("masks/"):
                    self._by_stem.setdefault(PurePosixPath(path).stem.lower(), []).append(path)
        return self._by_stem


def rigid(rotation: Float64[np.ndarray, "3 3"], translation: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "4 4"]:
    """The 4x4 matrix of a rotation and a translation.

    Raises: BadFrame when it is not finite, scaled, skewed or mirrored.
    """
    if not (is_sane(rotation) and is_sane(translation)):
        raise BadFrame("its pose is not finite")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = nearest_rotation(rotation), translation
    return matrix


def inverse_rigid(matrix: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """The way back."""
    inverse = np.eye(4)
    inverse[:3, :3], inverse[:3, 3] = matrix[:3, :3].T, -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])


def from_opengl_camera(
    world_from_camera: Float64[np.ndarray, "3 3"], center: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """camera_from_world (OpenCV) of a world_from_camera with OpenGL axes.

    Raises: BadFrame for what is no rotation.
    """
    return inverse_rigid(rigid(world_from_camera @ OPENCV_FROM_OPENGL, center))


def rotation_from_axis_angle(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """Rotation by |vector| radians around the vector. Source: Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises: InputError when it cannot be read, or is too large to be one.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read")
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
