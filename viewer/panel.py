"""The panel beside the picture: how the training goes, and its buttons."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import viser
from viser import uplot

from neural3d.train.observer import Progress

BRAND_COLOR = (36, 113, 163)
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
class Curve:
    """PSNR over training time; at most `MAX_CURVE_POINTS` points, the older ones thinned evenly."""

    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)

    def add(self, seconds: float, psnr: float) -> bool:
        """Append a measurement; False where it is none (not finite, or the one that is there already)."""
        if not math.isfinite(psnr) or (self.seconds and seconds <= self.seconds[-1]) or psnr in self.psnr[-1:]:
            return False
        if len(self.seconds) >= MAX_CURVE_POINTS:
            self.seconds, self.psnr = self.seconds[::2], self.psnr[::2]
        self.seconds.append(seconds)
        self.psnr.append(psnr)
        return True

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """The two rows of the chart."""
        return np.array(self.seconds), np.array(self.psnr)


class TrainingPanel:
    """Progress, the PSNR curve, Pause and Stop; made only for a viewer that watches a training."""

    def __init__(self, gui: viser.GuiApi, on_pause: Callable[[bool], None], on_stop: Callable[[], None]) -> None:
        self._status = gui.add_markdown("**Starting**")
        self._bar = gui.add_progress_bar(0.0)
        self._metrics = gui.add_markdown("")
        self._curve = Curve()
        self._chart = _add_chart(gui)
        self._pause = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
        self._stop = gui.add_button("Stop and save", color="red", icon=viser.Icon.DEVICE_FLOPPY)
        self._paused = False
        self._ended = False

        @self._pause.on_click
        async def _(_: viser.GuiEvent) -> None:
            self._paused = not self._paused
            on_pause(self._paused)
            self._pause.label = "Resume" if self._paused else "Pause"
            self._pause.icon = viser.Icon.PLAYER_PLAY if self._paused else viser.Icon.PLAYER_PAUSE

        @self._stop.on_click
        async def _(_: viser.GuiEvent) -> None:
            on_stop()
            self.end("Stopping: the last step is being saved")

    def show(self, progress: Progress) -> None:
        """Put the numbers on the page."""
        if not self._ended:
            state = "Paused" if self._paused else "Training"
            self._status.content = f"**{state}** · step {progress.step:,} of {progress.total_steps:,}"
        self._bar.value = 100.0 * progress.fraction
        self._metrics.content = metrics_table(progress)
        if progress.psnr is not None and self._curve.add(progress.train_seconds, progress.psnr):
            self._chart.data = self._curve.data()
            self._chart.visible = len(self._curve.seconds) > 1

    def end(self, message: str) -> None:
        """The training takes no more orders."""
        self._ended = True
        self._status.content = f"**{message}**"
        self._pause.disabled = self._stop.disabled = True


def _add_chart(gui: viser.GuiApi) -> viser.GuiUplotHandle:
    series = (
        uplot.Series(label="seconds"),
        uplot.Series(label="PSNR (dB)", stroke=f"rgb{BRAND_COLOR}", width=2),
    )
    axes = (uplot.Axis(label="training seconds", size=40, labelSize=16), uplot.Axis(label="dB", size=44, labelSize=16))
    return gui.add_uplot(
        data=(np.zeros(1), np.zeros(1)),
        series=series,
        axes=axes,
        scales={"x": uplot.Scale(time=False)},
        legend=uplot.Legend(show=False),
        title="PSNR of training photos",
        height=180,
        padding=(10, 16, 0, 0),
        visible=False,
    )
