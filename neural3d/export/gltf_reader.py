"""Splats of glTF files with KHR_gaussian_splatting, .glb and .gltf, without trust in what they claim."""

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from neural3d.errors import InputError, said
from neural3d.export.frames import gaussians_in_frame
from neural3d.export.glb import BINARY_CHUNK, CHUNK_HEADER, EXTENSION, HEADER, JSON_CHUNK, MAGIC, harmonic_names
from neural3d.export.rows import BLOCK, assembled, logits
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians, cat_gaussians
from neural3d.storage import safe_join

_MAX_JSON_BYTES = 1 << 28
_MAX_DEPTH = 64
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_SMALLEST_SCALE = 1e-30
"""What a scale of 0 is read as."""


def read_gltf(path: str | Path) -> Gaussians:
    """All splats of the file's scene, its nodes' movements applied, in glTF's y-up world.

    Raises: InputError when there are none, when the file is damaged or claims more than it holds, or when a node shears
        or mirrors, which Gaussians of this form cannot follow.
    Limits: kernel "ellipse" alone; no compression, no sparse accessors, nothing from the network. Colours are taken as
        they are, also those of "lin_rec709_display", which look darker here.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    file = open_gltf(path)
    parts = [_splats(file, primitive, world) for primitive, world in _placed_primitives(file)]
    if not parts:
        raise InputError(f"{path}: no Gaussian splats ({EXTENSION}) in its scene; give a file that holds some")
    degree = min(part.sh_degree for part in parts)
    return cat_gaussians([_with_degree(part, degree) for part in parts])


@dataclass(frozen=True)
class GltfFile:
    """The description and the buffers that are in memory, which views point into."""

    path: Path
    content: dict
    binary: np.ndarray

    def item(self, kind: str, index: object) -> dict:
        """One of the description's lists' entries.

        Raises: InputError where there is none of that number.
        """
        entries = self.content.get(kind)
        good = isinstance(index, int) and isinstance(entries, list) and 0 <= index < len(entries)
        if not good or not isinstance(entries[index], dict):
            raise InputError(f"{self.path}: there is no {kind}[{index}], to which the file points; it is damaged")
        return entries[index]

    def number(self, entry: dict, name: str, default: int | None = None) -> int:
        """A whole number of at least 0."""
        value = entry.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InputError(f"{self.path}: {name} is {value!r}; expected a whole number of at least 0")
        return value


def open_gltf(path: Path) -> GltfFile:
    """The description, with the binary chunk of a .glb.

    Raises: InputError.
    """
    with path.open("rb") as file:
        start = file.read(HEADER.size)
    if start[:4] != MAGIC.to_bytes(4, "little"):
        return _described(path, _limited(path), np.zeros(0, np.uint8))
    _, version, _ = HEADER.unpack(start.ljust(HEADER.size, b"\0"))
    if version != 2:
        raise InputError(f"{path}: GLB version {version}; this program reads version 2")
    chunks, place, end = {}, HEADER.size, path.stat().st_size
    data = np.memmap(path, np.uint8, mode="r")
    while place + CHUNK_HEADER.size <= end:
        size, kind = CHUNK_HEADER.unpack(data[place : place + CHUNK_HEADER.size].tobytes())
        place += CHUNK_HEADER.size
        if size > end - place:
            raise InputError(f"{path}: a chunk claims {size} bytes, {end - place} are left; the file is cut off")
        chunks.setdefault(kind, data[place : place + size])
        place += size
    if JSON_CHUNK not in chunks or len(chunks[JSON_CHUNK]) > _MAX_JSON_BYTES:
        raise InputError(f"{path}: the GLB has no description, or one of absurd size; the file is damaged")
    return _described(path, chunks[JSON_CHUNK].tobytes(), chunks.get(BINARY_CHUNK, np.zeros(0, np.uint8)))


def _limited(path: Path) -> bytes:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise InputError(f"{path}: a .gltf of {path.stat().st_size} bytes; give it as .glb")
    return path.read_bytes()


def _described(path: Path, text: bytes, binary: np.ndarray) -> GltfFile:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is no JSON ({error}); write the file again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: its description is no JSON object; write the file again")
    return GltfFile(path, content, binary)


def _placed_primitives(file: GltfFile) -> list[tuple[dict, Similarity]]:
    """Primitives of splats with the way from their own frame to the world."""
    scene = file.item("scenes", file.content.get("scene", 0))
    found: list[tuple[dict, Similarity]] = []
    waiting = [(index, np.eye(4), 0) for index in list_of(scene.get("nodes"))]
    seen = 0
    while waiting:
        index, parent, depth = waiting.pop()
        seen += 1
        if depth > _MAX_DEPTH or seen > 1_000_000:
            raise InputError(f"{file.path}: its nodes are nested without end; the file is damaged")
        node = file.item("nodes", index)
        world = parent @ node_matrix(file, node)
        waiting += [(child, world, depth + 1) for child in list_of(node.get("children"))]
        if "mesh" in node:
            primitives = list_of(file.item("meshes", node["mesh"]).get("primitives"))
            found += [(p, _similarity(file, world)) for p in primitives if _is_splats(p)]
    return found


def list_of(value: object) -> list:
    """What a file has as a list; an empty one where it is none."""
    return value if isinstance(value, list) else []


def _is_splats(primitive: object) -> bool:
    extensions = primitive.get("extensions") if isinstance(primitive, dict) else None
    return isinstance(extensions, dict) and isinstance(extensions.get(EXTENSION), dict)


def node_matrix(file: GltfFile, node: dict) -> np.ndarray:
    """A node's own movement."""
    try:
        if "matrix" in node:
            return np.array(node["matrix"], np.float64).reshape(4, 4).T
        x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), np.float64)
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = turn * np.array(node.get("scale", [1, 1, 1]), np.float64)
        matrix[:3, 3] = node.get("translation", [0, 0, 0])
        return matrix
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{file.path}: a node's movement makes no sense ({error}); write the file again") from error


