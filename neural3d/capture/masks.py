"""Masks beside photos: one of what may be learnt, or one an object, brought to where training sees the photo."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.capture.images import read_mask
from neural3d.capture.lenses import Lens
from neural3d.capture.listing import BadFrame
from neural3d.capture.panoramas import cut_mask
from neural3d.capture.paths import find_mask_in
from neural3d.capture.resample import develop
from neural3d.capture.survey import Placed
from neural3d.errors import InputError

MAX_OBJECTS = 64
THE_OBJECT = "object"
"""What is called so where masks have no name of their own."""


@dataclass(frozen=True)
class ObjectMasks:
    """Which part of each photo shows which object, by files that are read when they are asked for."""

    names: tuple[str, ...]
    photos: tuple[Placed, ...]
    sizes: tuple[tuple[int, int], ...]
    """Width and height that training sees the photos at."""
    paths: tuple[tuple[Path | None, ...], ...]
    """Of each photo, the mask of each object."""

    def shares(self, index: int) -> tuple[Float[Tensor, "D H W"], Bool[Tensor, "H W"]] | None:
        """How much of each pixel is each object's, undistorted, and which pixels the photo has.

        None where the photo has no mask of any; an object without a mask in a photo that has others is not in it.

        Raises: InputError naming the mask that cannot be read.
        """
        if not any(self.paths[index]):
            return None
        found = [self._share(index, path) for path in self.paths[index] if path is not None]
        empty = torch.zeros_like(found[0][0])
        masks = iter(share for share, _ in found)
        planes = [empty if path is None else next(masks) for path in self.paths[index]]
        return torch.stack(planes), found[0][1]

    def _share(self, index: int, path: Path) -> tuple[Float[Tensor, "H W"], Bool[Tensor, "H W"]]:
        placed, (width, height) = self.photos[index], self.sizes[index]
        try:
            mask = fitted_mask(path, placed.frame.lens, placed.view)
        except BadFrame as bad:
            raise InputError(f"{path}: {bad}") from bad
        if isinstance(mask, str):
            raise InputError(f"{path}: {mask}; give masks of their photos' shape")
        pixels = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=-1)
        developed = develop(pixels, None, placed.frame.lens, width, height)
        valid = torch.ones(height, width, dtype=torch.bool) if developed.valid is None else developed.valid
        return developed.pixels[..., 0].float() / 255, valid


def object_masks(
    placed: tuple[Placed, ...], sizes: tuple[tuple[int, int], ...], folder: Path | None, source: Path
) -> ObjectMasks:
    """The masks in `folder`: of one object, or one subfolder an object, named like it; None: the capture's own.

    Raises: InputError where there are none, or more than `MAX_OBJECTS` objects.
    """
    if folder is None:
        paths = tuple((entry.frame.mask_path,) for entry in placed)
        names: tuple[str, ...] = (THE_OBJECT,)
    else:
        names, folders = _objects_in(folder)
        paths = tuple(tuple(_mask_of(below, entry) for below in folders) for entry in placed)
    if not any(any(of_photo) for of_photo in paths):
        where = f"{source}: its photos have" if folder is None else f"--objects {folder}: its photos have"
        raise InputError(f"{where} no masks; make them with neural3d masks, or name their folder with --objects")
    return ObjectMasks(names, placed, sizes, paths)


def _objects_in(folder: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    if not folder.is_dir():
        raise InputError(f"--objects {folder}: expected a folder of masks, or of folders of masks")
    below = tuple(sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if any(path.is_file() and not path.name.startswith(".") for path in folder.iterdir()):
        return (THE_OBJECT,), (folder,)
    if not 1 <= len(below) <= MAX_OBJECTS:
        raise InputError(f"--objects {folder}: {len(below)} folders of masks, expected 1 to {MAX_OBJECTS}")
    return tuple(path.name for path in below), below


def _mask_of(folder: Path, entry: Placed) -> Path | None:
    """By the photo's name as the capture names it, else by its file's alone."""
    return find_mask_in(folder, entry.frame.name.removeprefix("images/"), entry.frame.image_path.name)


def fitted_mask(path: Path, lens: Lens, view: str | None) -> Bool[np.ndarray, "H W"] | str:
    """A mask at its photo's size, nearest where it is another; what is wrong with it where its shape does not fit.

    Raises: BadFrame when it cannot be read.
    """
    mask = read_mask(path)
    if view is not None:
        mask = cut_mask(mask, view)
    height, width = mask.shape
    # Masks of another size come from tools that scale: the shape must agree up to the rounding of one pixel.
    if abs(width * lens.height - height * lens.width) > max(width, height, lens.width, lens.height):
        return f"its mask is {width} x {height} pixels, its photo {lens.width} x {lens.height}"
    rows = ((np.arange(lens.height) + 0.5) * height / lens.height).astype(np.int64)
    columns = ((np.arange(lens.width) + 0.5) * width / lens.width).astype(np.int64)
    return mask[rows[:, None], columns]
