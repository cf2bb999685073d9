"""SOG of PlayCanvas, version 2: a Gaussian is a pixel in each of a few lossless WebP pictures, all in one zip file.

Means are 16 bits an axis over a logarithm, quaternions three components of eight bits, scales and colours bytes that
point into codebooks of 256 values, harmonics 16 bits that point into a palette. Gaussians are sorted along a Morton
curve: pictures of neighbours pack better.

Source: developer.playcanvas.com, The SOG format.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from neural3d.export.codebooks import nearest, palette, scalar_codebook
from neural3d.export.quaternions import SQRT2, largest_last
from neural3d.export.rows import Rows, Written, finite_rows, morton_order
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import atomic_write

META = "meta.json"
MAX_PALETTE = 65536
PALETTE_COLUMNS = 64
"""Entries of the palette in a row of its picture, a pixel a coefficient."""
QUAT_MARK = 252
"""Added to the number of the component that is left out."""
_SMALL_PALETTE = 2048
"""What a palette may have in any case; a model with no more Gaussians keeps its harmonics to a byte each."""
_GAUSSIANS_AN_ENTRY = 8
"""Of the palette, between size and truth; `benchmarks/formats.py` measures both."""


def write_sog(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the capture's own frame and units, sorted by place.

    Raises: StorageError; InputError when none is finite.
    """
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)
    rows = rows.in_order(morton_order(rows))

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            meta = {"version": 2, "asset": {"generator": "neural3d"}, "count": len(rows)}
            meta |= {"model": "antialiased"} if gaussians.antialiased else {}
            meta |= {"means": _means(archive, rows), "scales": _scales(archive, rows), "quats": _quats(archive, rows)}
            meta |= {"sh0": _colors(archive, rows)}
            meta |= {"shN": _harmonics(archive, rows)} if gaussians.sh_degree else {}
            _add(archive, META, json.dumps(meta).encode())

    atomic_write(Path(path), write, estimate_bytes=24 * len(rows))
    return Written(len(rows), num_dropped)


def _means(archive: zipfile.ZipFile, rows: Rows) -> dict:
    """Two pictures, the lower and the upper bytes."""
    means = rows.column(lambda block: block.means_world).numpy()
    low, high = _log_means(means.min(0)), _log_means(means.max(0))
    del means

    def fixed(block: Gaussians) -> Tensor:
        steps = (_log_means(block.means_world.numpy()) - low) / np.where(high > low, high - low, 1) * 65535
        return torch.from_numpy(np.rint(steps).clip(0, 65535).astype("<u2").view(np.uint8).reshape(-1, 3, 2))

    places, names = rows.column(fixed).numpy(), ["means_l.webp", "means_u.webp"]
    for byte, name in enumerate(names):
        _add_picture(archive, name, places[:, :, byte])
    return {"mins": low.tolist(), "maxs": high.tolist(), "files": names}


def _log_means(means: np.ndarray) -> np.ndarray:
    means = means.astype(np.float64)
    return np.sign(means) * np.log1p(np.abs(means))


def _scales(archive: zipfile.ZipFile, rows: Rows) -> dict:
    book = scalar_codebook(rows.column(lambda block: block.log_scales).numpy().reshape(-1))
    _add_picture(archive, "scales.webp", rows.column(lambda block: _numbers(book, block.log_scales)).numpy())
    return {"codebook": book.tolist(), "files": ["scales.webp"]}


def _numbers(book: np.ndarray, values: Tensor) -> UInt8[Tensor, "..."]:
    """Of the entries of a codebook."""
    return torch.from_numpy(nearest(book, values.numpy()).astype(np.uint8))


def _quats(archive: zipfile.ZipFile, rows: Rows) -> dict:
    _add_picture(archive, "quats.webp", rows.column(_pack_quats).numpy())
    return {"files": ["quats.webp"]}


def _pack_quats(block: Gaussians) -> UInt8[Tensor, "N 4"]:
    index, others = largest_last(block)
    packed = np.rint((others / SQRT2 + 0.5) * 255).clip(0, 255)
    return torch.from_numpy(np.concatenate([packed, index[:, None] + QUAT_MARK], axis=1).astype(np.uint8))


def _colors(archive: zipfile.ZipFile, rows: Rows) -> dict:
    """What does not depend on the direction, and the opacity."""
    book = scalar_codebook(rows.column(lambda block: block.sh[:, 0]).numpy().reshape(-1))

    def pack(block: Gaussians) -> UInt8[Tensor, "N 4"]:
        alphas = (torch.sigmoid(block.logit_opacities) * 255).round().to(torch.uint8)
        return torch.cat([_numbers(book, block.sh[:, 0]), alphas[:, None]], dim=1)

    _add_picture(archive, "sh0.webp", rows.column(pack).numpy())
    return {"codebook": book.tolist(), "files": ["sh0.webp"]}


def _harmonics(archive: zipfile.ZipFile, rows: Rows) -> dict:
    """A palette of harmonics, whose values are bytes that point into a codebook, and two bytes that point into it."""
    size = min(MAX_PALETTE, max(_SMALL_PALETTE, len(rows) // _GAUSSIANS_AN_ENTRY))
    entries, labels = palette(lambda index: rows.at(index).sh[:, 1:].flatten(1), len(rows), size)
    order = _by_first_use(labels, len(entries))
    entries, labels = entries[order], torch.argsort(order)[labels]
    book = scalar_codebook(entries.numpy().reshape(-1))
    names = ["shN_centroids.webp", "shN_labels.webp"]
    _add(archive, names[0], _webp(_palette_picture(nearest(book, entries.numpy()).astype(np.uint8))))
    packed = labels.numpy().astype("<u2").view(np.uint8).reshape(-1, 2)
    _add_picture(archive, names[1], np.concatenate([packed, np.zeros((len(labels), 1), np.uint8)], axis=1))
    return {"count": len(entries), "bands": rows.gaussians.sh_degree, "codebook": book.tolist(), "files": names}


def _by_first_use(labels: Int[Tensor, "M"], count: int) -> Int[Tensor, "S"]:
    """Entries in the order in which the Gaussians come: neighbours then have numbers that lie close together."""
    first = torch.full((count,), len(labels)).scatter_reduce(0, labels, torch.arange(len(labels)), "amin")
    return torch.argsort(first, stable=True)


def _palette_picture(entries: UInt8[np.ndarray, "S C"]) -> UInt8[np.ndarray, "H W 3"]:
    pixels = entries.reshape(len(entries), -1, 3)
    filled = np.concatenate([pixels, np.zeros((-len(entries) % PALETTE_COLUMNS, *pixels.shape[1:]), np.uint8)])
    return filled.reshape(-1, PALETTE_COLUMNS * pixels.shape[1], 3)


def _add_picture(archive: zipfile.ZipFile, name: str, pixels: UInt8[np.ndarray, "M C"]) -> None:
    """A nearly square picture of one pixel a Gaussian."""
    width = -(-int(np.ceil(np.sqrt(len(pixels)))) // 4) * 4
    height = -(-len(pixels) // width)
    filled = np.concatenate([pixels, np.zeros((width * height - len(pixels), pixels.shape[1]), np.uint8)])
    _add(archive, name, _webp(filled.reshape(height, width, -1)))


def _webp(pixels: UInt8[np.ndarray, "H W C"]) -> bytes:
    """Every byte kept, also under transparent pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, exact=True, quality=100, method=4)
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """With the same date always: the same model gives the same bytes."""
    archive.writestr(zipfile.ZipInfo(name), content)
