"""A texture completed: window by window, from what is known around."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.errors import InputError
from neural3d.priors.exemplar.quilting import Texels
from neural3d.priors.fitting import seeded
from neural3d.priors.records import Budget
from neural3d.texture.atlas import Atlas
from neural3d.texture.charts import (
    Chart,
    Frame,
    chart_of,
    frames_beside_unknown,
    known_frames,
    next_frame,
    written_back,
)
from neural3d.texture.choice import Choice, choose
from neural3d.texture.membrane import with_membrane
from neural3d.texture.proposals import AUTO, AUTO_FAST, Propose, Trainer, filled, proposer

_LIBRARY, _BESIDE_UNKNOWN = 24, 12
_LEAST_KNOWN = 0.25
"""Of a chart, to be copied from or learnt from."""
_COPIED_CHARTS = 6
_UNLIKE = 8.0
"""How far, in widths of a window, a place may be that is nearer by 1 in colour, in [-1, 1]."""
_PALETTE_PX = 16
_TRAINING_SHARE = 0.35
_MOST_CHARTS, _MOST_COVERS = 400, 8
"""Windows at most: so many, or where this is more, as many as would show all that is unknown so many times over."""
_WORTH_TELLING = 0.1
"""Share of what was unknown that is left over."""
_LEAST_TEXELS = 4
"""Known ones, to complete from."""
_NEGLIGIBLE, _NEGLIGIBLE_IN_ALL = 8, 160
"""Texels: where a window shows fewer about its middle, or at all, they take what is expected from afar."""
_FAST_WINDOWS = 200
"""In haste, so do those where a window shows less than such a part of all that is unknown."""


@dataclass(frozen=True)
class CompleteConfig:
    """How a texture is completed."""

    method: str = "auto"
    """`auto`, `smooth`, `quilt`, `patchnn`, a prior's name, or the file of a trained prior."""
    seconds: float = 240.0
    """About how long it may take; a prior is trained for a third of it."""
    is_fast: bool = False
    """Fewer patches are compared, and `auto` trains no prior."""
    window_px: int = 160
    """Side of the windows in which the surface is completed."""
    rim: float = 0.0
    """Share of the surface's longest side: so near to what is unknown, colours say nothing of what may go on there."""
    seed: int = 0


@dataclass(frozen=True)
class Completed:
    """What came out."""

    atlas: Atlas
    """All its texels are known now."""
    choice: Choice
    num_charts: int
    num_texels: int
    """How many were completed."""
    num_smooth: int
    """Of these, how many no window showed, so that they have the colours around them, led over smoothly."""


@dataclass(frozen=True)
class Windowed:
    """What windows have filled."""

    atlas: Atlas
    num_charts: int
    num_left: int
    """Texels that no window has shown."""


@dataclass
class Progress:
    """Who is told how far it is, and asked whether to stop."""

    tell: Callable[[str], None] = lambda line: None
    preview: Callable[[Atlas], None] = lambda atlas: None
    is_stopped: Callable[[], bool] = lambda: False
    started: float = field(default_factory=time.monotonic)


def complete(
    atlas: Atlas,
    up: Float[Tensor, "3"],
    config: CompleteConfig = CompleteConfig(),
    progress: Progress | None = None,
    source: Texels | None = None,
) -> Completed:
    """Fill in all texels that are unknown; those that are known keep their bits.

    With a `source`, texels are copied from there and not from the surface.

    A seed gives the same bytes at the same number of threads, as long as no prior is trained by the clock.

    Raises: InputError where nothing is known, or where a method cannot be had.
    """
    progress = progress or Progress()
    unknown = int((~atlas.known).sum())
    if int(atlas.known.sum()) < _LEAST_TEXELS:
        raise InputError("no photo saw anything of the surface, so there is nothing to complete it from")
    if unknown == 0:
        return Completed(atlas, Choice(config.method, {}), 0, 0, 0)
    atlas, generator = with_membrane(atlas, rim=config.rim), seeded(config.seed)
    library = library_of(atlas, up, config.window_px, generator)
    choice, propose = _method(atlas, up, library, config, progress, keeps_colors=source is not None)
    progress.tell(choice.reason)
    copying = seeded(config.seed + 1)

    def fill(chart: Chart) -> Tensor:
        return filled(chart, propose, _nearest_charts(chart, library), copying, source)

    done = in_windows(atlas, up, fill, config, progress)
    whole = done.atlas.with_colors(done.atlas.colors, torch.ones_like(atlas.known))
    return Completed(whole, choice, done.num_charts, unknown, done.num_left)


def library_of(atlas: Atlas, up: Float[Tensor, "3"], window_px: int, generator: torch.Generator) -> tuple[Chart, ...]:
    """Windows all over the surface, and beside what is unknown, that show enough of what is known."""
    frames = known_frames(atlas, window_px, up, _LIBRARY, generator)
    frames += frames_beside_unknown(atlas, window_px, up, _BESIDE_UNKNOWN, generator)
    charts = [chart_of(atlas, frame) for frame in frames]
    good = [chart for chart in charts if float(chart.known.float().mean()) >= _LEAST_KNOWN]
    return tuple(good or sorted(charts, key=lambda chart: -int(chart.known.sum()))[:2])


