"""Paths that a capture names: kept inside the capture, and found although suffix or case differ."""

import errno
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from neural3d.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".exr")
"""In the order in which a missing suffix is tried."""


def resolve_inside(root: Path, relative: str, *, named_by: Path | str) -> Path:
    """The path that `relative` means below `root`, symbolic links followed.

    A capture comes from a stranger as often as not: no path in it may read what lies elsewhere.

    Raises: InputError when the path leaves `root`, however it is spelt.
    """
    resolved_root = root.resolve()
    try:
        resolved = (resolved_root / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{named_by}: the path {relative!r} cannot be followed ({error}); correct it") from error
    if not resolved.is_relative_to(resolved_root):
        raise InputError(f"{named_by}: the path {relative!r} leaves the capture; put the file inside {root}")
    return resolved


class ImageFinder:
    """Finds photos by name; each folder is read once."""

    def __init__(self, root: Path, named_by: Path) -> None:
        self._root = root
        self._named_by = named_by
        self._folders: dict[Path, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}

    def find(self, relative: str) -> Path | None:
        """The file of that name; else one that differs in case only; else one that differs in its suffix only.

        Raises: InputError when the path leaves the capture.
        """
        wanted = resolve_inside(self._root, relative, named_by=self._named_by)
        try:
            if wanted.is_file():
                return wanted
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise
        name = self._other_spelling(wanted)
        if name is None:
            return None
        # Resolved again: the file that was found may be a link that leads out of the capture.
        found = resolve_inside(self._root, str(wanted.parent / name), named_by=self._named_by)
        return found if found.is_file() else None

    def _other_spelling(self, wanted: Path) -> str | None:
        by_name, by_stem = self._read_folder(wanted.parent)
        if matches := by_name.get(wanted.name.lower()):
            return matches[0] if len(matches) == 1 else None
        if matches := by_stem.get(wanted.name.lower()):
            return min(matches, key=_suffix_rank)
        matches = by_stem.get(wanted.stem.lower(), []) if wanted.suffix.lower() in IMAGE_SUFFIXES else []
        return matches[0] if len(matches) == 1 else None

    def _read_folder(self, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        if folder not in self._folders:
            by_name, by_stem = defaultdict(list), defaultdict(list)
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                by_name[path.name.lower()].append(path.name)
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    by_stem[path.stem.lower()].append(path.name)
            self._folders[folder] = (by_name, by_stem)
        return self._folders[folder]


def _suffix_rank(name: str) -> int:
    return IMAGE_SUFFIXES.index(PurePosixPath(name).suffix.lower())


def find_mask(root: Path, *names: str) -> Path | None:
    """The mask of a photo in `masks/`: the photo's own name, its stem with .png, or its name with .png appended."""
    return find_mask_in(root / "masks", *names)


def find_mask_in(folder: Path, *names: str) -> Path | None:
    """As `find_mask`, in any folder."""
    return next(masks_in(folder, *names), None)


def masks_in(folder: Path, *names: str) -> Iterator[Path]:
    """All files that could be the mask of a photo; the first one is."""
    if not folder.is_dir():
        return
    for name in names:
        path = PurePosixPath(name)
        for candidate in (name, str(path.with_suffix(".png")), f"{name}.png"):
            mask = resolve_inside(folder, candidate, named_by=folder)
            if mask.is_file():
                yield mask


def list_images(folder: Path) -> list[str]:
    """Names of all photos below a folder, relative to it, sorted."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def reduced_path(root: Path, image_path: Path, factor: int) -> Path | None:
    """The same photo in `images_<factor>/`, where other tools keep smaller copies; None when there is none."""
    parts = image_path.relative_to(root.resolve()).parts
    for folder in ("images", "input"):
        if folder in parts[:-1]:
            at = parts.index(folder)
            smaller = root.resolve().joinpath(*parts[:at], f"images_{factor}", *parts[at + 1 :])
            return smaller if smaller.is_file() and smaller.resolve().is_relative_to(root.resolve()) else None
    return None


def printable(name: str) -> str:
    """The name with characters escaped that no terminal or log can take (file systems allow any bytes)."""
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")
