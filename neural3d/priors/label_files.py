"""The user's labels: a CSV file of two columns, an image or a folder of images and what it shows."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from neural3d.errors import InputError

_MAX_BYTES = 10_000_000
_SHOWN = 200
"""Characters of a name that is not there."""


def read_labels(file: Path, root: Path, paths: Sequence[Path]) -> list[str]:
    """The label of each image under `root`: the file's line for it, or for the nearest folder around it; `.` is all.

    Raises: InputError for a file that cannot be read, a line without two columns, a path that is not there, and an
        image that no line speaks of.
    """
    known = {PurePosixPath(path.relative_to(root).as_posix()) for path in paths}
    known |= {parent for path in known for parent in path.parents}
    labels: dict[PurePosixPath, str] = {}
    for number, row in enumerate(_rows(file), 1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != 2 or not row[1].strip():
            raise InputError(f"{file}: line {number}: expected an image or a folder, a comma and its label")
        path = PurePosixPath(row[0].strip().replace("\\", "/"))
        if path not in known:
            called = f"{root} holds no image and no folder of images called {str(path)[:_SHOWN]}"
            raise InputError(f"{file}: line {number}: {called}")
        labels[path] = row[1].strip()
    return [_label(file, labels, PurePosixPath(path.relative_to(root).as_posix())) for path in paths]


def _rows(file: Path) -> list[list[str]]:
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a CSV file with lines like wall.jpg,mossy brick")
    if file.stat().st_size > _MAX_BYTES:
        raise InputError(f"{file}: larger than {_MAX_BYTES} bytes; give CSV lines like wall.jpg,mossy brick")
    try:
        return list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read as UTF-8 CSV ({error}); save it as such") from error


def _label(file: Path, labels: dict[PurePosixPath, str], path: PurePosixPath) -> str:
    for place in (path, *path.parents):
        if place in labels:
            return labels[place]
    raise InputError(f"{file}: no line speaks of {path}; add one, or a line `.,LABEL` for all that have none")
