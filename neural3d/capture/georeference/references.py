"""Places that are known twice: in the capture's frame, and measured in the world."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class References:
    """P places by name; what the measured coordinates mean is for whoever made them to say."""

    names: tuple[str, ...]
    capture: Float64[np.ndarray, "P 3"]
    """In the capture's own frame and units."""
    measured: Float64[np.ndarray, "P 3"]
    kind: str
    """For people: what they are, in the plural."""
    notes: tuple[str, ...] = ()
    """What could not be used, one line each."""


def camera_center(camera_from_world: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "3"]:
    """Where a camera stands."""
    return -camera_from_world[:3, :3].T @ camera_from_world[:3, 3]
