"""A folder of images, searched recursively, as pictures to learn from."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from neural3d.capture.images import read_header
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
_USUAL_PIXELS = 24e6
"""Of a photo whose file does not say, as RAW files."""


@dataclass(frozen=True)
class Folder:
    """What a folder holds."""

    pictures: tuple[Picture, ...]
    labels: tuple[str, ...]
    """Those of the file of labels; else names of the subfolders, where all images lie in at least two; else none.

    Of each there is a picture."""
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
    kept: dict[Path, Picture] = {}
    total_pixels = 0
    for path in _fitting_in_memory(paths, chosen):
        if total_pixels > MAX_TOTAL_PIXELS:
            break  # headers said less
        pixels = _pixels(path, skipped)
        if pixels is not None:
            drawn = None if maps is None else _map(maps, path.relative_to(root), pixels.shape[:2])
            kept[path] = _picture(pixels, chosen, drawn)
            total_pixels += kept[path].pixels.size // 3
    if not kept:
        reasons = next(iter(skipped.values()), "there is none")
        raise InputError(f"{root}: no image can be read ({reasons}); give a folder of photos")
    pictures, labels = _labelled(kept, dict(zip(paths, told, strict=True)) if is_labelled else {})
    left_out = len(paths) - len(pictures) - len(skipped)
    return Folder(pictures, labels, chosen, tuple(skipped.values()), left_out)


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


def _labelled(
    kept: dict[Path, Picture], label_from_path: dict[Path, str]
) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """The pictures with the numbers of their labels, and the labels that some picture has."""
    labels = tuple(sorted({label_from_path[path] for path in kept if path in label_from_path}))
    if not labels:
        return tuple(kept.values()), ()
    return tuple(replace(p, label=labels.index(label_from_path[path])) for path, p in kept.items()), labels


def _fitting_in_memory(paths: Sequence[Path], downscale: float) -> list[Path]:
    """As many as may be kept by what their headers say, evenly chosen: neighbours by name are often of one class."""
    used = _spread(paths, MAX_PICTURES)
    sizes = dict(zip(used, _header_sizes(used, downscale), strict=True))
    for count in range(len(used), 0, -1):
        found = _spread(used, count)
        if sum(sizes[path] for path in found) <= MAX_TOTAL_PIXELS:
            return found
    return used[:1]


def _header_sizes(paths: Sequence[Path], downscale: float) -> list[float]:
    """Pixels of each once it is made smaller; where a file does not say before it is decoded, as of the others."""
    told: list[int | None] = []
    for path in paths:
        try:
            header = read_header(path)
        except BadFrame:
            told.append(None)
        else:
            told.append(header.width * header.height)
    known = [size for size in told if size is not None]
    other = sum(known) / len(known) if known else _USUAL_PIXELS
    return [(other if size is None else size) / downscale**2 for size in told]


def _picture(pixels: np.ndarray, downscale: float, drawn: np.ndarray | None) -> Picture:
    colors = np.array(scaled(Image.fromarray(np.ascontiguousarray(pixels[..., :3])), downscale))
    small = None if drawn is None else np.array(scaled(Image.fromarray(drawn), downscale))
    if pixels.shape[2] == 3:
        return Picture(colors, None, None, small)
    alpha = np.array(scaled(Image.fromarray(np.ascontiguousarray(pixels[..., 3])), downscale))
    return Picture(colors, alpha == 255, None, small)


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
