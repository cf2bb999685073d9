"""ingest --cameras: plates and the cameras of a matchmove as a capture."""

from dataclasses import fields
from pathlib import Path

from neural3d.capture.ingest.sources import find_source
from neural3d.capture.listing import BadFrame
from neural3d.capture.matchmove import Matchmove, numbered_plates, write_matchmove
from neural3d.capture.photo_files import read_photo
from neural3d.cli.answers import answer
from neural3d.cli.ingest_options import Ingest, Posing
from neural3d.cli.progress import say
from neural3d.errors import InputError
from neural3d.export.camera_formats import read_cameras
from neural3d.render.exr_files import require_openexr
from neural3d.scene import Similarity

_USED = ("source", "output", "cameras", "linear", "overwrite", "json")


def run_matchmove(options: Ingest) -> int:
    """Write the capture, say what became of the plates.

    Raises: InputError; StorageError.
    """
    refuse_what_looks_for_poses(options)
    found, num_plates = matchmove_capture(
        options.source, options.cameras, options.output, linear=options.linear, overwrite=options.overwrite
    )
    told = {"capture": str(found.capture), "num_photos": num_plates, "num_registered": found.num_frames}
    if options.json:
        answer({**told, "failed": found.skipped}, True)
        return 0
    print(f"{found.num_frames} of {num_plates} plates have a camera")
    for name, reason in found.skipped.items():
        print(f"  {name}: {reason}")
    print(f"the capture lies in {found.capture}")
    return 0


def matchmove_capture(
    plates_folder: Path, cameras: Path, output: Path, *, linear: bool, overwrite: bool
) -> tuple[Matchmove, int]:
    """Write the capture; what became of its plates, and how many there are.

    Raises: InputError; StorageError.
    """
    if linear:
        require_openexr("--linear")
    source = find_source(plates_folder)
    if source.is_video:
        raise InputError(f"{source.path}: a video has no frame numbers; write its frames as pictures, shot.1001.png …")
    for note in source.notes:
        say(note)
    if output.resolve().is_relative_to(source.path.resolve()):
        raise InputError(f"{output}: lies in the folder of the plates; write the capture somewhere else")
    plates = numbered_plates(source)
    first = plates[min(plates)].path
    try:
        height, width = read_photo(first).pixels.shape[:2]
    except BadFrame as bad:
        raise InputError(f"{first}: {bad}; its size is needed for cameras that know none: replace it") from bad
    move = read_cameras(cameras, scene_from_capture=Similarity.identity(), size_px=(width, height))
    return write_matchmove(output, plates, move.cameras, move.frames, linear=linear, overwrite=overwrite), len(plates)


def refuse_what_looks_for_poses(options: Posing) -> None:
    """Raises: InputError for options about finding poses."""
    alone = fields(options) if isinstance(options, Ingest) else fields(Posing)
    for field in alone:
        if field.name not in _USED and getattr(options, field.name) != field.default:
            name = field.name.replace("_", "-")
            raise InputError(f"--{name}: poses are not looked for where --cameras gives them; leave it out")
