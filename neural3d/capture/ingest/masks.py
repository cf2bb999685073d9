"""Masks of an ingested capture: found once its poses are, for the photos that brought none."""

from dataclasses import replace
from pathlib import Path

from neural3d.capture.detect import list_capture
from neural3d.capture.foreground import Segmenter, mask_path
from neural3d.capture.ingest.result_files import write_results
from neural3d.capture.ingest.state import STATE_FILE, WORK_FOLDER, load_state, save_state
from neural3d.capture.masking import MaskReport, Told, write_masks
from neural3d.capture.survey import survey
from neural3d.errors import InputError
from neural3d.locks import FileLock


def mask_ingest(capture: Path, segment: Segmenter, made_by: str, told: Told = iter) -> MaskReport:
    """Cut the object out of photos that came without a mask, and name all masks in transforms.json.

    `made_by` is kept: the next start makes masks anew only if the poses were found anew since, or they shall be made
    otherwise.

    Raises: InputError when the capture is no ingest's, another one works on it, or no object is found; StorageError.
    """
    lock = FileLock(capture / WORK_FOLDER / "lock")
    if not lock.acquire():
        raise InputError(f"{capture}: another ingest ({lock.owner()}) works on it; wait for its end")
    try:
        state = load_state(capture)
        if state is None:
            raise InputError(f"{capture / STATE_FILE}: is missing; find the poses first: neural3d ingest")
        kept, folder = state.mapped.get("masks"), capture / "masks"
        if kept is not None and kept["made_by"] == made_by:
            return MaskReport(**kept["report"])
        brought = {photo.name for photo in state.usable if photo.has_mask}
        surveyed = survey(list_capture(capture))
        # transforms.json calls photos images/NAME, a COLMAP model NAME; what they brought is known by NAME.
        names = {placed.frame.name: placed.frame.name.removeprefix("images/") for placed in surveyed.placed}
        wanted = {name for name, own in names.items() if own not in brought}
        report = write_masks(surveyed, folder, segment, only=wanted, replaces=True, told=told)
        made = {names[name] for name in wanted - report.failed.keys()}
        write_results(capture, brought | {own for own in made if mask_path(folder, own).is_file()})
        content = {"made_by": made_by, "report": report.to_json()}
        save_state(capture, replace(state, mapped={**state.mapped, "masks": content}))
        return report
    finally:
        lock.release()
