"""Photos into the capture's images/: upright, in sRGB, each measured; whatever cannot be read is left out by name."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from neural3d.capture.images import read_mask, read_pixels
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import Source, SourceFile, one_of_each
from neural3d.capture.ingest.state import PreparedPhoto, State
from neural3d.capture.light_files import FOLDER as LIGHT_FOLDER
from neural3d.capture.light_files import SUFFIX as LIGHT_SUFFIX
from neural3d.capture.light_files import write_light
from neural3d.capture.listing import BadFrame
from neural3d.capture.panoramas import VIEWS, cut_mask, cut_view, require_whole, view_lens
from neural3d.capture.paths import IMAGE_SUFFIXES
from neural3d.capture.photo_files import CameraFacts, SourcePhoto, read_photo, read_photo_light
from neural3d.capture.photo_quality import measure_photo
from neural3d.storage import atomic_write

JPEG_QUALITY = 98
"""Of photos that came as JPEG or HEIC and had to be turned: at this quality the second encoding is not seen."""
MIN_SIDE_PX = 64
"""Smaller pictures are icons and thumbnails."""
_LOSSLESS = (".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", LIGHT_SUFFIX)

Report = Callable[[int, int, str], None]
"""Told how many are done, of how many, and what was just done."""


def prepare_photos(capture: Path, source: Source, state: State, report: Report) -> Iterator[State]:
    """Take one photo after the other; yields the state after each.

    Raises: StorageError.
    """
    files = one_of_each(source.files, prefers_raw=state.settings.linear)
    if (followed := _followed(state, source, files)) != state:
        state = followed
        yield state
    known: dict[str, list[PreparedPhoto]] = defaultdict(list)
    for photo in state.photos:
        known[photo.source].append(photo)
    for done, file in enumerate(files):
        report(done, len(files), file.relative)
        key, stamp = str(file.path.resolve()), _stamp(file)
        before = known.get(key, [])
        # What could not be read has no file: a library may be there now, or a permission.
        if before and all(photo.stamp == stamp and (capture / "images" / photo.name).exists() for photo in before):
            continue
        others = [photo for photo in state.photos if photo.source != key]
        taken = _prepare(capture, file, {photo.plain_name.lower() for photo in others}, state.settings)
        state = state.with_photos((*others, *(replace(photo, source=key, stamp=stamp) for photo in taken)))
        yield state
    report(len(files), len(files), "")


def _followed(state: State, source: Source, files: tuple[SourceFile, ...]) -> State:
    """Photos of this source that have moved with it keep what was done; those that are there no more are forgotten."""
    now = {str(file.path.resolve()): file for file in files}
    gone = [photo for photo in state.photos if photo.source not in now and not Path(photo.source).exists()]
    known = {photo.source for photo in state.photos}
    moved = {
        photo.source: key
        for photo in gone
        for key, file in now.items()
        if key not in known and photo.source.endswith(f"/{file.relative}") and photo.stamp == _stamp(file)
    }
    photos = (replace(photo, source=moved.get(photo.source, photo.source)) for photo in state.photos)
    root = source.path.resolve()
    kept = (p for p in photos if p.source in now or "#" in Path(p.source).name or not _lies_in(p.source, root))
    return state.with_photos(tuple(kept))


def _lies_in(source: str, root: Path) -> bool:
    return Path(source).is_relative_to(root)


def _stamp(file: SourceFile) -> str:
    """Changes when the photo or its mask does."""
    facts = [path.stat() for path in (file.path, file.mask) if path is not None]
    return " ".join(f"{fact.st_size}:{fact.st_mtime_ns}" for fact in facts)


def plain_text(name: str) -> str:
    """A name as every tool can write it down; COLMAP's lists part names at spaces, and begin remarks with #."""
    plain = re.sub(r"[\s\\]", "_", name.encode("utf-8", errors="backslashreplace").decode())
    return f"_{plain[1:]}" if plain.startswith("#") else plain


