"""Masks of a capture's photos as files: the object is found once, and cut out of each photo."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from neural3d.capture.foreground import Segmenter, cut_out, mask_path, object_points
from neural3d.capture.listing import BadFrame
from neural3d.capture.survey import Placed, Survey
from neural3d.errors import InputError
from neural3d.storage import atomic_write

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
    surveyed: Survey, folder: Path, segment: Segmenter, *, only: set[str] | None = None, told: Told = iter
) -> MaskReport:
    """A mask for each photo in which the object is found, or for those that are named in `only`.

    Raises: InputError when no object is found, or in no photo; StorageError.
    """
    poses = np.stack([placed.frame.camera_from_world for placed in surveyed.placed])
    points = surveyed.listing.points
    is_object = object_points(points, poses)
    chosen = [placed for placed in surveyed.placed if only is None or placed.frame.name in only]
    shares, failed = [], {}
    for placed in told(chosen):
        name = placed.frame.name
        try:
            if placed.view is not None:
                raise BadFrame("is a view of a panorama, whose mask is the panorama's")
            mask = cut_out(placed, points.xyz, is_object, segment)
            if mask.mean() < SMALLEST_SHARE:
                raise BadFrame("the object is not seen in it")
            _write(mask_path(folder, name.removeprefix("images/")), mask)
            shares.append(float(mask.mean()))
        except BadFrame as bad:
            failed[name] = str(bad)
    if not shares and chosen:
        raise InputError(f"{folder}: in none of {len(failed)} photos an object is found")
    share = float(np.median(shares)) if shares else 0.0
    return MaskReport(str(folder), len(shares), int(is_object.sum()), share, failed)


def _write(path: Path, mask: Bool[np.ndarray, "H W"]) -> None:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    atomic_write(path, lambda temporary: image.save(temporary), estimate_bytes=mask.size // 8)
