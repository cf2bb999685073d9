"""The formats of splat files: by name, by suffix, by what a file begins with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neural3d.errors import InputError
from neural3d.export.compressed_ply import is_compressed, read_compressed_ply, write_compressed_ply
from neural3d.export.glb import write_glb
from neural3d.export.gltf_reader import read_gltf
from neural3d.export.html import write_html
from neural3d.export.ply import read_ply, write_ply
from neural3d.export.rows import Written
from neural3d.export.sog import META, write_sog
from neural3d.export.sog_reader import read_sog
from neural3d.export.splat import read_splat, write_splat
from neural3d.export.spz import write_spz
from neural3d.export.spz_reader import read_spz
from neural3d.export.usd import SUFFIXES as USD_SUFFIXES
from neural3d.export.usd import read_usd, usd_axis_and_unit, write_usd
from neural3d.ply_vertices import read_header
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians


@dataclass(frozen=True)
class SplatFormat:
    """One format."""

    name: str
    suffixes: tuple[str, ...]
    """Of which a file has one; the longest that fits decides."""
    write: Callable[..., Written]


FORMATS = {
    entry.name: entry
    for entry in (
        SplatFormat("ply", (".ply",), write_ply),
        SplatFormat("compressed-ply", (".compressed.ply", ".ply"), write_compressed_ply),
        SplatFormat("splat", (".splat",), write_splat),
        SplatFormat("spz", (".spz",), write_spz),
        SplatFormat("sog", (".sog",), write_sog),
        SplatFormat("glb", (".glb",), write_glb),
        SplatFormat("usd", USD_SUFFIXES, write_usd),
        SplatFormat("html", (".html", ".htm"), write_html),
    )
}
_MARKS: tuple[tuple[bytes, Callable[[Path], Gaussians]], ...] = (
    (b"\x1f\x8b", read_spz),
    (b"NGSP", read_spz),
    (b"glTF", read_gltf),
    (b"PXR-USDC", read_usd),
    (b"#usda", read_usd),
)
_BY_SUFFIX: dict[str, Callable[[Path], Gaussians]] = {
    ".splat": read_splat,
    ".spz": read_spz,
    ".sog": read_sog,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    **dict.fromkeys(USD_SUFFIXES, read_usd),
}


def format_of(path: str | Path, name: str | None = None) -> SplatFormat:
    """The format to write a file in: the one that is named, else by its suffix.

    Raises: InputError when the suffix is none of the format's, or of any.
    """
    path = Path(path)
    candidates = [FORMATS[name]] if name else list(FORMATS.values())
    fits = [(len(s), entry) for entry in candidates for s in entry.suffixes if path.name.lower().endswith(s)]
    if not fits or path.is_dir():
        suffixes = list(dict.fromkeys(s for entry in candidates for s in entry.suffixes))
        raise InputError(f"--output {path}: expected a file that ends in {', '.join(suffixes)}")
    longest = max(length for length, _ in fits)
    return next(entry for length, entry in fits if length == longest)


def write_splats(
    path: str | Path, gaussians: Gaussians, *, capture_from_scene: Similarity, format: str | None = None, **options: Any
) -> Written:
    """Write Gaussians in a format that is named, or that the suffix says; options are those of its own writer.

    Raises: InputError; StorageError.
    """
    return format_of(path, format).write(path, gaussians, capture_from_scene=capture_from_scene, **options)


def read_splats(path: str | Path) -> Gaussians:
    """Read Gaussians from a file of any of the formats, in the file's own axes; what it is shows in how it begins.

    Raises: InputError naming the file and what is wrong with it.
    """
    path = Path(path)
    return _reader(path)(path)


@dataclass(frozen=True)
class FileSpace:
    """What a file of splats says of its axes and units, or what files of its kind mean."""

    up_world: tuple[float, float, float]
    metres_per_unit: float = 1.0
    """1 where nobody says, as formats in metres have it."""


def space_of_file(path: str | Path) -> FileSpace:
    """Of a file that `read_splats` reads.

    USD says what is up, glTF has +y there; else it is -y, as cameras that look along +z see it.

    Raises: InputError naming the file.
    """
    path = Path(path)
    read = _reader(path)
    if read is read_usd:
        axis, metres_per_unit = usd_axis_and_unit(path)
        return FileSpace((0.0, 1.0, 0.0) if axis == "Y" else (0.0, 0.0, 1.0), metres_per_unit)
    return FileSpace((0.0, 1.0 if read is read_gltf else -1.0, 0.0))


def _reader(path: Path) -> Callable[[Path], Gaussians]:
    """By what the file begins with, else by its suffix.

    Raises: InputError.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); change its permissions or copy it again"
        ) from error
    if start[:3] == b"ply":
        return read_compressed_ply if is_compressed(read_header(path)) else read_ply
    marked = [read for mark, read in _MARKS if start.startswith(mark)]
    by_suffix = read_sog if path.name.lower() == META else _BY_SUFFIX.get(path.suffix.lower())
    if not marked and by_suffix is None:
        known = ", ".join(sorted({".ply", *_BY_SUFFIX}))
        raise InputError(f"{path}: not a PLY, nor any other splat file that this program knows ({known})")
    return marked[0] if marked else by_suffix
