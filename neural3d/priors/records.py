"""What priors take and give: images, conditions, budgets, reports."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Bool, Float, Int64
from torch import Tensor

Images = Float[Tensor, "B C H W"]
"""Display sRGB, each channel mapped from [0, 1] to [-1, 1]."""
Unknown = Bool[Tensor, "B 1 H W"]
"""Where there is something to fill in."""
Labels = Int64[Tensor, "B"]


@dataclass(frozen=True)
class Condition:
    """What a sample shall be; a prior reads what it was trained with."""

    labels: Labels | None = None
    """Class of each sample, an index into the prior's labels."""
    text: str | None = None
    """What all samples shall show, in words that the prior knows."""
    images: Images | None = None
    """One image, of which samples shall be variations."""
    maps: Images | None = None
    """One map, or one for each sample, of what the prior was trained with; samples are of its size."""
    vectors: Float[Tensor, "B E"] | None = None
    """A vector for each sample that a diffusion was trained to go by; zeros ask for nothing."""


NOTHING_ASKED = Condition()


@dataclass(frozen=True)
class Budget:
    """How long a fit may take; whichever of the two comes first ends it.

    Raises: ValueError where neither is given, or one is not positive.
    Limits: only `steps` makes two fits equal; what fits into `seconds` depends on the machine's day.
    """

    seconds: float | None = 60.0
    steps: int | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.seconds, self.steps) if limit is not None]
        if not limits or not all(0 < limit < float("inf") for limit in limits):
            raise ValueError(f"budget: seconds {self.seconds}, steps {self.steps}; expected one of them, more than 0")

    def split(self, *parts: float) -> list["Budget"]:
        """A budget for each of several stages; of few steps each stage gets at least one."""
        budgets, done = [], 0
        for i, part in enumerate(parts):
            steps = None
            if self.steps is not None:
                steps = max(1, round(self.steps * sum(parts[: i + 1])) - done)
                done += steps
            budgets.append(Budget(None if self.seconds is None else self.seconds * part, steps))
        return budgets


@dataclass(frozen=True)
class Countdown:
    """A budget that is being spent."""

    budget: Budget
    started: float = field(default_factory=time.monotonic)

    def spent(self, steps_done: int) -> float:
        """Which fraction is gone; 1 and more is the end."""
        parts = []
        if self.budget.seconds is not None:
            parts.append((time.monotonic() - self.started) / self.budget.seconds)
        if self.budget.steps is not None:
            parts.append(steps_done / self.budget.steps)
        return max(parts)


@dataclass(frozen=True)
class FitProgress:
    """A moment of a fit."""

    stage: str
    """`codec`, `law` or `adversarial`."""
    step: int
    fraction: float
    """Of this stage's budget."""
    loss: float


Watch = Callable[[FitProgress], bool]
"""Is told of each step; says whether to stop here and keep what was learnt."""


def watch_nothing(progress: FitProgress) -> bool:
    """Let it run."""
    return False


@dataclass(frozen=True)
class StageReport:
    """How one stage of a fit went."""

    stage: str
    steps: int
    seconds: float
    first_loss: float
    last_loss: float
    was_stopped: bool = False
