"""ingest: poses for photos and videos that have none; `make` begins with it where that is needed."""

import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from neural3d.capture.detect import has_poses
from neural3d.capture.foreground import Segmenter, grab_cut, load_segmenter, require_opencv
from neural3d.capture.georeference.place import Placed, place_capture
from neural3d.capture.ingest.masks import mask_ingest
from neural3d.capture.ingest.pipeline import Progress, followed_settings, ingest_photos, is_of
from neural3d.capture.ingest.report import Report
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.snapshots import Snapshot, latest_snapshot
from neural3d.capture.masking import MaskReport
from neural3d.cli.answers import answer
from neural3d.cli.ingest_options import Ingest, Posing
from neural3d.cli.masking import cutting, say_failed
from neural3d.cli.matchmoves import matchmove_capture, refuse_what_looks_for_poses, run_matchmove
from neural3d.cli.options import Make
from neural3d.cli.placing import require_one_source
from neural3d.cli.progress import clock, say
from neural3d.errors import InputError
from neural3d.render.exr_files import require_openexr

SECONDS_BETWEEN_LINES = 5.0
"""Where nobody can see a line change."""
AUTO = "auto"
"""What --masks calls GrabCut."""
_STAGES = ("photos", "features", "matches", "poses")


@runtime_checkable
class Preview(Protocol):
    """Shows poses while they are being found."""

    seen: str | None
    """The snapshot that is shown."""

    def tell(self, line: str) -> None:
        """Say how far it is."""

    def show(self, snapshot: Snapshot) -> None:
        """Draw what stands."""


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
    parts = [f"{number}/{len(_STAGES)} {progress.stage}"]
    if progress.done or progress.total:
        parts.append(f"{progress.done:,}{of}")
    if progress.done and progress.total and progress.seconds > 1:
        left = progress.seconds * (progress.total - progress.done) / progress.done
        parts.append(f"{clock(left)} left" if progress.done < progress.total else clock(progress.seconds))
    return "  ".join([*parts, *([progress.note] if progress.note else [])])


def run_ingest(options: Ingest) -> int:
    """Find poses, say how it went.

    Raises: InputError, also when there are poses, but no masks or no metres where these were asked for.
    """
    if options.cameras is not None:
        return run_matchmove(options)
    segment = require_extras(options)
    settings = settings_of(options, seed=options.seed, threads=options.threads)
    report = shown_ingest(options.source, options.output, settings, overwrite=options.overwrite)
    if not options.json:
        print("\n".join([*report.lines(), f"the capture lies in {options.output}"]), flush=True)
    extras = _extras(options.output, options, segment)
    if options.json:
        told = {name: extra.to_json() for name, extra in extras.items()}
        answer({"capture": str(options.output), **report.to_json(), **told}, True)
    elif lines := _lines(extras):
        print("\n".join(lines))
    return 0


def posed_capture(options: Make, preview: Preview | None = None) -> Path:
    """The source itself where it has poses, else a capture beside the run's folder, with the poses that were found.

    `preview` shows them as far as they stand, and says where it is to be seen.

    Raises: InputError where no poses, masks or metres can be found, or options about them make no sense.
    """
    if has_poses(options.source):
        _refuse_for_posed(options)
        return options.source
    capture = options.output.with_name(f"{options.output.name}-capture")
    if options.cameras is not None:
        refuse_what_looks_for_poses(options)
        found, num_plates = matchmove_capture(
            options.source, options.cameras, capture, linear=options.linear, overwrite=True
        )
        say(f"{found.num_frames} of {num_plates} plates have a camera; the capture lies in {capture}")
        return capture
    segment, settings = require_extras(options), settings_of(options)
    anew = options.overwrite and not is_of(capture, options.source, settings)
    if not anew and (followed := followed_settings(capture, settings)):
        told = ", ".join(f"{name} {value}" for name, value in followed.items())
        say(f"{capture} was begun with {told}, which still holds; --overwrite begins anew")
    opening = f"{options.source} has no camera poses; they are looked for, and kept in {capture}"
    report = shown_ingest(options.source, capture, settings, overwrite=anew, opening=opening, preview=preview)
    for line in [*report.lines(), *_lines(_extras(capture, options, segment))]:
        say(line)
    return capture


def settings_of(options: Posing, **others: int) -> Settings:
    """What an ingest is told.

    Raises: InputError for values that make no sense.
    """
    return Settings(
        focal_px=options.focal,
        camera=options.camera,
        camera_per_photo=options.camera_per_photo,
        matching=options.matching,
        equirectangular=options.equirectangular,
        frames=options.frames,
        linear=options.linear,
        **others,
    )


def require_extras(options: Posing) -> Segmenter | None:
    """Who cuts objects out, None where that is not asked for; what cannot work is told before hours are spent.

    Raises: InputError.
    """
    if options.gps or options.control_points is not None:
        require_one_source(options.gps, options.control_points)
    if options.linear:
        require_openexr("--linear")
    if options.masks is None:
        return None
    require_opencv()
    return grab_cut if options.masks == AUTO else load_segmenter(options.masks, "--masks")


def _extras(capture: Path, options: Posing, segment: Segmenter | None) -> dict[str, MaskReport | Placed]:
    """Masks, then metres, as they were asked for."""
    found: dict[str, MaskReport | Placed] = {}
    if segment is not None:
        found["masks"] = report = mask_ingest(capture, segment, str(options.masks), cutting)
        say_failed(report)
    if options.gps or options.control_points is not None:
        found["world"] = place_capture(capture, options.control_points, overwrite=True)
    return found


def _lines(extras: dict[str, MaskReport | Placed]) -> list[str]:
    return [line for extra in extras.values() for line in extra.lines()]


def _refuse_for_posed(options: Make) -> None:
    """Raises: InputError for options about what a capture with poses has, or gets by other commands."""
    commands = {"masks": "neural3d masks", "gps": "neural3d world", "control_points": "neural3d world"}
    for field in fields(Posing):
        if getattr(options, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            remedy = f"use {commands[field.name]} before" if field.name in commands else "leave it out"
            raise InputError(f"{flag}: {options.source} has camera poses already; {remedy}")


def shown_ingest(
    source: Path,
    output: Path,
    settings: Settings | None,
    *,
    overwrite: bool = False,
    opening: str = "",
    preview: Preview | None = None,
) -> Report:
    """Ingest with a line of progress, and a page that shows it.

    Raises: as `neural3d.ingest_photos`.
    """
    line = IngestLine(opening)

    def watch(progress: Progress) -> None:
        line(progress)
        if preview is not None:
            preview.tell(describe(progress))
            found = latest_snapshot(output, preview.seen) if progress.stage == "poses" else None
            if found is not None:
                preview.show(found)

    try:
        return ingest_photos(source, output, settings, overwrite=overwrite, watch=watch)
    finally:
        line.close()
