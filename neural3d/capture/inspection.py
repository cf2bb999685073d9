"""What a capture holds and what is wrong with it, before anything runs."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neural3d.capture.detect import list_capture
from neural3d.capture.georeference.world_file import world_to_json
from neural3d.capture.listing import Skipped
from neural3d.capture.load import plan_sizes, point_notes
from neural3d.capture.memory import free_memory_bytes, photo_bytes
from neural3d.capture.splits import split_photos
from neural3d.capture.survey import survey

GAUSSIAN_BYTES = 1024
"""One Gaussian with harmonics of degree 3, its gradient, two moments of the optimiser, and its share of a step."""
PROGRAM_BYTES = 400 * 2**20
"""Python and torch, before any data."""
MIN_GAUSSIANS = 200_000
GAUSSIANS_PER_POINT = 10
"""What densification makes of structure-from-motion points, roughly."""


@dataclass(frozen=True)
class Inspection:
    """What `inspect_capture` found; plain values throughout."""

    path: str
    format: str
    summary: str
    """How many photos have a pose, and which of several models is used."""
    num_frames: int
    """Frames with a pose, usable or not."""
    num_usable: int
    num_train: int
    num_test: int
    skipped: tuple[Skipped, ...]
    sizes: dict[str, int]
    """Photos of each size, "1008x756"."""
    camera_models: dict[str, int]
    """Photos of each camera model."""
    num_points: int
    has_masks: bool
    has_alpha: bool
    """Some photo's file has transparency; whether any pixel is transparent shows when it is decoded."""
    suggested_downscale: float
    photo_bytes: int
    """All photos in memory at the suggested downscale."""
    assumed_gaussians: int
    estimated_training_bytes: int
    """The program, the photos and `assumed_gaussians`."""
    free_bytes: int
    warnings: tuple[str, ...]
    world: dict[str, Any] | None
    """The way to metres as world.json has it; None where the capture's scale is arbitrary."""

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists and values."""
        return {**asdict(self), "skipped": [asdict(entry) for entry in self.skipped], "warnings": list(self.warnings)}


def inspect_capture(path: Path | str) -> Inspection:
    """Look at a capture without decoding photos: poses, points, and the header of each photo.

    Raises: InputError as `load_capture` does, when nothing is left to work on.
    Limits: a photo whose header is fine and whose pixels are cut off is found out only when it is decoded.
    """
    surveyed = survey(list_capture(Path(path)))
    listing, placed = surveyed.listing, surveyed.placed
    plan = plan_sizes(surveyed, None, None)
    splits = split_photos([entry.frame.split for entry in placed])
    num_points = 0 if listing.points is None else len(listing.points.xyz)
    num_bytes = photo_bytes(placed, plan.downscale)
    gaussians = max(MIN_GAUSSIANS, GAUSSIANS_PER_POINT * num_points)
    total = PROGRAM_BYTES + num_bytes + GAUSSIAN_BYTES * gaussians
    free = free_memory_bytes()
    lenses = [entry.frame.lens for entry in placed]
    return Inspection(
        path=str(path),
        format=listing.format,
        summary=listing.summary,
        num_frames=len(placed) + len(surveyed.skipped),
        num_usable=len(placed),
        num_train=len(splits.train),
        num_test=len(splits.test),
        skipped=surveyed.skipped,
        sizes=dict(Counter(f"{lens.width}x{lens.height}" for lens in lenses)),
        camera_models=dict(Counter(lens.model for lens in lenses)),
        num_points=num_points,
        has_masks=any(entry.frame.mask_path is not None for entry in placed),
        has_alpha=any(entry.has_alpha for entry in placed),
        suggested_downscale=plan.downscale,
        photo_bytes=num_bytes,
        assumed_gaussians=gaussians,
        estimated_training_bytes=total,
        free_bytes=free,
        warnings=(*surveyed.notes, *plan.notes, *point_notes(listing), *splits.notes),
        world=None if listing.world is None else world_to_json(listing.world),
    )