def free_name(file: SourceFile, used: set[str], *, has_alpha: bool = False) -> str:
    """The photo's own name with a suffix that every tool reads; made different where another photo has it.

    `used` are the others' names in small letters: half the world's disks do not tell IMG.JPG from img.jpg.
    """
    path = PurePosixPath(plain_text(file.relative))
    kept = (".png",) if has_alpha else (".jpg", ".jpeg", ".png")  # JPEG has no transparency
    is_lossless = has_alpha or path.suffix.lower() in _LOSSLESS
    plain = path if path.suffix.lower() in kept else path.with_suffix(".png" if is_lossless else ".jpg")
    candidates = [plain, *(plain.with_name(f"{path.name.replace('.', '-')}-{n}{plain.suffix}") for n in range(1, 1000))]
    return next(str(name) for name in candidates if str(name).lower() not in used)


def _prepare(capture: Path, file: SourceFile, used: set[str], settings: Settings) -> tuple[PreparedPhoto, ...]:
    """The photo, or the views of a panorama; source and stamp are for the caller to say."""
    name = free_name(file, used)
    try:
        photo = read_photo(file.path)
        name = free_name(file, used, has_alpha=photo.has_alpha)
        height, width = photo.pixels.shape[:2]
        if min(width, height) < MIN_SIDE_PX:
            raise BadFrame(f"is {width} x {height} pixels, too small to find anything in it")
        mask = None if file.mask is None else upright_mask(file.mask, file.path, width, height)
        if settings.equirectangular or photo.facts.is_panorama:
            return panorama_views(capture, name, photo.pixels, mask, photo.facts.gps)
        write_photo(capture / "images", name, file.path, photo)
        if mask is None:
            forget_mask(capture, name)
        else:
            write_mask(capture, name, mask)
        if settings.linear:
            write_photo_light(capture, name, file.path)
    except BadFrame as bad:
        return (PreparedPhoto(name, "", "", fault=str(bad)),)
    taken = PreparedPhoto(
        name=name,
        source="",
        stamp="",
        width=width,
        height=height,
        lens=lens_key(photo.facts, width, height),
        focal_px=photo.facts.focal_px(width, height),
        gps=photo.facts.gps,
        has_mask=mask is not None,
        quality=measure_photo(photo.pixels),
    )
    return (taken,)


def panorama_views(
    capture: Path,
    name: str,
    pixels: UInt8[np.ndarray, "H W C"],
    mask: UInt8[np.ndarray, "H W"] | None,
    gps: tuple[float, float, float] | None = None,
) -> tuple[PreparedPhoto, ...]:
    """Write the views of an equirectangular photo as RIG/VIEW/name; panoramas of one size share a rig.

    Raises: BadFrame when it is not twice as wide as high; StorageError.
    """
    height, width = pixels.shape[:2]
    require_whole(width, height)
    rig, lens = f"panorama-{width}", view_lens(width)
    views = []
    for view in VIEWS:
        cut, own = cut_view(pixels, view), f"{rig}/{view}/{name}"
        write_pixels(capture / "images" / own, cut)
        if mask is None:
            forget_mask(capture, own)
        else:
            write_mask(capture, own, cut_mask(mask > 127, view).astype(np.uint8) * 255)
        photo = PreparedPhoto(
            name=own,
            source="",
            stamp="",
            width=lens.width,
            height=lens.height,
            lens=f"{rig}/{view}",
            focal_px=lens.focal_px[0],
            gps=gps,
            has_mask=mask is not None,
            quality=measure_photo(cut),
            rig=rig,
            view=view,
        )
        views.append(photo)
    return tuple(views)


def lens_key(facts: CameraFacts, width: int, height: int) -> str:
    """Photos of equal keys were taken with one lens at one zoom.

    Turned photos of one camera have other sizes, and a principal point on the other axis: they are kept apart.
    """
    # A phone's lens has one focal length at every digital zoom: the one for 35 mm film tells these apart.
    focals = [f"{focal:.2f}mm" for focal in (facts.focal_mm, facts.focal_35mm) if focal is not None]
    parts = (facts.make or "", facts.model or "", *focals, f"{width}x{height}")
    return " ".join(part for part in parts if part)