def _similarity(file: GltfFile, world: np.ndarray) -> Similarity:
    """World from the primitive.

    Raises: InputError where it is more than a turn, a uniform scale and a shift.
    """
    linear = world[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear))) if np.isfinite(world).all() else 0.0
    if scale <= 0 or np.abs(linear @ linear.T / scale**2 - np.eye(3)).max() > 1e-4:
        raise InputError(f"{file.path}: a node shears, mirrors or flattens its splats; apply it in a modeller first")
    return Similarity(scale, torch.from_numpy(linear / scale), torch.from_numpy(world[:3, 3].copy()))


def _splats(file: GltfFile, primitive: dict, world_from_mesh: Similarity) -> Gaussians:
    kernel = primitive["extensions"][EXTENSION]
    if kernel.get("kernel") != "ellipse":
        raise InputError(f"{file.path}: splats of kernel {kernel.get('kernel')!r}; this program knows 'ellipse' alone")
    if kernel.get("extensions"):
        names = ", ".join(map(str, kernel["extensions"]))
        raise InputError(f"{file.path}: its splats need {names[:200]}, which this program does not know")
    names = primitive.get("attributes")
    if not isinstance(names, dict):
        raise InputError(f"{file.path}: a primitive without attributes; write the file again")
    missing = [n for n in _required() if n not in names]
    if missing:
        raise InputError(f"{file.path}: splats without {missing[0]}; write the file again")
    degree = max(d for d in range(4) if all(name in names for name in harmonic_names(d)))
    columns = {name: accessor_column(file, names[name]) for name in [*_required(), *harmonic_names(degree)]}
    count = len(columns["POSITION"])
    if any(len(column) != count for column in columns.values()):
        raise InputError(f"{file.path}: the attributes of a primitive differ in their number; write the file again")

    as_logarithms = _scales_are_logarithms(columns[f"{EXTENSION}:SCALE"])

    def decode(start: int, stop: int) -> Gaussians:
        return gaussians_in_frame(_block(columns, degree, as_logarithms, start, stop), world_from_mesh)

    extras = primitive.get("extras")
    antialiased = isinstance(extras, dict) and extras.get("antialiased") is True
    return assembled(file.path, count, degree, antialiased, decode)


