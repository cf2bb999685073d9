"""The photos beside the frames: does each file fit its camera, which way up is it, is there transparency?

Headers only; nothing is decoded.
"""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from neural3d.capture.images import Header, read_header
from neural3d.capture.lenses import Lens
from neural3d.capture.light_files import light_path
from neural3d.capture.listing import BadFrame, Frame, Listing, Skipped, require_frames
from neural3d.capture.panoramas import VIEWS, is_panorama, require_whole, view_lens, view_pose
from neural3d.capture.paths import reduced_path


@dataclass(frozen=True)
class Placed:
    """A frame whose photo fits its camera."""

    frame: Frame
    """With the lens scaled to the photo's own size."""
    turned: bool
    """Decode with the EXIF orientation applied."""
    has_alpha: bool
    view: str | None = None
    """Which view of a panorama; the frame's lens and pose are the view's, its files are the panorama's."""
    light_path: Path | None = None
    """Where its linear light is, if all photos have some."""


@dataclass(frozen=True)
class Survey:
    """All frames that can be used, in the listing's order."""

    listing: Listing
    placed: tuple[Placed, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def survey(listing: Listing) -> Survey:
    """Match photos with cameras.

    Raises: InputError when no frame is left.
    """
    placed, skipped = [], []
    ambiguous = []
    for frame in listing.frames:
        try:
            header = read_header(frame.image_path)
            if is_panorama(frame.lens):
                placed.extend(_views(frame, header))
                continue
            placed.append(_place(frame, header))
            if header.orientation != 1 and not placed[-1].turned and _fits(frame.lens, *header.turned_size):
                ambiguous.append(frame.name)
        except BadFrame as bad:
            skipped.append(Skipped(frame.name, str(bad)))
    every_skipped = listing.skipped + tuple(skipped)
    require_frames(len(placed), every_skipped, listing.source)
    placed, of_light = _with_light(listing.root, placed)
    return Survey(listing, tuple(placed), every_skipped, listing.notes + _notes(placed, ambiguous) + of_light)


def _with_light(root: Path, placed: list[Placed]) -> tuple[list[Placed], tuple[str, ...]]:
    """The frames with their photos' light, and what there is to say about it: all photos have some, or none counts."""
    paths = [light_path(root, entry.frame.name, entry.frame.image_path) for entry in placed]
    if all(paths) and not any(entry.view for entry in placed):
        return [replace(entry, light_path=path) for entry, path in zip(placed, paths, strict=True)], ()
    if not any(paths):
        return placed, ()
    why = "they show 360 degrees" if all(paths) else f"{sum(path is None for path in paths)} photos have none"
    return placed, (f"photos of linear light are used as a display shows them, cut off at white: {why}",)


def _notes(placed: list[Placed], ambiguous: list[str]) -> tuple[str, ...]:
    notes = []
    if ambiguous:
        notes.append(
            f"{len(ambiguous)} photos have an EXIF orientation that their camera's size does not decide; "
            f"they are used as stored, as structure from motion does: {ambiguous[0]}, …"
        )
    num_masks = sum(p.frame.mask_path is not None for p in placed)
    if 0 < num_masks < len(placed):
        missing = [p.frame.name for p in placed if p.frame.mask_path is None]
        notes.append(f"{len(missing)} photos have no mask and are used whole: {', '.join(missing)}")
    return tuple(notes)


def _place(frame: Frame, header: Header) -> Placed:
    """Decide by the camera's size whether the photo is used as stored or as EXIF turns it."""
    stored = (header.width, header.height)
    for turned, size in ((False, stored), (True, header.turned_size)):
        if _fits(frame.lens, *size):
            return Placed(replace(frame, lens=frame.lens.scaled(*size)), turned, header.has_alpha)
    lies_on_side = _fits(frame.lens, header.height, header.width)
    raise BadFrame(
        f"its photo is {header.width} x {header.height} pixels, its camera {frame.lens.width} x {frame.lens.height}; "
        + ("it lies on its side, turn it by 90 degrees" if lies_on_side else "only a common factor can be allowed for")
    )


def _views(frame: Frame, header: Header) -> list[Placed]:
    """The perspective views that a panorama is cut into."""
    whole = _place(frame, header)
    require_whole(whole.frame.lens.width, whole.frame.lens.height)
    lens, path = view_lens(whole.frame.lens.width), PurePosixPath(frame.name)
    return [
        replace(
            whole,
            frame=replace(
                frame,
                name=str(path.with_name(f"{path.stem}-{view}{path.suffix}")),
                lens=lens,
                camera_from_world=view_pose(view, frame.camera_from_world),
            ),
            view=view,
        )
        for view in VIEWS
    ]


def _fits(lens: Lens, width: int, height: int) -> bool:
    """The same shape; or smaller by a whole factor, with each side rounded either way."""
    if lens.width * height == lens.height * width:
        return True
    factor = max(1, round(lens.width / width))
    return abs(width - lens.width / factor) < 1 and abs(height - lens.height / factor) < 1 and factor > 1


def use_reduced_photos(root: Path, placed: tuple[Placed, ...], factor: int) -> tuple[Placed, ...] | None:
    """The same frames with the photos of `images_<factor>/`; None unless every photo is there and fits."""
    smaller = []
    for entry in placed:
        if entry.view is not None:
            return None  # views are cut from the whole panorama
        if entry.light_path is not None:
            return None  # light is averaged as light
        path = reduced_path(root, entry.frame.image_path, factor)
        if path is None:
            return None
        try:
            found = _place(replace(entry.frame, image_path=path), read_header(path))
        except BadFrame:
            return None
        lens = entry.frame.lens
        if abs(found.frame.lens.width * factor - lens.width) >= factor:
            return None
        smaller.append(found)
    return tuple(smaller)
