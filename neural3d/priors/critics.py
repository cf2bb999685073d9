"""A critic who knows the trade: it has seen how a method fills other textures, and is asked about a new one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.metrics import STRIDE_PX, WINDOW_PX, RandomFeatures, area_under_curve, hole_windows

_FOLDS = 5
_RIDGE = 1.0
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class Shown:
    """The windows in one hole, as filled and as they truly are."""

    texture: str
    filled: Float[Tensor, "N F"]
    true: Float[Tensor, "N F"]


def shown(
    texture: str,
    filled: Float[Tensor, "3 H W"],
    true: Float[Tensor, "3 H W"],
    hole: Bool[Tensor, "H W"],
    features: RandomFeatures,
) -> Shown:
    """Windows as they differ from those around the hole, in units of how much these differ among themselves.

    So a critic can carry over from one texture to another what is wrong with a filling.
    """
    found = features.of_windows(true)
    share = functional.avg_pool2d(hole[None, None].float(), WINDOW_PX, STRIDE_PX)[0, 0]
    around = found[share[: found.shape[0], : found.shape[1]] == 0]
    mean, spread = around.mean(0), around.std(0).clamp_min(_LEAST_SPREAD)
    inside = [(hole_windows(image, hole, features).features - mean) / spread for image in (filled, true)]
    return Shown(texture, *inside)


def areas_across(cases: Sequence[Shown]) -> list[float]:
    """For each hole, how well a critic tells the filled from the true who learned on other textures alone.

    The area under its curve; 0.5: not at all. A critic of one hole alone has few windows and can rely on how they
    happen to differ: true texels of another place score 0.75 with it. Here such things do not help, and a method's own
    marks do, as blur, seams and repetition.

    Raises: ValueError where the holes are of fewer than two textures.
    Source: Lopez-Paz and Oquab 2017, Revisiting Classifier Two-Sample Tests.
    """
    names = sorted({case.texture for case in cases})
    if len(names) < 2:
        raise ValueError(f"cases: all are of {len(names)} texture; give holes of two at least")
    fold_of = {name: number % _FOLDS for number, name in enumerate(names)}
    areas = {}
    for fold in range(min(_FOLDS, len(names))):
        learns = [case for case in cases if fold_of[case.texture] != fold]
        mean, spread, direction = _learned(learns)
        for number, case in enumerate(cases):
            if fold_of[case.texture] == fold:
                scores = (((windows - mean) / spread) @ direction for windows in (case.true, case.filled))
                areas[number] = area_under_curve(*scores)
    return [areas[number] for number in range(len(cases))]


def _learned(cases: Sequence[Shown]) -> tuple[Tensor, Tensor, Tensor]:
    """A ridge discriminant between what is true and what is filled."""
    sides = [torch.cat([getattr(case, side) for case in cases]) for side in ("true", "filled")]
    both = torch.cat(sides)
    mean, spread = both.mean(0), both.std(0).clamp_min(1e-6)
    known = [(side - mean) / spread for side in sides]
    within = sum((side - side.mean(0)).T @ (side - side.mean(0)) for side in known) / len(both)
    ridge = _RIDGE * torch.eye(within.shape[0])
    return mean, spread, torch.linalg.solve(within + ridge, known[0].mean(0) - known[1].mean(0))
