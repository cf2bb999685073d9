"""The vertices of PLY files, points and splats alike, without trust in what the header claims."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Real, UInt8

from neural3d.errors import InputError

_MAX_HEADER_BYTES = 65536
_MAX_LINE_BYTES = 65536
_MAX_DIGITS = 400
"""Of a count; Python itself refuses to read numbers of thousands."""
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2"},
    **{"uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class PlyElement:
    """One table of the file."""

    name: str
    count: int
    properties: tuple[tuple[str, str], ...]
    """Name and numpy type without byte order."""
    offset: int
    """Of the first row in the file."""

    @property
    def row_bytes(self) -> int:
        """Of a binary row."""
        return sum(int(kind[1:]) for _, kind in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """Where the tables lie and what their columns are called."""

    byte_order: str
    """As numpy writes it; empty for text."""
    elements: tuple[PlyElement, ...]
    """In the file's order, up to the first with a list, behind which no place is known."""
    comments: tuple[str, ...]

    def element(self, name: str) -> PlyElement | None:
        """The table of that name."""
        return next((element for element in self.elements if element.name == name), None)

    @property
    def vertex(self) -> PlyElement:
        """The vertices, which every file must have: each property once, at least one."""
        found = self.element("vertex")
        assert found is not None, "read_header lets no file through without"
        return found

    @property
    def count(self) -> int:
        """How many vertices."""
        return self.vertex.count

    @property
    def names(self) -> set[str]:
        """The columns."""
        return {name for name, _ in self.vertex.properties}

    @property
    def kinds(self) -> dict[str, str]:
        """The columns' numpy types."""
        return dict(self.vertex.properties)


