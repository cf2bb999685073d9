"""Random numbers without a state: each draw is named by (seed, purpose, step), so a resumed run draws the same ones."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a draw is for; part of a run's bytes, so numbers are never reused."""

    VIEW_ORDER = 1
    BACKGROUND = 2
    INITIAL = 3
    RELOCATE = 4
    GROW = 5
    SPLIT = 6
    RAYS = 7
    COARSE = 8
    FINE = 9
    DENSITY_NOISE = 10
    WEIGHTS = 11
    OCCUPANCY = 12
    DROP = 13
    POINTS = 14
    RAY_COLORS = 15


def generator(seed: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """A generator that depends on its name alone."""
    return np.random.Generator(np.random.Philox(key=[seed, (int(purpose) << 48) + step]))
