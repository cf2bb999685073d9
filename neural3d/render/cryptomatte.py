"""Cryptomatte: which objects a pixel shows and how much of it each covers, so that compositors can pick them by name.

Source: Friedman and Jones, Fully automatic ID mattes with support for motion blur and transparency, SIGGRAPH 2015;
Psyop's Cryptomatte specification 1.2.0.
"""

import json
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float32

from neural3d.errors import InputError

LAYER = "CryptoObject"
_RANKS = 6
"""Objects a pixel at most; of more, those that cover least are left out."""
_CHANNELS = "RGBA"


def require_mmh3(path: Path) -> ModuleType:
    """The library.

    Raises: InputError with the remedy where it is missing.
    """
    try:
        import mmh3
    except ImportError as error:
        raise InputError(f"{path}: object ids need mmh3: pip install mmh3") from error
    return mmh3


def object_id(name: str) -> int:
    """The 32 bits that stand for a name: its hash, changed where as a float it would be no number, or denormal."""
    import mmh3

    bits = mmh3.hash(name.encode(), 0, signed=False)
    return bits ^ (1 << 23) if (bits >> 23) & 0xFF in (0, 0xFF) else bits


def float_of(bits: int) -> float:
    """The float that has these bits."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def layer_key(layer: str) -> str:
    """What a layer's attributes begin with: seven hexadecimal digits of its name's hash, as headers are short."""
    import mmh3

    return f"cryptomatte/{f'{mmh3.hash(layer.encode(), 0, signed=False):08x}'[:7]}"


def cryptomatte_header(names: tuple[str, ...]) -> dict[str, str]:
    """Attributes that say what the layer is, and the manifest: each name's id in hexadecimal.

    Raises: InputError where two names have one id.
    """
    ids = {name: object_id(name) for name in names}
    if len(set(ids.values())) < len(ids):
        raise InputError(f"objects {', '.join(names)}: two of them have one id; rename one")
    key = layer_key(LAYER)
    manifest = {name: f"{bits:08x}" for name, bits in ids.items()}
    return {
        f"{key}/name": LAYER,
        f"{key}/hash": "MurmurHash3_32",
        f"{key}/conversion": "uint32_to_float32",
        f"{key}/manifest": json.dumps(manifest, ensure_ascii=False, separators=(",", ":")),
    }


def cryptomatte_parts(
    coverages: Float32[np.ndarray, "D H W"], names: tuple[str, ...]
) -> dict[str, dict[str, Float32[np.ndarray, "H W"]]]:
    """By part and channel: pairs of an id and how much of the pixel it covers, the largest first; 0 where none is."""
    count = min(_RANKS, len(names))
    order = np.argsort(-coverages, axis=0, kind="stable")[:count]
    values = np.take_along_axis(coverages, order, axis=0)
    ids = np.array([float_of(object_id(name)) for name in names], np.float32)[order]
    pairs = [plane for rank in zip(np.where(values > 0, ids, 0), values, strict=True) for plane in rank]
    pairs += [np.zeros_like(coverages[0])] * (len(pairs) % 4)
    return {
        f"{LAYER}{level:02d}": {
            f"{LAYER}{level:02d}.{channel}": pairs[4 * level + i].astype(np.float32)
            for i, channel in enumerate(_CHANNELS)
        }
        for level in range(len(pairs) // 4)
    }
