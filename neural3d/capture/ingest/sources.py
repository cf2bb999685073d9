"""What the user gave: which files are photos, which name each gets in the capture, which masks belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from neural3d.capture.paths import list_images
from neural3d.capture.photo_files import PHOTO_SUFFIXES, RAW_SUFFIXES
from neural3d.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mts", ".m2ts", ".3gp", ".insv")
_MASK_FOLDERS = ("masks", "mask")
_NOT_PHOTOS = ("@eaDir", "__MACOSX")
"""Folders that other programs leave among photos."""


@dataclass(frozen=True)
class SourceFile:
    """One photo of the user's; it is read, never written."""

    path: Path
    relative: str
    """Path below the folder that was given, with forward slashes."""
    mask: Path | None


@dataclass(frozen=True)
class Source:
    """A folder of photos, or a video."""

    path: Path
    files: tuple[SourceFile, ...]
    """Empty for a video."""
    notes: tuple[str, ...] = ()

    @property
    def is_video(self) -> bool:
        """Frames have to be taken of it."""
        return is_video(self.path)


def is_video(path: Path) -> bool:
    """Whether a path is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def find_source(path: Path) -> Source:
    """List a folder's photos, sorted by name; a single photo and a video stand for themselves.

    Raises: InputError when there is nothing to work on.
    """
    if not path.exists():
        raise InputError(f"{path}: does not exist; give a folder of photos or a video")
    if path.is_file():
        if is_video(path):
            return Source(path, ())
        raise InputError(f"{path}: is no video ({', '.join(VIDEO_SUFFIXES)}); give a folder of photos or a video")
    try:
        return _folder(path)
    except PermissionError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions") from error


def _folder(path: Path) -> Source:
    root = path / "images" if (path / "images").is_dir() and not _photos_in(path) else path
    seen = [file for file in sorted(root.rglob("*")) if not _is_hidden(file.relative_to(root))]
    files = [file for file in seen if _is_photo(file) and not _below_masks(file.relative_to(root))]
    videos = [file for file in seen if is_video(file)]
    if not files:
        hint = f"; a video is given by itself: {videos[0]}" if videos else ""
        raise InputError(f"{path}: holds no photos ({', '.join(PHOTO_SUFFIXES[:3])}, HEIC, RAW, …){hint}")
    stems = {file.with_suffix("") for file in files}
    others = [video.name for video in videos if video.with_suffix("") not in stems]
    notes = []
    if len(videos) > len(others):
        notes.append(f"{len(videos) - len(others)} Live Photos: their stills are used")
    if others:
        notes.append(f"{len(others)} videos in the folder are not used, give a video by itself: {others[0]}")
    masks = _masks(path, root)
    named = [SourceFile(file, file.relative_to(root).as_posix(), _mask_of(file, root, masks)) for file in files]
    twice = len(named) - len(one_of_each(named))
    if twice:
        notes.append(f"{twice} photos are there as RAW, too: those are used with --linear, the others without")
    return Source(path, tuple(named), tuple(notes))


def one_of_each(files: Sequence[SourceFile], *, prefers_raw: bool = False) -> tuple[SourceFile, ...]:
    """Of a photo that its camera has saved as RAW and otherwise, the one or the other."""
    raw, other = set(), set()
    for file in files:
        (raw if _is_raw(file) else other).add(_plain(file))
    left_out = raw & other
    return tuple(file for file in files if _plain(file) not in left_out or _is_raw(file) == prefers_raw)


def _is_raw(file: SourceFile) -> bool:
    return file.path.suffix.lower() in RAW_SUFFIXES


def _plain(file: SourceFile) -> str:
    return str(PurePosixPath(file.relative).with_suffix("")).lower()


def _photos_in(folder: Path) -> bool:
    return any(_is_photo(file) and not _is_hidden(Path(file.name)) for file in folder.iterdir())


def _is_hidden(relative: Path) -> bool:
    """Thumbnails, what was thrown away, and the ._IMG_1.JPG that macOS leaves on foreign disks."""
    return any(part.startswith(".") or part in _NOT_PHOTOS for part in relative.parts)


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in PHOTO_SUFFIXES and file.is_file()


def _below_masks(relative: Path) -> bool:
    return any(part.lower() in _MASK_FOLDERS for part in relative.parts[:-1])


def _masks(path: Path, root: Path) -> dict[str, Path]:
    """Masks by their path below the folder of masks, in small letters."""
    found: dict[str, Path] = {}
    for parent in (path, root):
        for name in _MASK_FOLDERS:
            folder = parent / name
            if folder.is_dir():
                found |= {relative.lower(): folder / relative for relative in list_images(folder)}
    return found


def _mask_of(file: Path, root: Path, masks: dict[str, Path]) -> Path | None:
    relative = file.relative_to(root)
    names = (relative.as_posix(), relative.with_suffix(".png").as_posix(), f"{relative.as_posix()}.png")
    return next((masks[name.lower()] for name in names if name.lower() in masks), None)