def write_photo(folder: Path, name: str, original: Path, photo: SourcePhoto) -> None:
    """Copy what is upright sRGB already, encode the rest as the name's suffix says (see `free_name`).

    Raises: StorageError.
    """
    path = folder / name
    if photo.stored_upright and path.suffix.lower() == original.suffix.lower():
        atomic_write(path, lambda temporary: _copy(original, temporary), estimate_bytes=original.stat().st_size)
        return
    write_pixels(path, photo.pixels)


def write_photo_light(capture: Path, name: str, original: Path) -> None:
    """Beside the photo of that name its linear light, where the original holds it.

    Raises: BadFrame; StorageError.
    """
    light = read_photo_light(original)
    if light is not None:
        write_light((capture / LIGHT_FOLDER / name).with_suffix(LIGHT_SUFFIX), light)


def _copy(original: Path, temporary: Path) -> None:
    shutil.copyfile(original, temporary)
    os.chmod(temporary, 0o644)


def write_pixels(path: Path, pixels: UInt8[np.ndarray, "H W C"]) -> None:
    """Encode as the suffix says.

    Raises: StorageError.
    """
    image = Image.fromarray(pixels)
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if is_jpeg else {"compress_level": 3}
    atomic_write(path, lambda temporary: image.save(temporary, **options), estimate_bytes=pixels.size // 2)


def upright_mask(mask: Path, photo: Path, width: int, height: int) -> UInt8[np.ndarray, "h w"]:
    """The mask, as large as its photo, and turned as that was where it fits only so; 255 where the photo is used.

    COLMAP looks masks up by the photo's pixels.

    Raises: BadFrame when it cannot be decoded or has another shape.
    """
    try:
        values = read_mask(mask)
    except BadFrame as bad:
        raise BadFrame(f"its mask: {bad}") from bad
    if _same_shape(values.shape, (height, width)):
        return _fitted(values.astype(np.uint8) * 255, width, height)
    if _same_shape(values.shape, (width, height)) and photo.suffix.lower() in IMAGE_SUFFIXES:
        return _fitted(_turned_like(values.astype(np.uint8) * 255, photo), width, height)
    raise BadFrame(f"its mask is {values.shape[1]} x {values.shape[0]} pixels, the photo {width} x {height}")


def _fitted(values: UInt8[np.ndarray, "h w"], width: int, height: int) -> UInt8[np.ndarray, "h2 w2"]:
    if values.shape == (height, width):
        return values
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST))


def _same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return abs(first[0] * second[1] - first[1] * second[0]) <= max(*first, *second)


def _turned_like(values: UInt8[np.ndarray, "h w"], photo: Path) -> UInt8[np.ndarray, "w h"]:
    """Turned by the photo's EXIF orientation, which is found by what it does to a picture of numbers."""
    stored, turned = (read_pixels(photo, turned=way) for way in (False, True))
    for turn in (
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
    ):
        if np.array_equal(np.asarray(Image.fromarray(stored).transpose(turn)), turned):
            return np.asarray(Image.fromarray(values).transpose(turn))
    raise BadFrame("its mask lies on its side and the photo does not say how it is turned")


def forget_mask(capture: Path, name: str) -> None:
    """Remove a mask that a photo of this name had: readers would find it without being told of it."""
    (capture / "masks" / f"{name}.png").unlink(missing_ok=True)


def write_mask(capture: Path, name: str, mask: UInt8[np.ndarray, "h w"]) -> None:
    """Write masks/NAME.png, where COLMAP and others look for it.

    Raises: StorageError.
    """
    path = capture / "masks" / f"{name}.png"
    image = Image.fromarray(mask)
    atomic_write(path, lambda temporary: image.save(temporary), estimate_bytes=mask.size // 8)
