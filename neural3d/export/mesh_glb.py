"""A mesh as glTF 2.0, binary: places in float32, colours at the vertices as linear light in 16 bits."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from neural3d.errors import InputError
from neural3d.export.glb import BINARY_CHUNK, CHUNK_HEADER, FLOAT, HEADER, JSON_CHUNK, MAGIC, UNSIGNED_SHORT
from neural3d.srgb import decode_srgb
from neural3d.storage import atomic_write
from neural3d.surface.mesh import Mesh

_UNSIGNED_INT = 5125
_VERTICES, _INDICES = 34962, 34963
_MAX_BYTES = 2**32 - 1
"""The header holds the size in 32 bits."""
_MATT = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
"""Without it glTF's material is a metal, which shows no colour of its own."""


def write_mesh_glb(path: Path, mesh: Mesh) -> None:
    """Write a mesh as it lies.

    Colours are light, as glTF has them; eight bits of that would show steps in the dark.

    Raises: StorageError; InputError where there is more than the format's 4 GiB.
    """
    arrays = [mesh.vertices.numpy().astype("<f4"), _light(mesh), mesh.triangles.reshape(-1).numpy().astype("<u4")]
    content = _json(arrays)
    num_bytes = sum(array.nbytes for array in arrays)
    size = HEADER.size + 2 * CHUNK_HEADER.size + len(content) + num_bytes
    if size > _MAX_BYTES:
        raise InputError(f"{path}: {len(mesh)} triangles take more than the 4 GiB of a GLB; use --triangles, or .ply")

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(HEADER.pack(MAGIC, 2, size))
            file.write(CHUNK_HEADER.pack(len(content), JSON_CHUNK) + content)
            file.write(CHUNK_HEADER.pack(num_bytes, BINARY_CHUNK))
            for array in arrays:
                file.write(array.tobytes())

    atomic_write(path, write, estimate_bytes=size)


def _light(mesh: Mesh) -> np.ndarray:
    """Four a vertex: glTF wants each vertex's to begin at a multiple of four bytes."""
    light = np.full((len(mesh.vertices), 4), 65535, dtype="<u2")
    light[:, :3] = (decode_srgb(mesh.colors.clamp(0, 1)) * 65535).round().numpy()
    return light


def _json(arrays: list[np.ndarray]) -> bytes:
    """The description, filled with spaces to a multiple of four."""
    places, light, corners = arrays
    accessors: list[dict[str, Any]] = [
        {"componentType": FLOAT, "count": len(places), "type": "VEC3"}
        | {"min": places.min(0).tolist(), "max": places.max(0).tolist()},
        {"componentType": UNSIGNED_SHORT, "normalized": True, "count": len(light), "type": "VEC4"},
        {"componentType": _UNSIGNED_INT, "count": len(corners), "type": "SCALAR"},
    ]
    offsets = np.cumsum([0, *(array.nbytes for array in arrays)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target}
        for offset, array, target in zip(offsets, arrays, (_VERTICES, _VERTICES, _INDICES))
    ]
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2, "material": 0}
    content = {
        "asset": {"version": "2.0", "generator": "neural3d"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "mesh"}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [_MATT],
        "accessors": [{"bufferView": number, **accessor} for number, accessor in enumerate(accessors)],
        "bufferViews": views,
        "buffers": [{"byteLength": offsets[-1]}],
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 4)
