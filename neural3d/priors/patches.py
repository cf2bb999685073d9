"""Where training patches come from: photos with what is known of them, and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.priors.records import Images, Labels


@dataclass(frozen=True)
class Picture:
    """One image to learn from."""

    pixels: UInt8[np.ndarray, "H W 3"]
    """Display sRGB."""
    known: Bool[np.ndarray, "H W"] | None = None
    """Where pixels are real; everywhere if None."""
    label: int | None = None
    """Index into the source's labels."""
    map: UInt8[np.ndarray, "H W 3"] | None = None
    """What a prior that goes by maps is told of the image."""


@dataclass(frozen=True)
class Batch:
    """Patches to learn from."""

    images: Images
    labels: Labels | None
    """None where the source has no labels."""
    maps: Images | None = None
    """None where not all pictures have one."""


class PatchSource:
    """Draws square patches of one size that hold known pixels alone.

    Raises: InputError where no image has such a patch.
    """

    def __init__(self, pictures: Sequence[Picture], size: int, labels: Sequence[str] = ()) -> None:
        self.size, self.labels = size, tuple(labels)
        places = [_places(picture, size) for picture in pictures]
        chosen = [i for i, found in enumerate(places) if found.count]
        if not chosen:
            raise InputError(f"no image has {size} x {size} known pixels; give larger images, or a smaller --size")
        self.pictures = tuple(pictures[i] for i in chosen)
        self._places = [places[i] for i in chosen]
        # Each image counts by its area, so that every patch is drawn equally often.
        counts = torch.tensor([found.count for found in self._places])
        self._ends = counts.cumsum(0)

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Patches at random, evenly over all places."""
        numbers = torch.randint(int(self._ends[-1]), (count,), generator=generator)
        owners = torch.searchsorted(self._ends, numbers, right=True)
        starts = self._ends[owners] - torch.tensor([self._places[i].count for i in owners.tolist()])
        drawn = list(zip(owners.tolist(), (numbers - starts).tolist(), strict=True))
        images = self._patches([picture.pixels for picture in self.pictures], drawn)
        maps = None
        if all(picture.map is not None for picture in self.pictures):
            maps = self._patches([picture.map for picture in self.pictures], drawn)
        labels = torch.tensor([self.pictures[i].label or 0 for i in owners.tolist()]) if self.labels else None
        return Batch(images, labels, maps)

    def _patches(self, layers: list[np.ndarray], drawn: list[tuple[int, int]]) -> Images:
        """Cut out of the pictures' pixels, or of their maps: number of the picture, number of the place."""
        cut = np.empty((len(drawn), self.size, self.size, 3), np.uint8)
        for patch, (owner, place) in zip(cut, drawn, strict=True):
            row, column = self._places[owner].at(place)
            patch[:] = layers[owner][row : row + self.size, column : column + self.size]
        return to_signed(torch.from_numpy(cut))


def to_signed(pixels: UInt8[Tensor, "B H W C"]) -> Images:
    """Bytes to [-1, 1], channels first."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_bytes(images: Images) -> UInt8[Tensor, "B H W C"]:
    """The other way; values outside [-1, 1] are clamped, which is what display does with them."""
    return ((images.detach().clamp(-1, 1) + 1) * 127.5 + 0.5).floor().byte().permute(0, 2, 3, 1).contiguous()


@dataclass(frozen=True)
class _Places:
    """The top-left corners of all patches of one picture that are known as a whole."""

    count: int
    columns: int
    """How many corners a row of a wholly known picture has."""
    listed: Int64[np.ndarray, "P"] | None
    """The corners, where not all are good."""

    def at(self, number: int) -> tuple[int, int]:
        """Row and column of one of them."""
        return divmod(number if self.listed is None else int(self.listed[number]), self.columns)


def _places(picture: Picture, size: int) -> _Places:
    rows, columns = (max(0, side - size + 1) for side in picture.pixels.shape[:2])
    if picture.known is None or not rows * columns:
        return _Places(rows * columns, columns, None)
    unknown = torch.from_numpy(~picture.known)[None, None].float()
    listed = np.flatnonzero(functional.max_pool2d(unknown, size, stride=1)[0, 0].numpy() == 0)
    return _Places(len(listed), columns, listed)
