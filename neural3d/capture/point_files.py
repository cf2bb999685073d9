"""Point clouds in PLY files, ASCII or binary: positions and colours."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neural3d.capture.listing import PointCloud
from neural3d.errors import InputError

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_MAX_HEADER_BYTES = 64 * 1024
_GREY = 128


@dataclass(frozen=True)
class _Header:
    order: str
    count: int
    properties: tuple[tuple[str, str], ...]
    """Name and numpy type of each."""


def read_points_ply(path: Path) -> PointCloud:
    """Read `x y z` and, where they are, `red green blue` (bytes, or floats in 0..1); points without colour are grey.

    Raises: InputError for what is no PLY, for lists among the vertices, and, before memory is taken, for a header that
    claims more vertices than the file can hold.
    Limits: elements that come before the vertices are not skipped over but refused.
    """
    try:
        with path.open("rb") as file:
            header = _read_header(path, file)
            _require_size(path, header, path.stat().st_size - file.tell())
            columns = _read_ascii(path, file, header) if header.order == "" else _read_binary(path, file, header)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return _points(columns, dict(header.properties))


def _read_header(path: Path, file: BinaryIO) -> _Header:
    lines = []
    while not lines or lines[-1] != "end_header":
        line = file.readline(1024)
        if not line or file.tell() > _MAX_HEADER_BYTES or (not lines and line.strip() != b"ply"):
            raise InputError(f"{path}: has no PLY header; write the points again")
        lines.append(line.decode("ascii", errors="replace").strip())
    try:
        return _parse_header(lines)
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path}: broken PLY header ({error}); write the points again") from error


def _parse_header(lines: list[str]) -> _Header:
    order, count, properties, element = None, None, [], None
    for words in (line.split() for line in lines[1:-1]):
        match words:
            case ["format", name, _]:
                order = _ORDERS[name]
            case ["element", "vertex", number]:
                element, count = "vertex", int(number)
            case ["element", name, *_]:
                if count is None:
                    raise ValueError(f"element {name} comes before the vertices")
                element = name
            case ["property", "list", *_] if element == "vertex":
                raise ValueError("vertices with lists")
            case ["property", kind, name] if element == "vertex":
                properties.append((name, _TYPES[kind]))
    if order is None or count is None or count < 0:
        raise ValueError("no format or no number of vertices")
    if missing := {"x", "y", "z"} - {name for name, _ in properties}:
        raise ValueError(f"vertices without {', '.join(sorted(missing))}")
    return _Header(order, count, tuple(properties))


def _require_size(path: Path, header: _Header, available: int) -> None:
    if header.order:
        row_bytes = sum(int(kind[1]) for _, kind in header.properties)
    else:
        row_bytes = 2 * len(header.properties)
    # The last line of an ASCII file may lack its line feed.
    possible = (available + 1) // max(row_bytes, 1)
    if header.count > possible:
        raise InputError(
            f"{path}: its header claims {header.count} vertices, the file holds at most {possible}; "
            "it is cut off or damaged, write the points again"
        )


def _read_binary(path: Path, file: BinaryIO, header: _Header) -> dict[str, np.ndarray]:
    try:
        layout = np.dtype([(name, header.order + kind) for name, kind in header.properties])
    except ValueError as error:
        raise InputError(f"{path}: broken PLY header ({error}); write the points again") from error
    content = file.read(header.count * layout.itemsize)
    if len(content) < header.count * layout.itemsize:
        raise InputError(f"{path}: ends early; write the points again")
    table = np.frombuffer(content, dtype=layout)
    return {name: table[name] for name, _ in header.properties}


def _read_ascii(path: Path, file: BinaryIO, header: _Header) -> dict[str, np.ndarray]:
    rows = []
    for _ in range(header.count):
        try:
            rows.append([float(word) for word in file.readline(65536).split()])
        except ValueError as error:
            raise InputError(f"{path}: vertex {len(rows)}: {error}; write the points again") from error
        if len(rows[-1]) != len(header.properties):
            raise InputError(f"{path}: vertex {len(rows) - 1} is not complete; write the points again")
    table = np.array(rows, dtype=np.float64).reshape(header.count, len(header.properties))
    return {name: table[:, at] for at, (name, _) in enumerate(header.properties)}


def _points(columns: dict[str, np.ndarray], kinds: dict[str, str]) -> PointCloud:
    xyz = np.stack([columns[name].astype(np.float64) for name in "xyz"], axis=1)
    names = ("red", "green", "blue")
    if not set(names) <= set(columns):
        return PointCloud(xyz, np.full(xyz.shape, _GREY, dtype=np.uint8))
    rgb = np.nan_to_num(np.stack([columns[name].astype(np.float64) for name in names], axis=1))
    if kinds["red"].startswith("f"):
        rgb = rgb * 255 + 0.5
    return PointCloud(xyz, rgb.clip(0, 255).astype(np.uint8))
