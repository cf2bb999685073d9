"""glTF 2.0 with KHR_gaussian_splatting, binary: one array of float32 an attribute, nothing quantised.

Scales and opacities are linear, quaternions xyzw and of unit length, harmonics in the layout of the INRIA files.
Viewers without the extension show points in the colour that does not depend on the direction.

Source: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting (release candidate of 2026).
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.rows import Rows, Written, finite_rows, unit_quats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import SH_C0, Gaussians
from neural3d.storage import atomic_write

EXTENSION = "KHR_gaussian_splatting"
MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
HEADER, CHUNK_HEADER = struct.Struct("<III"), struct.Struct("<II")
FLOAT, UNSIGNED_SHORT = 5126, 5123
_POINTS, _VERTICES = 0, 34962
_MAX_BYTES = 2**32 - 1
"""The header holds the size in 32 bits."""


@dataclass(frozen=True)
class _Attribute:
    """An array of the file and how a block of it is made."""

    name: str
    kind: str
    """SCALAR, VEC3 or VEC4."""
    encode: Callable[[Gaussians], np.ndarray]
    component: int = FLOAT

    @property
    def row_bytes(self) -> int:
        return {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[self.kind] * (4 if self.component == FLOAT else 2)


def write_glb(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the frame that `capture_from_scene` leads to.

    glTF is y-up: give a similarity that leads there where viewers shall show the scene upright.

    Raises: StorageError; InputError when none is finite, or when there are too many for the format's 4 GiB.
    """
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)
    attributes = _attributes(gaussians.sh_degree)
    content = _json(rows, attributes)
    binary_bytes = sum(a.row_bytes for a in attributes) * len(rows)
    begin = HEADER.size + 2 * CHUNK_HEADER.size + len(content)
    if begin + binary_bytes > _MAX_BYTES:
        raise InputError(f"{path}: {len(rows)} Gaussians take more than the 4 GiB of a GLB; use --max-splats, or usd")

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(HEADER.pack(MAGIC, 2, begin + binary_bytes))
            file.write(CHUNK_HEADER.pack(len(content), JSON_CHUNK) + content)
            file.write(CHUNK_HEADER.pack(binary_bytes, BINARY_CHUNK))
            for start, block in rows.blocks():
                for attribute, offset in zip(attributes, _offsets(rows, attributes), strict=True):
                    file.seek(begin + offset + attribute.row_bytes * start)
                    file.write(attribute.encode(block).tobytes())

    atomic_write(Path(path), write, estimate_bytes=begin + binary_bytes)
    return Written(len(rows), num_dropped)


def harmonic_names(sh_degree: int) -> list[str]:
    """Attributes of the coefficients, in their order."""
    return [f"{EXTENSION}:SH_DEGREE_{d}_COEF_{n}" for d in range(sh_degree + 1) for n in range(2 * d + 1)]


def _attributes(sh_degree: int) -> list[_Attribute]:
    def harmonic(number: int) -> Callable[[Gaussians], np.ndarray]:
        return lambda block: _floats(block.sh[:, number])

    return [
        _Attribute("POSITION", "VEC3", lambda block: _floats(block.means_world)),
        _Attribute("COLOR_0", "VEC4", _point_colors, UNSIGNED_SHORT),
        _Attribute(f"{EXTENSION}:ROTATION", "VEC4", lambda block: _floats(unit_quats(block)[:, [1, 2, 3, 0]])),
        _Attribute(f"{EXTENSION}:SCALE", "VEC3", lambda block: _floats(block.log_scales.exp())),
        _Attribute(f"{EXTENSION}:OPACITY", "SCALAR", lambda block: _floats(torch.sigmoid(block.logit_opacities))),
        *(_Attribute(name, "VEC3", harmonic(number)) for number, name in enumerate(harmonic_names(sh_degree))),
    ]


def _floats(values: Float[Tensor, "..."]) -> np.ndarray:
    return values.numpy().astype("<f4")


def _point_colors(block: Gaussians) -> np.ndarray:
    """Linear, as glTF wants the colours of points, with the opacity."""
    display = (0.5 + SH_C0 * block.sh[:, 0]).clamp(0, 1)
    linear = torch.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)
    rgba = torch.cat([linear, torch.sigmoid(block.logit_opacities)[:, None]], dim=1)
    return (rgba * 65535).round().numpy().astype("<u2")


def _offsets(rows: Rows, attributes: list[_Attribute]) -> list[int]:
    return [sum(a.row_bytes for a in attributes[:i]) * len(rows) for i in range(len(attributes))]


def _json(rows: Rows, attributes: list[_Attribute]) -> bytes:
    """The description, filled with spaces to a multiple of four."""
    size = {"buffer": 0, "target": _VERTICES}
    views = [
        size | {"byteOffset": offset, "byteLength": a.row_bytes * len(rows)}
        for a, offset in zip(attributes, _offsets(rows, attributes), strict=True)
    ]
    primitive = {
        "mode": _POINTS,
        "attributes": {a.name: i for i, a in enumerate(attributes)},
        "extensions": {EXTENSION: _kernel()},
        **({"extras": {"antialiased": True}} if rows.gaussians.antialiased else {}),
    }
    content = {
        "asset": {"version": "2.0", "generator": "neural3d"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "splats"}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [_accessor(i, a, rows) for i, a in enumerate(attributes)],
        "bufferViews": views,
        "buffers": [{"byteLength": sum(view["byteLength"] for view in views)}],
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 4)


def _kernel() -> dict[str, str]:
    """What the specification calls the way of the INRIA code, for colours in display sRGB."""
    colors = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    return colors | {"projection": "perspective", "sortingMethod": "cameraDistance"}


def _accessor(number: int, attribute: _Attribute, rows: Rows) -> dict:
    accessor = {"bufferView": number, "componentType": attribute.component, "count": len(rows), "type": attribute.kind}
    if attribute.component == UNSIGNED_SHORT:
        accessor["normalized"] = True
    if attribute.name == "POSITION":
        means = rows.column(lambda block: block.means_world)
        accessor |= {"min": means.amin(0).tolist(), "max": means.amax(0).tolist()}
    return accessor
