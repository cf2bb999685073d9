"""The header of a PLY, and its vertices without trust in what it claims."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neural3d.errors import InputError

_MAX_HEADER_BYTES = 65536
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2"},
    **{"uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4"},
    **{"double": "f8", "float64": "f8"},
}


@dataclass(frozen=True)
class PlyHeader:
    """Where the vertices lie and what their columns are called."""

    byte_order: str
    """As numpy writes it; empty for text."""
    count: int
    properties: tuple[tuple[str, str], ...]
    """Name and numpy type without byte order."""
    offset: int
    """Of the first vertex in the file."""
    comments: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        """The columns."""
        return {name for name, _ in self.properties}

    def open_rows(self, path: Path) -> np.ndarray | None:
        """The vertices as a structured array on the file itself; None for text.

        Raises: InputError when the file is shorter than the header claims; no memory is taken before that is known.
        """
        if not self.byte_order:
            return None
        layout = np.dtype([(name, self.byte_order + kind) for name, kind in self.properties])
        needed, available = self.count * layout.itemsize, path.stat().st_size - self.offset
        if needed > available:
            claim = f"{self.count} vertices ({needed / 1e6:.1f} MB)"
            raise InputError(
                f"{path}: the header claims {claim}, the file holds {available / 1e6:.1f} MB; it is damaged"
            )
        if self.count == 0:
            return np.zeros(0, layout)
        return np.memmap(path, dtype=layout, mode="r", offset=self.offset, shape=(self.count,))


def read_header(path: Path) -> PlyHeader:
    """Parse the header.

    Raises: InputError naming the file and the line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        lines = _lines(path, file)
        return _parse(path, lines, file.tell())


def _lines(path: Path, file: BinaryIO) -> list[str]:
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
    byte_order, comments, element, count = None, [], "", 0
    properties: dict[str, list[tuple[str, str]]] = {}
    counts: dict[str, int] = {}
    for line in lines:
        words = line.split()
        match words:
            case ["format", order, "1.0"] if order in _BYTE_ORDERS:
                byte_order = _BYTE_ORDERS[order]
            case ["comment" | "obj_info", *_]:
                comments.append(line.partition(" ")[2].strip())
            case ["element", element, number] if number.isascii() and number.isdigit() and element not in counts:
                counts[element], properties[element] = int(number), []
            case ["property", kind, name] if kind in _TYPES and element:
                properties[element].append((name, _TYPES[kind]))
            case ["property", "list", _, _, name] if element and (element != "vertex" and "vertex" in counts):
                properties[element].append((name, ""))
            case []:
                continue
            case _:
                raise InputError(f"{path}: the PLY header line {line[:80]!r} is not understood")
    if byte_order is None or "vertex" not in counts:
        raise InputError(f"{path}: the PLY header names no {'format' if byte_order is None else 'element vertex'}")
    vertex = properties["vertex"]
    if len({name for name, _ in vertex}) != len(vertex) or not vertex:
        raise InputError(f"{path}: the PLY header names a property of vertex twice, or none")
    for element, count in counts.items():
        if element == "vertex":
            break
        offset += count * sum(int(kind[1:]) for _, kind in properties[element])
    return PlyHeader(byte_order, counts["vertex"], tuple(vertex), offset, tuple(comments))
