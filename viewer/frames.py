"""Exact pictures: the engine draws for the visitors who asked for it, each from where he stands.

The browser draws splats in one colour each. Here the engine draws the real thing, harmonics included, on a thread of
its own: coarse while a visitor moves, as fine as the engine manages in `COARSE_SECONDS`, and fully once he rests, by
way of pictures twice as high each where the full one takes long. Such pictures are drawn in bands, and given up between
two of them when he moves on.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from neural3d.viewer.display import Display, Drawing, drawn_cameras, picture
from neural3d.viewer.space import View, cameras_from_view

COARSE_SECONDS = 0.08
REST_SECONDS = 0.3
MAX_PIXELS = 1_500_000
MIN_COARSE_HEIGHT = 32
PATIENCE_SECONDS = 1.0
"""The full picture follows at once where it is expected to take no longer."""
BAND_SECONDS = 0.2
"""What a band of a picture takes, and with that how long a visitor who moves on waits for the engine."""

Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Share:
    """The part of its time that the thread may draw, in (0, 1]; the rest belongs to training."""

    most: float = 1.0
    each: float = 1.0
    """For every visitor, as long as it is not more than `most` together."""

    def of(self, num_visitors: int) -> float:
        """For so many of them."""
        return min(self.most, self.each * max(1, num_visitors))


ALL = Share()


@dataclass
class _Visitor:
    """One client's latest view: there is no queue, so at most one picture is ever owed to it."""

    view: View
    display: Display
    moved_at: float
    coarse_due: bool = True
    fine_due: bool = True
    served_at: float = -math.inf
    height: int = 0
    """Of the last picture of this view."""


@dataclass(frozen=True)
class _Job:
    client_id: int
    view: View
    display: Display
    height: int
    is_coarse: bool