def read_header(path: Path) -> PlyHeader:
    """Parse the header.

    Raises: InputError naming the file and the line.
    Limits: lists among the vertices or before them, and in text files anything before them, are refused.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            lines = _header_lines(path, file)
            return _parse(path, lines, file.tell())
    except OSError as error:
        raise _unreadable(path, error) from error


def read_vertices(path: Path, header: PlyHeader) -> np.ndarray:
    """The vertices as a structured array: binary ones on the file itself, those in text as float64.

    Raises: InputError when the file is shorter than the header claims, which is known before memory is taken, or when
        text holds what is no number.
    """
    try:
        require_rows(path, header, header.vertex)
        if header.byte_order == "":
            return _read_text(path, header.vertex)
        layout = _layout(header, header.vertex)
        if header.count == 0:
            return np.zeros(0, layout)
        return np.memmap(path, dtype=layout, mode="r", offset=header.vertex.offset, shape=(header.count,))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_rows(path: Path, header: PlyHeader, element: PlyElement, start: int, stop: int) -> np.ndarray:
    """Some rows of a binary table, read into memory of their own: a mapped file would count as this program's.

    Raises: InputError when the file ends before them.
    """
    layout = _layout(header, element)
    try:
        rows = np.fromfile(path, layout, count=stop - start, offset=element.offset + start * layout.itemsize)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(rows) != stop - start:
        raise InputError(f"{path}: the file ends within its {element.name} table; it is cut off, copy it again")
    return rows


def require_rows(path: Path, header: PlyHeader, element: PlyElement) -> None:
    """Compare what a table claims with the size of the file.

    Raises: InputError.
    """
    available = max(0, path.stat().st_size - element.offset)
    if header.byte_order:
        row_bytes = max(1, element.row_bytes)
    else:
        # A digit and what parts it from the next; the last line may lack its line feed.
        row_bytes, available = 2 * len(element.properties), available + 1
    if element.count > available // row_bytes:
        what = "vertices" if element.name == "vertex" else f"rows of {element.name}"
        raise InputError(
            f"{path}: its header claims {element.count} {what}, the file holds at most {available // row_bytes}; "
            "it is cut off or damaged, write the file again"
        )


def _layout(header: PlyHeader, element: PlyElement) -> np.dtype:
    return np.dtype([(name, header.byte_order + kind) for name, kind in element.properties])


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); change its permissions or copy it again")


def _header_lines(path: Path, file: BinaryIO) -> list[str]:
    if file.readline(16).strip() != b"ply":
        raise InputError(f"{path}: not a PLY file; its first line must be 'ply'")
    lines: list[str] = []
    while (line := file.readline(_MAX_HEADER_BYTES)) and file.tell() <= _MAX_HEADER_BYTES:
        text = line.decode("utf-8", errors="replace").strip()
        if text == "end_header":
            return lines
        lines.append(text)
    raise InputError(f"{path}: the PLY header has no end; the file is damaged")


def _parse(path: Path, lines: list[str], offset: int) -> PlyHeader:
    """Go through the header; elements before the vertices only shift where these begin."""
    byte_order, comments, element = None, [], ""
    properties: dict[str, list[tuple[str, str]]] = {}
    counts: dict[str, int] = {}
    for line in lines:
        match line.split():
            case ["format", order, "1.0"] if order in _BYTE_ORDERS:
                byte_order = _BYTE_ORDERS[order]
            case ["comment" | "obj_info", *_]:
                comments.append(line.partition(" ")[2].strip())
            case ["element", element, number] if _is_count(number) and element not in counts:
                counts[element], properties[element] = int(number), []
            case ["property", kind, name] if kind in _TYPES and element:
                properties[element].append((name, _TYPES[kind]))
            case ["property", "list", _, _, name] if element and (element != "vertex" and "vertex" in counts):
                properties[element].append((name, ""))
            case []:
                continue
            case _:
                raise InputError(f"{path}: the PLY header line {_shown(line)} is not understood; write the file again")
    if byte_order is None or "vertex" not in counts:
        missing = "format" if byte_order is None else "element vertex"
        raise InputError(f"{path}: the PLY header names no {missing}; write the file again")
    vertex = properties["vertex"]
    twice = next((name for name, found in properties.items() if len(dict(found)) != len(found)), None)
    if twice is not None or not vertex:
        of = (twice or "vertex")[:80]
        raise InputError(f"{path}: the PLY header names a property of {of} twice, or none; write the file again")
    before = list(counts)[: list(counts).index("vertex")]
    if byte_order == "" and before:
        raise InputError(f"{path}: {before[0][:80]} comes before the vertices; write the file again as binary")
    return PlyHeader(byte_order, _placed(counts, properties, offset), tuple(comments))


def colored_vertices(names: Sequence[str], values: Real[np.ndarray, "P K"], rgb: UInt8[np.ndarray, "P 3"]) -> bytes:
    """A binary PLY of vertices: a float for each name, then their colours in bytes."""
    kinds = [(name, "<f4") for name in names] + [(name, "u1") for name in _COLORS]
    table = np.empty(len(values), dtype=kinds)
    for column, name in enumerate(names):
        table[name] = values[:, column]
    for column, name in enumerate(_COLORS):
        table[name] = rgb[:, column]
    lines = "".join(f"property {'uchar' if kind == 'u1' else 'float'} {name}\n" for name, kind in kinds)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{lines}end_header\n"
    return header.encode() + table.tobytes()


def _placed(
    counts: dict[str, int], properties: dict[str, list[tuple[str, str]]], offset: int
) -> tuple[PlyElement, ...]:
    """The tables that lie at known places."""
    elements = []
    for name, count in counts.items():
        if any(not kind for _, kind in properties[name]):
            break
        element = PlyElement(name, count, tuple(properties[name]), offset)
        elements.append(element)
        offset += count * element.row_bytes
    return tuple(elements)


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")


def _read_text(path: Path, vertex: PlyElement) -> np.ndarray:
    table = np.zeros(vertex.count, [(name, "f8") for name, _ in vertex.properties])
    with path.open("rb") as file:
        file.seek(vertex.offset)
        for row in range(vertex.count):
            words = file.readline(_MAX_LINE_BYTES).split()
            if len(words) != len(vertex.properties):
                raise InputError(f"{path}: vertex {row} is not complete; write the file again")
            try:
                table[row] = tuple(map(float, words))
            except ValueError as error:
                raise InputError(f"{path}: vertex {row}: {error}; write the file again") from error
    return table
