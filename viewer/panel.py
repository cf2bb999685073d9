"""The panel beside the picture: how the training goes, and its buttons."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import viser
from viser import uplot

from neural3d.train.observer import Progress

BRAND_COLOR = (36, 113, 163)
COLORS = (BRAND_COLOR, (200, 90, 40), (90, 140, 60))
"""Of the curves."""
MAX_CURVE_POINTS = 400


def duration(seconds: float) -> str:
    """3725 -> 1 h 02 min."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def model_size(progress: Progress) -> tuple[str, str]:
    """What the model is made of, and how many there are."""
    if progress.num_gaussians is None:
        return "Parameters", f"{progress.num_parameters:,}"
    return "Gaussians", f"{progress.num_gaussians:,}"


def metrics_table(progress: Progress) -> str:
    """The numbers of the moment as a Markdown table."""
    psnr = "not yet measured" if progress.psnr is None else f"{progress.psnr:.2f} dB"
    rows = [
        ("PSNR, training photos", psnr),
        model_size(progress),
        ("Speed", f"{progress.steps_per_second:.1f} steps/s"),
        ("Trained for", duration(progress.train_seconds)),
        ("Time left", duration(progress.seconds_left)),
    ]
    return "\n".join(["| | |", "|:--|--:|", *(f"| {name} | **{value}** |" for name, value in rows)])


@dataclass
class Curves:
    """PSNR, loss and size over training time; at most `MAX_CURVE_POINTS` points, the older ones thinned evenly."""

    seconds: list[float] = field(default_factory=list)
    rows: list[tuple[float, float, float]] = field(default_factory=list)

    def add(self, seconds: float, psnr: float, loss: float, size: float) -> bool:
        """Append a measurement; False where it is none (not finite, or the one that is there already)."""
        row = (psnr, loss, size)
        if not all(map(math.isfinite, row)) or (self.seconds and seconds <= self.seconds[-1]) or row in self.rows[-1:]:
            return False
        if len(self.seconds) >= MAX_CURVE_POINTS:
            self.seconds, self.rows = self.seconds[::2], self.rows[::2]
        self.seconds.append(seconds)
        self.rows.append(row)
        return True

    def data(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """The two rows of a chart: time, and PSNR (0), loss (1) or size (2)."""
        return np.array(self.seconds), np.array([row[column] for row in self.rows])


class TrainingPanel:
    """Progress, the curves, Pause, Save and Stop; made only for a viewer that watches a training."""

    def __init__(
        self,
        gui: viser.GuiApi,
        on_pause: Callable[[bool], None],
        on_save: Callable[[], None],
        on_stop: Callable[[], None],
    ) -> None:
        self._status = gui.add_markdown("**Starting**")
        self._bar = gui.add_progress_bar(0.0)
        self._pause = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        self._save = gui.add_button("Save a checkpoint", icon=viser.Icon.DEVICE_FLOPPY)
        self._stop = gui.add_button("Stop and save", color="red", icon=viser.Icon.PLAYER_STOP)
        self._curves = Curves()
        with gui.add_folder("Training"):
            self._metrics = gui.add_markdown("")
            names = ("PSNR (dB)", "Loss", "Size")
            self._charts = tuple(_add_chart(gui, name, color) for name, color in zip(names, COLORS, strict=True))
        self._paused = self._ended = False
        self._on_pause, self._on_save, self._on_stop = on_pause, on_save, on_stop
        self._pause.on_click(self._toggle)
        self._save.on_click(self._ask_to_save)
        self._stop.on_click(self._ask_to_stop)

    async def _toggle(self, _: viser.GuiEvent) -> None:
        self._paused = not self._paused
        self._on_pause(self._paused)
        self._pause.label = "Resume" if self._paused else "Pause"
        self._pause.icon = viser.Icon.PLAYER_PLAY if self._paused else viser.Icon.PLAYER_PAUSE

    async def _ask_to_save(self, event: viser.GuiEvent) -> None:
        self._on_save()
        if event.client is not None:
            event.client.add_notification("Saving", "A checkpoint is kept after this step.", auto_close_seconds=4.0)

    async def _ask_to_stop(self, _: viser.GuiEvent) -> None:
        self._on_stop()
        self.end("Stopping: the last step is being saved")

    def show(self, progress: Progress) -> None:
        """Put the numbers on the page."""
        if not self._ended:
            state = "Paused" if self._paused else "Training"
            self._status.content = f"**{state}** · step {progress.step:,} of {progress.total_steps:,}"
        self._bar.value = 100.0 * progress.fraction
        self._metrics.content = metrics_table(progress)
        size = progress.num_parameters if progress.num_gaussians is None else progress.num_gaussians
        if progress.psnr is None or not self._curves.add(
            progress.train_seconds, progress.psnr, progress.loss, float(size or 0)
        ):
            return
        for column, chart in enumerate(self._charts):
            chart.data = self._curves.data(column)
            # A size that never changes is no curve.
            is_flat = column == 2 and len({row[2] for row in self._curves.rows}) < 2
            chart.visible = len(self._curves.seconds) > 1 and not is_flat
        self._charts[2].title = model_size(progress)[0]

    def end(self, message: str) -> None:
        """The training takes no more orders."""
        self._ended = True
        self._status.content = f"**{message}**"
        self._pause.disabled = self._save.disabled = self._stop.disabled = True


def _add_chart(gui: viser.GuiApi, name: str, color: tuple[int, int, int]) -> viser.GuiUplotHandle:
    return gui.add_uplot(
        data=(np.zeros(1), np.zeros(1)),
        series=(uplot.Series(label="seconds"), uplot.Series(label=name, stroke=f"rgb{color}", width=2)),
        axes=(uplot.Axis(size=32), uplot.Axis(size=56)),
        scales={"x": uplot.Scale(time=False)},
        legend=uplot.Legend(show=False),
        title=name,
        height=130,
        padding=(8, 16, 0, 0),
        visible=False,
    )