class FrameServer:
    """Draws for many visitors in turn. A render error goes to the visitor concerned, and nowhere else."""

    def __init__(
        self,
        deliver: Callable[[int, Picture], None],
        fail: Callable[[int, Exception], None],
        share: Share = ALL,
    ) -> None:
        """Start the thread.

        Args:
            deliver: Called with a client and its picture.
            fail: Called with a client and what went wrong while drawing or delivering.
            share: How much the thread may draw.
        """
        self.share = share
        self._deliver, self._fail = deliver, fail
        self._drawing: Drawing | None = None
        self._visitors: dict[int, _Visitor] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_per_pixel: float | None = None
        self._thread = threading.Thread(target=self._run, name="neural3d-frames", daemon=True)
        self._thread.start()

    def set_drawing(self, drawing: Drawing | None) -> None:
        """Draw another model from now on, for those who rest too; None: nothing until the next."""
        with self._changed:
            self._drawing = drawing
            for visitor in self._visitors.values():
                visitor.fine_due = True
            self._changed.notify()

    @property
    def is_drawing(self) -> bool:
        """Whether there is something to draw."""
        return self._drawing is not None

    def look(self, client_id: int, view: View, display: Display | None = None) -> None:
        """A visitor stands here now and wants this; what he asked for before is forgotten."""
        with self._changed:
            served_at = self._visitors[client_id].served_at if client_id in self._visitors else -math.inf
            self._visitors[client_id] = _Visitor(view, display or Display(), time.monotonic(), served_at=served_at)
            self._changed.notify()

    def leave(self, client_id: int) -> None:
        """A visitor wants no more pictures."""
        with self._changed:
            self._visitors.pop(client_id, None)

    def close(self) -> None:
        """End the thread; a picture being drawn is waited for, five seconds at most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            job, drawing = taken
            started = time.monotonic()
            picture = None
            try:
                picture = self._draw(drawing, job)
                if picture is not None:
                    self._deliver(job.client_id, picture)
            except Exception as error:  # whatever the engine or the connection raises concerns this visitor only
                self._fail(job.client_id, error)
            seconds = time.monotonic() - started
            if picture is not None:  # one that was given up has not taken its full time
                self._learn(seconds, job)
            self._rest(seconds * (1.0 / self.share.of(len(self._visitors)) - 1.0))

    def _take(self) -> tuple[_Job, Drawing] | None:
        """The next picture to draw, waiting until one is due; None when closed."""
        with self._changed:
            while not self._closed:
                job = self._next_job(time.monotonic()) if self._drawing is not None else None
                if job is not None and self._drawing is not None:
                    return job, self._drawing
                self._changed.wait(timeout=REST_SECONDS if self._is_anything_due() else None)
        return None

    def _is_anything_due(self) -> bool:
        return self._drawing is not None and any(visitor.fine_due for visitor in self._visitors.values())

    def _next_job(self, now: float) -> _Job | None:
        """Those who move first, then those who rest; among equals the one who has waited longest."""
        visitors = self._visitors
        coarse = [key for key in visitors if visitors[key].coarse_due]
        fine = [key for key in visitors if visitors[key].fine_due and now - visitors[key].moved_at >= REST_SECONDS]
        if not coarse and not fine:
            return None
        is_coarse, client_id = bool(coarse), min(coarse or fine, key=lambda key: visitors[key].served_at)
        visitor = visitors[client_id]
        full, pace = fine_height(visitor.view, visitor.display.scale), self._seconds_per_pixel
        if is_coarse:
            height = coarse_height(visitor.view, pace, self._coarse_seconds())
        else:
            height = finer_height(visitor.view, pace, visitor.height, full)
        height = min(full, height)
        visitor.coarse_due, visitor.fine_due, visitor.served_at = False, height < full, now
        visitor.height = height
        return _Job(client_id, visitor.view, visitor.display, height, is_coarse)

    def _coarse_seconds(self) -> float:
        """Less where little time is given: there are more pictures then, and coarser ones, than there would be."""
        return COARSE_SECONDS * math.sqrt(self.share.of(len(self._visitors)))

    def _draw(self, drawing: Drawing, job: _Job) -> Picture | None:
        """The picture, or None where the visitor has moved on while a fine one was drawn."""
        cameras = drawn_cameras(cameras_from_view(job.view, job.height), job.display)
        width = int(cameras.size_px[0, 0])
        pace = self._seconds_per_pixel
        rows = job.height if pace is None else max(1, int(BAND_SECONDS / (pace * width)))
        bands = []
        for band in drawing.bands(cameras, job.display.output, rows):
            bands.append(band)
            if not job.is_coarse and self._is_given_up(job):
                return None
        return picture(torch.cat(bands), cameras, job.display).numpy()

    def _is_given_up(self, job: _Job) -> bool:
        with self._changed:
            visitor = self._visitors.get(job.client_id)
            return self._closed or visitor is None or (visitor.view, visitor.display) != (job.view, job.display)

    def _learn(self, seconds: float, job: _Job) -> None:
        pace = seconds / pixels_at(job.view, job.height)
        before = self._seconds_per_pixel
        self._seconds_per_pixel = pace if before is None else before + 0.3 * (pace - before)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            if seconds > 0.0 and not self._closed:
                self._changed.wait_for(lambda: self._closed, timeout=seconds)


def fine_height(view: View, scale: float = 1.0) -> int:
    """The height of the full picture: the visitor's own times `scale`, unless that has more than `MAX_PIXELS`."""
    return max(1, min(round(scale * view.height), int(math.sqrt(MAX_PIXELS * view.height / view.width))))


def coarse_height(view: View, seconds_per_pixel: float | None, seconds: float = COARSE_SECONDS) -> int:
    """The height that the engine is expected to draw in so long; the least where nothing is known of it."""
    if seconds_per_pixel is None:
        return MIN_COARSE_HEIGHT
    pixels = seconds / seconds_per_pixel
    return max(MIN_COARSE_HEIGHT, int(math.sqrt(pixels * view.height / view.width)))


def finer_height(view: View, seconds_per_pixel: float | None, height: int, full: int) -> int:
    """Of the picture that follows one of `height`: that of the `full` one, or twice its own where that takes long."""
    if seconds_per_pixel is None or pixels_at(view, full) * seconds_per_pixel <= PATIENCE_SECONDS:
        return full
    return min(full, max(2 * height, coarse_height(view, seconds_per_pixel)))


def pixels_at(view: View, height: int) -> float:
    """Of a picture with the visitor's aspect."""
    return height * max(1.0, height * view.width / view.height)
