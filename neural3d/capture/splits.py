"""Which photos are trained on and which are held out."""

from collections.abc import Sequence
from dataclasses import dataclass

from neural3d.capture.listing import Split

HOLD_OUT_EVERY = 8
"""The field's habit, so that numbers compare. Source: Barron et al. 2022, Mip-NeRF 360, section 5."""


@dataclass(frozen=True)
class Splits:
    """Indices into the photos, ascending."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    notes: tuple[str, ...] = ()


def split_photos(splits: Sequence[Split | None]) -> Splits:
    """Split photos sorted by name: as the capture says, else every 8th is held out, starting with the first."""
    everything = tuple(range(len(splits)))
    if len(splits) == 1:
        return Splits(everything, everything, ("there is one photo: it is both trained on and tested",))
    test = tuple(i for i in everything if splits[i] == "test")
    train = tuple(i for i in everything if splits[i] == "train")
    if test and train:
        return Splits(train, test)
    missing = "testing" if train else "training"
    notes = (f"no photo that the capture names for {missing} is left: every 8th is held out",) if test or train else ()
    held_out = everything[::HOLD_OUT_EVERY]
    return Splits(tuple(i for i in everything if i % HOLD_OUT_EVERY), held_out, notes)
