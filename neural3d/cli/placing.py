"""world: metres and a true up for a capture."""

from pathlib import Path

from neural3d.capture.georeference.control_points import read_control_points
from neural3d.capture.georeference.place import place_capture
from neural3d.cli.answers import answer
from neural3d.cli.options import World
from neural3d.errors import InputError


def run_world(options: World) -> int:
    """Find the way to metres, keep it, say what it is.

    Raises: InputError.
    """
    require_one_source(options.gps, options.control_points)
    placed = place_capture(options.capture, options.control_points, overwrite=options.overwrite)
    if options.json:
        answer(placed.to_json(), True)
    else:
        print("\n".join([*placed.lines(), f"kept in {placed.path}"]))
    return 0


def require_one_source(gps: bool, control_points: Path | None) -> None:
    """Refuse what cannot be worked on before hours are spent.

    Raises: InputError where both or none are asked for, or the file of control points is damaged.
    """
    if gps == (control_points is not None):
        raise InputError("metres come from one of --gps and --control-points FILE; give one of them")
    if control_points is not None:
        read_control_points(control_points)
