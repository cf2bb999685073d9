"""Gradients on a device that works behind the host: memory is planned before anybody knows how much is needed."""

from collections import deque
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.splats.gaussians import Gaussians
from neural3d.train.gradients import GradientFn, PhotoGradient, photo_gradient
from neural3d.train.photos import TrainingPhoto

HEADROOM = 1.25
"""Of the lists' capacity, over the most pairs that were met lately."""
REMEMBERED = 128
"""Steps: how long ago still is lately."""
FEWEST_PAIRS = 1 << 12


class CapacityPlan:
    """For how many (tile, Gaussian) pairs the lists of one size of image should have room.

    A capacity decides about memory and about how often a step is repeated, never about a result. It changes in steps of
    an eighth to a sixteenth, so that torch's allocator meets the same few sizes again and again.
    """

    def __init__(self) -> None:
        self._met: deque[int] = deque(maxlen=REMEMBERED)

    @property
    def capacity(self) -> int | None:
        """None as long as nothing was met."""
        return planned_capacity(max(self._met)) if self._met else None

    def remember(self, pairs: int) -> None:
        """What a step has met."""
        self._met.append(pairs)


def planned_capacity(pairs: int) -> int:
    """`pairs` with headroom, rounded up to four significant bits; at most what the operators can count."""
    wanted = max(FEWEST_PAIRS, int(HEADROOM * pairs))
    unit = 1 << (wanted.bit_length() - 4)
    return min(-(-wanted // unit) * unit, (1 << 31) - 1)


class PlannedGradient:
    """`photo_gradient` without a moment in which the device has nothing to do: the `GradientFn` of GPUs.

    The lists are made within a planned capacity. How many pairs there are travels to the host while the device blends
    and pulls; the host reads the number when it has launched all of the gradient, and before anything is updated. Where
    there was no room for them, the gradient is thrown away and made again with lists of just the size that they need.
    So a result never depends on a plan, and is that of `photo_gradient` to the byte.

    Limits: the first photo of each size is binned exactly, and the host waits in the middle of that one step.
    """

    def __init__(self) -> None:
        self.plans: dict[tuple[int, int], CapacityPlan] = {}
        self.repeated = 0
        """Gradients that were made twice."""

    def __call__(
        self, gaussians: Gaussians, photo: TrainingPhoto, background: Float[Tensor, "3"], **options: Any
    ) -> PhotoGradient:
        """As `photo_gradient`, with its options; `believed` may be asked twice."""
        plan = self.plans.setdefault((photo.view.width, photo.view.height), CapacityPlan())
        capacity = plan.capacity
        if capacity is not None:
            gradient = photo_gradient(gaussians, photo, background, capacity=capacity, **options)
            pairs = gradient.pairs.read()
            if pairs <= capacity:
                plan.remember(pairs)
                return gradient
            self.repeated += 1
        gradient = photo_gradient(gaussians, photo, background, **options)
        plan.remember(gradient.pairs)
        return gradient


def engine_gradient(device: torch.device) -> GradientFn:
    """The engine's own, as fits the device: on the CPU a number is there at once, and nothing needs a plan."""
    return photo_gradient if device.type == "cpu" else PlannedGradient()
