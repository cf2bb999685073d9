""".splat of antimatter15: 32 bytes a Gaussian, one colour whatever the direction, no header.

Means and scales are float32; colour, opacity and quaternion are bytes. The largest and most opaque come first, so that
a viewer that still loads shows what matters.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.rows import Written, assembled, finite_rows, logits, unit_quats
from neural3d.scene import Similarity
from neural3d.splats.gaussians import SH_C0, Gaussians
from neural3d.storage import atomic_write

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def write_splat(
    path: str | Path,
    gaussians: Gaussians,
    *,
    capture_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
) -> Written:
    """Write Gaussians (those of `indices`, where given) in the capture's own frame and units.

    Raises: StorageError; InputError when none is finite.
    Limits: no view-dependent colour, no mark of antialiasing.
    """
    rows, num_dropped = finite_rows(gaussians, capture_from_scene, indices)
    rows = rows.in_order(torch.argsort(rows.column(_weight), descending=True, stable=True))

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            for _, block in rows.blocks():
                file.write(_pack(block).tobytes())

    atomic_write(Path(path), write, estimate_bytes=_ROW.itemsize * len(rows))
    return Written(len(rows), num_dropped, _lost(gaussians))


def read_splat(path: str | Path) -> Gaussians:
    """Read Gaussians as they stand in the file, degree 0.

    Raises: InputError when the file is empty or no whole number of Gaussians long.
    Limits: nothing else in the file says what it is.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    num_bytes = path.stat().st_size
    if num_bytes == 0 or num_bytes % _ROW.itemsize:
        raise InputError(f"{path}: {num_bytes} bytes, no multiple of the {_ROW.itemsize} of a .splat; it is cut off")

    def decode(start: int, stop: int) -> Gaussians:
        return _unpack(np.fromfile(path, _ROW, count=stop - start, offset=start * _ROW.itemsize))

    return assembled(path, num_bytes // _ROW.itemsize, 0, False, decode)


def _weight(block: Gaussians) -> Float[Tensor, "N"]:
    """Volume times opacity, as a logarithm."""
    return block.log_scales.sum(1) + torch.nn.functional.logsigmoid(block.logit_opacities)


def _lost(gaussians: Gaussians) -> tuple[str, ...]:
    lines = []
    if gaussians.sh_degree:
        lines.append(".splat holds one colour a Gaussian: what depends on the direction is left out")
    if gaussians.antialiased:
        lines.append(".splat cannot say that the model is antialiased: small Gaussians will look too bright")
    return tuple(lines)


def _pack(block: Gaussians) -> np.ndarray:
    rows = np.zeros(len(block), _ROW)
    rows["mean"], rows["scale"] = block.means_world.numpy(), block.log_scales.exp().numpy()
    color = torch.cat([0.5 + SH_C0 * block.sh[:, 0], torch.sigmoid(block.logit_opacities)[:, None]], dim=1)
    rows["rgba"] = (color * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    rows["quat"] = (unit_quats(block) * 128 + 128).round().clamp(0, 255).to(torch.uint8).numpy()
    return rows


def _unpack(rows: np.ndarray) -> Gaussians:
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32)) / 255
    scales = torch.from_numpy(rows["scale"].astype(np.float32))
    return Gaussians(
        means_world=torch.from_numpy(rows["mean"].astype(np.float32)),
        log_scales=scales.log(),
        quats_wxyz=(torch.from_numpy(rows["quat"].astype(np.float32)) - 128) / 128,
        logit_opacities=logits(rgba[:, 3]),
        sh=((rgba[:, :3] - 0.5) / SH_C0)[:, None],
    )
