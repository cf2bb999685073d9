"""What a capture names, before any photo is decoded: the records that every reader of a format returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from neural3d.capture.lenses import Lens
from neural3d.errors import InputError
from neural3d.scene import World

Split = Literal["train", "test"]
SHOWN = 100
"""Characters of a name that are repeated in an error, and five times as many of what is wrong with it."""


class BadFrame(Exception):
    """Why one frame cannot be used; the frame is skipped by name and the others go on."""


@dataclass(frozen=True)
class Skipped:
    """A frame that is named by the capture and not used."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"skipped {self.name}: {self.reason}"


@dataclass(frozen=True)
class Frame:
    """One photo with its pose, in the capture's own world frame and units."""

    name: str
    """Path relative to the image folder (COLMAP) or to the JSON file (transforms), with its real suffix."""
    image_path: Path
    mask_path: Path | None
    lens: Lens
    camera_from_world: Float64[np.ndarray, "4 4"]
    """OpenCV axes; the rotation is orthonormal to float64 precision."""
    split: Split | None = None
    """The split that the capture names; None where it names none."""


@dataclass(frozen=True)
class PointCloud:
    """Points in the capture's own world frame and units; may hold values that are not finite."""

    xyz: Float64[np.ndarray, "P 3"]
    rgb: UInt8[np.ndarray, "P 3"]


@dataclass(frozen=True)
class Listing:
    """A capture as its files name it."""

    root: Path
    format: str
    """For people: which files were read."""
    source: Path
    """The file that names the frames; errors point there."""
    frames: tuple[Frame, ...]
    skipped: tuple[Skipped, ...]
    points: PointCloud | None
    world_up: Float64[np.ndarray, "3"] | None
    """Up by the file format's convention; None where the format has none."""
    notes: tuple[str, ...] = ()
    """What was odd, one line each."""
    summary: str = ""
    """What was found, one line: "306 of 306 photos have a pose, model sparse/1 (2 of 2)"."""
    world: World | None = None
    """The way to metres, where world.json has one for these poses."""


def require_frames(count: int, skipped: tuple[Skipped, ...], source: Path) -> None:
    """Stop where nothing is left to work on.

    Raises: InputError that names the first frames and why they cannot be used.
    """
    if count > 0:
        return
    if not skipped:
        raise InputError(f"{source}: names no photos; write the poses again")
    # Of a damaged file a name or a reason may be thousands of characters long.
    shown = "; ".join(f"{s.name[:SHOWN]}: {s.reason[: 5 * SHOWN]}" for s in skipped[:3])
    more = f" (and {len(skipped) - 3} more)" if len(skipped) > 3 else ""
    raise InputError(f"{source}: none of its {len(skipped)} frames can be used: {shown}{more}")
