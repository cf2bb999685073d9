"""masks: cut out the object that the photos of a capture go around."""

from collections.abc import Iterator, Sequence

from neural3d.capture.detect import list_capture
from neural3d.capture.foreground import Segmenter, grab_cut, load_segmenter, require_opencv
from neural3d.capture.masking import MaskReport, write_masks
from neural3d.capture.survey import Placed, survey
from neural3d.cli.answers import answer, counted
from neural3d.cli.options import Masks
from neural3d.cli.progress import say
from neural3d.errors import InputError


def run_masks(options: Masks) -> int:
    """Write a mask for each photo in which the object is found; name the others.

    Raises: InputError when there are masks already, or no object is found.
    """
    require_opencv()
    segment: Segmenter = grab_cut if options.segment is None else load_segmenter(options.segment)
    surveyed = survey(list_capture(options.capture))
    folder = options.output or surveyed.listing.root / "masks"
    if any(frame.image_path.resolve().is_relative_to(folder.resolve()) for frame in surveyed.listing.frames):
        raise InputError(f"--output {folder}: the photos lie in it; name a folder of its own for the masks")
    if folder.exists() and any(folder.iterdir()) and not options.overwrite:
        raise InputError(f"{folder}: holds masks already; replace them with --overwrite, or name another --output")
    report = write_masks(surveyed, folder, segment, replaces=options.overwrite, told=cutting)
    say_failed(report)
    answer(report.to_json(), options.json)
    return 0


def cutting(placed: Sequence[Placed]) -> Iterator[Placed]:
    """The photos, with a line now and then that says how far it is."""
    return counted(placed, len(placed), "cutting out")


def say_failed(report: MaskReport) -> None:
    """Photos without a mask, by name."""
    for name, reason in report.failed.items():
        say(f"neural3d: warning: no mask for {name}: {reason}")