def _method(
    atlas: Atlas,
    up: Tensor,
    library: Sequence[Chart],
    config: CompleteConfig,
    progress: Progress,
    *,
    keeps_colors: bool,
) -> tuple[Choice, Propose]:
    how = {"is_fast": config.is_fast, "keeps_colors": keeps_colors}
    budget = Budget(max(1.0, _TRAINING_SHARE * config.seconds))
    trainer = Trainer(library, budget, config.seed, watch=lambda _: progress.is_stopped())
    if config.method != "auto":
        progress.tell(f"method {config.method}")
        return Choice(config.method, {}), proposer(config.method, trainer, **how)
    methods: dict[str, Propose] = {}
    for name in AUTO_FAST if config.is_fast else AUTO:
        if methods and progress.is_stopped():
            break
        try:
            methods[name] = proposer(name, trainer, **how)
        except InputError as error:
            progress.tell(f"{name} is left out: {error}")
    choice = choose(
        methods, library, _shapes(atlas, up, config), seed=config.seed,
        most_charts=2 if config.is_fast else 3, tell=progress.tell, is_stopped=progress.is_stopped,
    )  # fmt: skip
    return choice, methods[choice.method]


def _shapes(atlas: Atlas, up: Tensor, config: CompleteConfig) -> list[Bool[Tensor, "H W"]]:
    """What is unknown in the first windows that there would be."""
    generator, shapes = seeded(config.seed), []
    tried = torch.zeros_like(atlas.known)
    for _ in range(3):
        found = next_frame(atlas, config.window_px, up, generator, tried)
        if found is None:
            break
        shapes.append(chart_of(atlas, found[0]).unknown)
        tried[found[1]] = True
    return shapes


def in_windows(
    atlas: Atlas,
    up: Float[Tensor, "3"],
    fill: Callable[[Chart], Float[Tensor, "3 H W"]],
    config: CompleteConfig,
    progress: Progress,
) -> Windowed:
    """Fill window after window, until no texel is left that a window shows; much that is left over is told."""
    generator, charts, whole = seeded(config.seed), 0, int((~atlas.known).sum())
    least = max(_NEGLIGIBLE_IN_ALL, whole // _FAST_WINDOWS) if config.is_fast else _NEGLIGIBLE_IN_ALL
    most = max(_MOST_CHARTS, math.ceil(_MOST_COVERS * whole / config.window_px**2))
    tried = torch.zeros_like(atlas.known)
    while charts < most and not progress.is_stopped():
        found = next_frame(atlas, config.window_px, up, generator, tried)
        if found is None:
            break
        frame, texel = found
        tried[texel] = True
        chart = _showing(atlas, frame, least)
        if chart is None:
            _give_up_around(atlas, texel, tried)
            continue
        atlas, charts = written_back(atlas, chart, fill(chart)), charts + 1
        left = int((~atlas.known).sum())
        progress.tell(f"window {charts}: {100 * (1 - left / whole):.0f} % done")
        progress.preview(atlas)
    left = int((~atlas.known).sum())
    if left > _WORTH_TELLING * whole:
        why = "was stopped" if progress.is_stopped() else "no window showed them"
        progress.tell(f"warning: {100 * left / whole:.0f} % of the texels have the colours around them: {why}")
    return Windowed(atlas, charts, left)


def _showing(atlas: Atlas, frame: Frame, least: int) -> Chart | None:
    """A window that shows the unknown about its middle, from afar or from just above, and so many texels of it in all.

    None where neither does.
    """
    middle = slice(frame.side_px // 2 - 4, frame.side_px // 2 + 4)
    for candidate in (frame, frame.shallow):
        chart = chart_of(atlas, candidate)
        counts = int(chart.unknown[middle, middle].sum()), int(chart.unknown.sum())
        if counts[0] >= _NEGLIGIBLE and counts[1] >= least:
            return chart
    return None


def _give_up_around(atlas: Atlas, texel: int, tried: Bool[Tensor, "N"]) -> None:
    """What lies beside a place that its own window does not show is shown by none; in place."""
    tried |= (atlas.texels.points - atlas.texels.points[texel]).norm(dim=1) < 4 * atlas.spacing


def _nearest_charts(chart: Chart, library: Sequence[Chart]) -> list[Chart]:
    """Places of the colours that are expected come first, then those nearby: they are often of the same material."""
    expected = _palette(chart.image, chart.unknown)

    def apart(other: Chart) -> float:
        turned = 1 - float(other.frame.axes[2] @ chart.frame.axes[2])
        away = float((other.frame.center - chart.frame.center).norm()) / (chart.frame.side_px * chart.frame.spacing)
        shown = _palette(other.image, other.known)
        unlike = float(torch.cdist(expected, shown).amin(1).mean()) if len(expected) and len(shown) else 0.0
        return away + turned + _UNLIKE * unlike

    return sorted(library, key=apart)[:_COPIED_CHARTS]


def _palette(image: Float[Tensor, "3 H W"], where: Bool[Tensor, "H W"]) -> Float[Tensor, "K 3"]:
    """Mean colours, cell by cell, of the cells that mostly lie where they are asked for."""
    layers = torch.cat([image * where, where[None].float()])[None]
    cells = functional.avg_pool2d(layers, _PALETTE_PX)[0].flatten(1).T
    chosen = cells[cells[:, 3] > min(0.5, 0.5 * float(cells[:, 3].max()))]
    return chosen[:, :3] / chosen[:, 3:]
