"""A folder of images, searched recursively, as pictures to learn from."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from neural3d.capture.listing import BadFrame
from neural3d.capture.photo_files import PHOTO_SUFFIXES, read_photo
from neural3d.errors import InputError
from neural3d.priors.label_files import read_labels
from neural3d.priors.patches import Picture

MAX_PICTURES = 2000
MAX_TOTAL_PIXELS = 150_000_000
"""What is kept of a folder in memory: 0.45 GB."""
PATCHES_ACROSS = 4
"""How many patches fit across the shorter side of a middling image, unless a downscale is given."""
_LOOKED_AT = 9


@dataclass(frozen=True)
class Folder:
    """What a folder holds."""

    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    """Those of the file of labels; else names of the subfolders, where all images lie in at least two; else none."""
    downscale: float
    skipped: tuple[str, ...]
    """Images that could not be read, one line each."""
    num_left_out: int
    """Images beyond what is kept in memory, evenly left out."""


def read_folder(
    root: Path, size: int, downscale: float | None = None, labels_file: Path | None = None, maps: Path | None = None
) -> Folder:
    """Read images, made smaller by `downscale`, or by what lets a patch show a quarter of a middling image.

    Transparent pixels count as unknown.

    Raises: InputError where there is no image that can be read.
    """
    paths = list_images(root)
    skipped: dict[Path, str] = {}
    chosen = downscale or _fitting_downscale(_spread(paths, _LOOKED_AT), size, skipped)
    told = [_top_folder(root, path) for path in paths] if labels_file is None else read_labels(labels_file, root, paths)
    is_labelled = labels_file is not None or (len(set(told)) > 1 and "" not in told)
    labels = tuple(sorted(set(told))) if is_labelled else ()
    label_from_path = dict(zip(paths, told, strict=True))
    used = _spread(paths, MAX_PICTURES)
    pictures: list[Picture] = []
    total_pixels = 0
    for path in used:
        if total_pixels > MAX_TOTAL_PIXELS:
            break
        pixels = _pixels(path, skipped)
        if pixels is not None:
            label = labels.index(label_from_path[path]) if labels else None
            drawn = None if maps is None else _map(maps, path.relative_to(root), pixels.shape[:2])
            pictures.append(_picture(pixels, chosen, label, drawn))
            total_pixels += pictures[-1].pixels.size // 3
    if not pictures:
        reasons = next(iter(skipped.values()), "there is none")
        raise InputError(f"{root}: no image can be read ({reasons}); give a folder of photos")
    left_out = len(paths) - len(pictures) - len(skipped)
    return Folder(tuple(pictures), labels, chosen, tuple(skipped.values()), left_out)


def list_images(root: Path) -> list[Path]:
    """All files with an image's suffix, sorted, hidden ones left out.

    Raises: InputError where there is none.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a folder of images")
    found = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not shown:
        raise InputError(f"{root}: holds no images (looked for {' '.join(PHOTO_SUFFIXES)}, in its subfolders, too)")
    return shown


def scaled(image: Image.Image, downscale: float) -> Image.Image:
    """The image at 1/downscale of its size, each new pixel the mean of those it covers."""
    if downscale == 1:
        return image
    size = tuple(max(1, round(side / downscale)) for side in image.size)
    return image.resize(size, Image.Resampling.BOX)


def _picture(pixels: np.ndarray, downscale: float, label: int | None, drawn: np.ndarray | None) -> Picture:
    colors = np.array(scaled(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), downscale))
    small = None if drawn is None else np.array(scaled(Image.fromarray(drawn), downscale))
    if pixels.shape[2] == 3:
        return Picture(colors, None, label, small)
    alpha = np.array(scaled(Image.fromarray(np.ascontiguousarray(pixels[..., 3])), downscale))
    return Picture(colors, alpha == 255, label, small)


def _pixels(path: Path, skipped: dict[Path, str]) -> np.ndarray | None:
    if path in skipped:
        return None
    try:
        pixels = read_photo(path).pixels
    except BadFrame as error:
        skipped[path] = str(error)
        return None
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _map(maps: Path, name: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The map of an image: the same path under `maps`, with any suffix of an image.

    Raises: InputError where there is none, it cannot be read, or is of another size than the image.
    """
    found = [path for suffix in PHOTO_SUFFIXES if (path := maps / name.with_suffix(suffix)).is_file()]
    if not found:
        raise InputError(f"{maps}: no map for {name}; expected {maps / name.with_suffix('.png')}, or another suffix")
    try:
        pixels = read_photo(found[0]).pixels
    except BadFrame as error:
        raise InputError(f"{found[0]}: {error}; give a map that can be read") from error
    if pixels.shape[:2] != shape:
        sizes = [f"{side[1]} x {side[0]}" for side in (pixels.shape, shape)]
        raise InputError(f"{found[0]}: the map is {sizes[0]}, its image {sizes[1]}; they must be equal")
    wide = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.ascontiguousarray(wide)


def _fitting_downscale(paths: Sequence[Path], size: int, skipped: dict[Path, str]) -> float:
    found = [pixels for path in paths if (pixels := _pixels(path, skipped)) is not None]
    sides = [min(pixels.shape[:2]) for pixels in found]
    return max(1.0, statistics.median(sides) / (PATCHES_ACROSS * size)) if sides else 1.0


def _top_folder(root: Path, path: Path) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else ""


def _spread(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly chosen."""
    count = min(most, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]
