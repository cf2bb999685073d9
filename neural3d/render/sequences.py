"""Sequences of pictures: which frames, under which names, and which of them are finished already."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.render.camera_files import MAX_FRAMES

_RANGE = re.compile(r"^(-?\d{1,9})(?:-(-?\d{1,9})(?:x(\d{1,9}))?)?$")
_NUMBER = re.compile(r"%(?:0(\d))?d|(#+)")
_DIGITS = 5


@dataclass(frozen=True)
class FrameRange:
    """Frames by number, the last included."""

    first: int
    last: int
    step: int = 1

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def numbers(self) -> range:
        """In order."""
        return range(self.first, self.last + 1, self.step)


def parse_frames(text: str) -> FrameRange:
    """`1001-1100x2` (every second one), `1001-1100`, or one frame.

    Raises: InputError.
    """
    match = _RANGE.match(text.strip())
    if match is None:
        raise InputError(f"--frames {text}: expected FIRST-LAST, FIRST-LASTxSTEP or a number, as 1001-1100x2")
    first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
    if last < first or step < 1 or last - first >= MAX_FRAMES:
        raise InputError(
            f"--frames {text}: expected 1 to {MAX_FRAMES} frames in ascending order, and a step of at least 1"
        )
    return FrameRange(first, last, step)


@dataclass(frozen=True)
class SequenceName:
    """Where the pictures of a sequence lie."""

    folder: Path
    before: str
    digits: int
    after: str

    def path(self, number: int, label: str = "") -> Path:
        """Of one frame; a label, such as a photo's name, follows the number."""
        middle = f"{number:0{self.digits}d}" + (f"-{label}" if label else "")
        return self.folder / f"{self.before}{middle}{self.after}"


def is_pattern(path: Path) -> bool:
    """Whether a file name has a place for the frame's number: `%04d`, `%d` or `####`."""
    return _NUMBER.search(path.name) is not None


def sequence_name(output: Path, suffix: str) -> SequenceName:
    """A pattern, `shots/tea.%04d.exr` or `tea.####.exr`; else a folder, for `00000.exr` and so on.

    Raises: InputError when a pattern has two places for the number.
    """
    places = list(_NUMBER.finditer(output.name))
    if not places:
        return SequenceName(output, "", _DIGITS, suffix)
    if len(places) > 1:
        raise InputError(f"--output {output}: two places for the frame's number; keep one of them")
    place = places[0]
    digits = len(place[2]) if place[2] else int(place[1] or 1)
    return SequenceName(output.parent, output.name[: place.start()], digits, output.name[place.end() :])


def model_digest(tensors: dict[str, Tensor]) -> str:
    """What tells one trained model from another."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def fingerprint(model: str, cameras: Iterable[Cameras | None], settings: object) -> str:
    """Of one picture: the same when the same model is rendered through the same cameras in the same way."""
    digest = hashlib.blake2b(f"{model} {settings!r}".encode(), digest_size=16)
    for camera in cameras:
        for name in Cameras.__dataclass_fields__ if camera is not None else ():
            digest.update(repr(getattr(camera, name).tolist()).encode())
        digest.update(b";")
    return digest.hexdigest()
