"""Which method suits a scene: known texels are hidden again, every method fills them in, and the best score wins."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.priors.fitting import seeded
from neural3d.priors.metrics import Card, score
from neural3d.texture.charts import Chart, continued
from neural3d.texture.proposals import Propose, filled

_LEAST_HIDDEN, _MOST_HIDDEN = 0.04, 0.5
"""Share of what is known of a chart that may be hidden for a trial."""


@dataclass(frozen=True)
class Trial:
    """How a method did on texels that were known."""

    card: Card
    seconds: float
    """For all the charts of the trial together."""


@dataclass(frozen=True)
class Choice:
    """The method that was taken, and why."""

    method: str
    trials: Mapping[str, Trial]

    @property
    def reason(self) -> str:
        """One line for a person."""
        if not self.trials:
            return f"{self.method}: no known texels to try methods on"
        told = ", ".join(f"{name} {trial.card.penalty:.2f}" for name, trial in self.ranked)
        card = self.trials[self.method].card
        return (
            f"{self.method}: least penalty on texels that were hidden ({told}); it is told from the truth by a critic "
            f"with {card.c2st:.2f} (0.5: not at all), {card.sharpness:.2f} times as sharp, seams {card.seam:.2f} times"
        )

    @property
    def ranked(self) -> list[tuple[str, Trial]]:
        """The best first."""
        return sorted(self.trials.items(), key=lambda item: item[1].card.penalty)


def choose(
    methods: Mapping[str, Propose],
    library: Sequence[Chart],
    shapes: Sequence[Bool[Tensor, "H W"]],
    *,
    seed: int = 0,
    most_charts: int = 3,
    tell: Callable[[str], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Choice:
    """Hide what is known under the shapes of what is unknown, and take the method with the least penalty.

    Each trial chart is filled from the others alone. Where nothing can be hidden, the first but `smooth` is taken;
    where somebody stops it, the best of those that were tried.

    Raises: InputError where no method is given.
    """
    if not methods:
        raise InputError("no method to choose from")
    cases = _cases(library, shapes, most_charts)
    if not cases or is_stopped():
        return Choice(next((name for name in methods if name != "smooth"), next(iter(methods))), {})
    trials = {}
    for name, propose in methods.items():
        if trials and is_stopped():
            break
        trials[name] = _trial(propose, cases, library, seed)
        if tell is not None:
            tell(f"{name}: penalty {trials[name].card.penalty:.2f}, {trials[name].seconds:.1f} s")
    return Choice(min(trials, key=lambda name: trials[name].card.penalty), trials)


def _trial(propose: Propose, cases: Sequence[tuple[int, Chart]], library: Sequence[Chart], seed: int) -> Trial:
    started, generator, results = time.monotonic(), seeded(seed), []
    for number, case in cases:
        others = [chart for i, chart in enumerate(library) if i != number][:4]
        results.append(filled(case, propose, others, generator))
    seconds = time.monotonic() - started
    true = [library[number].image for number, _ in cases]
    return Trial(score(results, true, [case.unknown for _, case in cases], seed), seconds)


def _cases(library: Sequence[Chart], shapes: Sequence[Bool[Tensor, "H W"]], most: int) -> list[tuple[int, Chart]]:
    """Charts with texels hidden, those that show the most first."""
    order = sorted(range(len(library)), key=lambda i: -int(library[i].known.sum()))
    cases = []
    for number in order:
        hidden = _hidden(library[number], shapes[len(cases) % len(shapes)] if shapes else None)
        if hidden is not None:
            cases.append((number, hidden))
        if len(cases) == most:
            break
    return cases


def _hidden(chart: Chart, shape: Bool[Tensor, "H W"] | None) -> Chart | None:
    """A chart with known texels hidden: under the shape where this hides neither too few nor too many, else a disc."""
    whole = int(chart.known.sum())
    for mask in ([] if shape is None else [shape, shape.flip(1), shape.flip(0)]) + [_disc(chart)]:
        hidden = mask & chart.known
        # What is hidden must lie on the surface on all sides, or its border would be no seam.
        inner = functional.max_pool2d((~chart.known)[None, None].float(), 3, 1, 1)[0, 0] == 0
        hidden &= inner
        if _LEAST_HIDDEN * whole <= int(hidden.sum()) <= _MOST_HIDDEN * whole and whole >= 0.2 * hidden.numel():
            return continued(replace(chart, unknown=hidden, known=chart.known & ~hidden))
    return None


def _disc(chart: Chart) -> Bool[Tensor, "H W"]:
    """About the middle of what is known."""
    rows, columns = (chart.known.any(axis).nonzero()[:, 0].float() for axis in (1, 0))
    if len(rows) == 0:
        return chart.known
    side = chart.frame.side_px
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (y - rows.median()) ** 2 + (x - columns.median()) ** 2 < (0.2 * side) ** 2
