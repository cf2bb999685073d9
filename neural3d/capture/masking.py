"""Masks of a capture's photos as files: the object is found once, and cut out of each photo."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from neural3d.capture.foreground import Segmenter, cut_out, mask_path, object_points
from neural3d.capture.listing import BadFrame, Frame
from neural3d.capture.paths import masks_in
from neural3d.capture.survey import Placed, Survey
from neural3d.capture.transforms import rename_masks
from neural3d.errors import InputError
from neural3d.storage import atomic_write, storage_errors

SMALLEST_SHARE = 0.002
"""Of the picture; less is no object, and the photo gets no mask."""
Told = Callable[[Sequence[Placed]], Iterable[Placed]]
"""The photos again, one after the other, while somebody is told how far it is."""


@dataclass(frozen=True)
class MaskReport:
    """What became of the masks; plain values."""

    masks: str
    """The folder."""
    num_masks: int
    object_points: int
    median_share: float
    """Of a picture that the object fills."""
    failed: dict[str, str]
    """Photos without a mask, with the reason."""

    def lines(self) -> list[str]:
        """For people."""
        whole = f", {len(self.failed)} are used whole" if self.failed else ""
        return [f"{self.num_masks} photos have a mask of the object, {self.median_share:.0%} of a picture{whole}"]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def write_masks(
    surveyed: Survey,
    folder: Path,
    segment: Segmenter,
    *,
    only: set[str] | None = None,
    replaces: bool = False,
    told: Told = iter,
) -> MaskReport:
    """A mask for each photo in which the object is found, or for those that are named in `only`.

    Where it `replaces` what is there, other masks of these photos go in the end, whatever they are called, and so do
    masks of photos in which no object is seen: these are used whole. Those of photos that cannot be read stay.

    Raises: InputError when no object is found, or in no photo; StorageError.
    """
    poses = np.stack([placed.frame.camera_from_world for placed in surveyed.placed])
    points = surveyed.listing.points
    is_object = object_points(points, poses)
    chosen = [placed for placed in surveyed.placed if only is None or placed.frame.name in only]
    shares, failed, made, unseen = [], {}, {}, set()
    for placed in told(chosen):
        name = placed.frame.name
        try:
            if placed.view is not None:
                raise BadFrame("is a view of a panorama, whose mask is the panorama's")
            mask = cut_out(placed, points.xyz, is_object, segment)
            if mask.mean() < SMALLEST_SHARE:
                unseen.add(name)
                raise BadFrame("the object is not seen in it")
            made[name] = mask_path(folder, name.removeprefix("images/"))
            _write(made[name], mask)
            shares.append(float(mask.mean()))
        except BadFrame as bad:
            failed[name] = str(bad)
    if not shares and chosen:
        raise InputError(f"{folder}: in none of {len(failed)} photos an object is found")
    if replaces:
        _remove_others(surveyed, folder, [p.frame for p in chosen if p.frame.name in unseen | set(made)], made)
    share = float(np.median(shares)) if shares else 0.0
    return MaskReport(str(folder), len(shares), int(is_object.sum()), share, failed)


def _remove_others(surveyed: Survey, folder: Path, frames: Sequence[Frame], made: Mapping[str, Path]) -> None:
    """Remove what readers would find for these photos beside the masks that were made, and name it no more.

    In a folder that nobody reads masks from by itself only those go that would be written anew, or that frames name:
    pictures of the photos' names may be anything there.
    """
    others = {placed.frame.mask_path for placed in surveyed.placed} - {frame.mask_path for frame in frames}
    photos = {frame.image_path.resolve() for frame in surveyed.listing.frames}
    kept = others | photos | {path.resolve() for path in made.values()}
    inside, names = folder.resolve(), [(frame.name, frame.name.removeprefix("images/")) for frame in frames]
    if inside == (surveyed.listing.root / "masks").resolve():
        found = {mask for both in names for mask in masks_in(folder, *both)}
    else:
        found = {path.resolve() for _, name in names if (path := mask_path(folder, name)).is_file()}
    found |= {frame.mask_path for frame in frames if frame.mask_path and frame.mask_path.is_relative_to(inside)}
    gone = found - kept
    masks = {frame.image_path: made[frame.name].resolve() for frame in frames if frame.name in made}
    rename_masks(surveyed.listing, gone, masks)
    for mask in gone:
        with storage_errors(mask):
            mask.unlink()


def _write(path: Path, mask: Bool[np.ndarray, "H W"]) -> None:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    atomic_write(path, lambda temporary: image.save(temporary), estimate_bytes=mask.size // 8)