def _required() -> list[str]:
    return ["POSITION", *(f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY")), *harmonic_names(0)]


def _scales_are_logarithms(scales: "Column") -> bool:
    """Drafts of the extension before 2026 kept them so; a negative one can be nothing else."""
    return any(scales.values(start, start + BLOCK).min(initial=0) < 0 for start in range(0, len(scales), BLOCK))


def _block(columns: dict[str, "Column"], degree: int, as_logarithms: bool, start: int, stop: int) -> Gaussians:
    def values(name: str) -> torch.Tensor:
        return torch.from_numpy(columns[name].values(start, stop))

    scales = values(f"{EXTENSION}:SCALE")
    return Gaussians(
        means_world=values("POSITION"),
        log_scales=scales if as_logarithms else scales.clamp(min=_SMALLEST_SCALE).log(),
        quats_wxyz=values(f"{EXTENSION}:ROTATION")[:, [3, 0, 1, 2]],
        logit_opacities=logits(values(f"{EXTENSION}:OPACITY")[:, 0]),
        sh=torch.stack([values(name) for name in harmonic_names(degree)], dim=1),
    )


@dataclass(frozen=True)
class Column:
    """The raw values of an accessor, on the file."""

    raw: np.ndarray
    normalized: bool

    def __len__(self) -> int:
        return len(self.raw)

    def values(self, start: int, stop: int) -> np.ndarray:
        """As float32; normalised integers over -1 to 1 or 0 to 1."""
        raw = self.raw[start:stop]
        values = raw.astype(np.float32)
        return np.clip(values / np.iinfo(raw.dtype).max, -1, None) if self.normalized else values


def accessor_column(file: GltfFile, index: object) -> Column:
    """The values that an accessor points to, which lie within their buffer."""
    accessor = file.item("accessors", index)
    kind, component = accessor.get("type"), accessor.get("componentType")
    if not isinstance(kind, str) or not isinstance(component, int):
        raise InputError(f"{file.path}: accessors[{index}] is damaged; write the file again")
    if kind not in _WIDTHS or component not in _TYPES or "sparse" in accessor or "bufferView" not in accessor:
        raise InputError(f"{file.path}: accessors[{index}] ({kind}, {component}) is of a form that splats do not have")
    view = file.item("bufferViews", accessor["bufferView"])
    buffer = _buffer(file, view)
    dtype, width, count = np.dtype(_TYPES[component]), _WIDTHS[kind], file.number(accessor, "count")
    row_bytes = dtype.itemsize * width
    stride = file.number(view, "byteStride", row_bytes) or row_bytes
    begin = file.number(view, "byteOffset", 0) + file.number(accessor, "byteOffset", 0)
    if stride < row_bytes or begin + stride * max(count - 1, 0) + row_bytes * (count > 0) > len(buffer):
        raise InputError(
            f"{file.path}: accessors[{index}] claims {count} values beyond its buffer; the file is cut off"
        )
    raw = np.ndarray((count, width), dtype, buffer, begin, (stride, dtype.itemsize))
    return Column(raw, bool(accessor.get("normalized")) and dtype.kind != "f")


def _buffer(file: GltfFile, view: dict) -> np.ndarray:
    buffer = file.item("buffers", view.get("buffer"))
    uri = buffer.get("uri")
    if uri is None:
        return file.binary
    if not isinstance(uri, str):
        raise InputError(f"{file.path}: a buffer's uri is no text; write the file again")
    if uri.startswith("data:"):
        try:
            return np.frombuffer(base64.b64decode(uri.partition(",")[2], validate=True), np.uint8)
        except ValueError as error:  # binascii's own are, too
            raise InputError(f"{file.path}: a buffer's data is damaged ({said(error)}); copy the file again") from error
    if ":" in uri:
        raise InputError(f"{file.path}: a buffer lies at {uri[:80]!r}; this program fetches nothing, store it beside")
    beside = safe_join(file.path.parent, uri)
    if not beside.is_file() or not beside.stat().st_size:
        raise InputError(f"{beside}: the buffer of {file.path.name} is missing or empty; copy it, too")
    return np.memmap(beside, np.uint8, mode="r")


def _with_degree(gaussians: Gaussians, degree: int) -> Gaussians:
    return replace(gaussians, sh=gaussians.sh[:, : (degree + 1) ** 2])
