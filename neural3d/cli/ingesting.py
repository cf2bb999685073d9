"""ingest: poses for photos and videos that have none; `make` begins with it where that is needed."""

import sys
import time
from pathlib import Path

from neural3d.capture.detect import has_poses
from neural3d.capture.georeference.place import place_capture
from neural3d.capture.ingest.pipeline import Progress, ingest_photos
from neural3d.capture.ingest.report import Report
from neural3d.capture.ingest.settings import Settings
from neural3d.cli.answers import answer
from neural3d.cli.matchmoves import run_matchmove
from neural3d.cli.options import Ingest
from neural3d.cli.placing import require_one_source
from neural3d.cli.progress import clock, say

SECONDS_BETWEEN_LINES = 5.0
"""Where nobody can see a line change."""
_STAGES = ("photos", "features", "matches", "poses")


class IngestLine:
    """Progress of an ingest: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, opening: str = "") -> None:
        """With what is said once there is something to do: a source that is refused needs no opening."""
        self._opening = opening
        self._is_terminal = sys.stderr.isatty()
        self._next = 0.0
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Show one moment."""
        if self._opening:
            say(self._opening)
            self._opening = ""
        now = time.monotonic()
        is_new, self._stage = progress.stage != self._stage, progress.stage
        if self._is_terminal:
            print(f"{chr(10) if is_new else ''}\r\x1b[K{describe(progress)}", end="", file=sys.stderr, flush=True)
        elif is_new or now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            say(describe(progress))

    def close(self) -> None:
        """Let later lines begin below."""
        if self._is_terminal and self._stage:
            say("")


def describe(progress: Progress) -> str:
    """One line: which stage, how far, how long it will take."""
    number = _STAGES.index(progress.stage) + 1
    of = f" of {progress.total:,}" if progress.total else ""
    parts = [f"{number}/{len(_STAGES)} {progress.stage}", f"{progress.done:,}{of}"]
    if progress.done and progress.total and progress.seconds > 1:
        left = progress.seconds * (progress.total - progress.done) / progress.done
        parts.append(f"{clock(left)} left" if progress.done < progress.total else clock(progress.seconds))
    return "  ".join([*parts, *([progress.note] if progress.note else [])])


def run_ingest(options: Ingest) -> int:
    """Find poses, say how it went.

    Raises: InputError, also when there are poses, but no metres where these were asked for.
    """
    if options.cameras is not None:
        return run_matchmove(options)
    if options.gps or options.control_points is not None:
        require_one_source(options.gps, options.control_points)
    settings = Settings(
        focal_px=options.focal,
        camera=options.camera,
        camera_per_photo=options.camera_per_photo,
        matching=options.matching,
        equirectangular=options.equirectangular,
        frames=options.frames,
        seed=options.seed,
        threads=options.threads,
    )
    report = shown_ingest(options.source, options.output, settings, overwrite=options.overwrite)
    if not options.json:
        print("\n".join([*report.lines(), f"the capture lies in {options.output}"]), flush=True)
    placed = None
    if options.gps or options.control_points is not None:
        placed = place_capture(options.output, options.control_points, overwrite=True)
    if options.json:
        world = {} if placed is None else {"world": placed.to_json()}
        answer({"capture": str(options.output), **report.to_json(), **world}, True)
    elif placed is not None:
        print("\n".join(placed.lines()))
    return 0


def posed_capture(source: Path, output: Path) -> Path:
    """The source itself where it has poses, else a capture beside the run's folder, with the poses that were found.

    Raises: InputError where no poses can be found.
    """
    if has_poses(source):
        return source
    capture = output.with_name(f"{output.name}-capture")
    opening = f"{source} has no camera poses; they are looked for, and kept in {capture}"
    report = shown_ingest(source, capture, None, opening=opening)
    for line in report.lines():
        say(line)
    return capture


def shown_ingest(
    source: Path, output: Path, settings: Settings | None, *, overwrite: bool = False, opening: str = ""
) -> Report:
    """Ingest with a line of progress.

    Raises: as `neural3d.ingest_photos`.
    """
    line = IngestLine(opening)
    try:
        return ingest_photos(source, output, settings, overwrite=overwrite, watch=line)
    finally:
        line.close()
