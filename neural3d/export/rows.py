"""What a file will hold, a block of Gaussians at a time, so that no second model is ever in memory."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.frames import gaussians_in_frame
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

BLOCK = 65536
"""Gaussians at once; a multiple of the 256 that compressed PLY packs together."""
SH_C0 = 0.28209479177387814
"""The harmonic of degree 0: colour is 0.5 + SH_C0 * sh[0] plus what depends on the direction."""
MIN_OPACITY = 1e-6
"""What an opacity of 0 or 1 is read as, inwards, where a file holds opacities and not logits."""
_MORTON_BITS = 21
"""Of each axis; three fill an int64."""


@dataclass(frozen=True)
class Written:
    """What came out."""

    num_gaussians: int
    num_dropped: int
    """Gaussians with a NaN or an infinity, which no viewer survives."""
    warnings: tuple[str, ...] = ()
    """What the format could not hold, one line each."""


@dataclass(frozen=True)
class Rows:
    """The Gaussians of a file, in the file's order."""

    gaussians: Gaussians
    """In the scene's frame, on the CPU, without history."""
    file_from_scene: Similarity
    indices: Int[Tensor, "M"]

    def __len__(self) -> int:
        return len(self.indices)

    def block(self, start: int, stop: int) -> Gaussians:
        """Some rows, in the file's frame."""
        return gaussians_in_frame(self.gaussians[self.indices[start:stop]], self.file_from_scene)

    def blocks(self) -> Iterator[tuple[int, Gaussians]]:
        """All rows with the number of the first of each block."""
        for start in range(0, len(self), BLOCK):
            yield start, self.block(start, start + BLOCK)

    def column(self, of: Callable[[Gaussians], Tensor]) -> Tensor:
        """What a function makes of each row, of all rows."""
        return torch.cat([of(block) for _, block in self.blocks()])

    def in_order(self, order: Int[Tensor, "M"]) -> "Rows":
        """The same rows sorted otherwise."""
        return replace(self, indices=self.indices[order])


def finite_rows(
    gaussians: Gaussians,
    file_from_scene: Similarity,
    indices: Int[Tensor, "M"] | None = None,
    *,
    may_be_none: bool = False,
) -> tuple[Rows, int]:
    """The rows without a NaN or an infinity once they are in the file's frame, and how many others there were.

    Raises: InputError when none is left, unless the format can say that there are none.
    """
    on_cpu = gaussians.detach().map(Tensor.cpu)
    rows = Rows(on_cpu, file_from_scene, torch.arange(len(gaussians)) if indices is None else indices.cpu())
    finite = rows.column(is_finite) if len(rows) else torch.zeros(0, dtype=torch.bool)
    if not finite.any() and not may_be_none:
        raise InputError(f"no Gaussian is left to write (of {len(gaussians)}); choose less narrowly, or train again")
    return replace(rows, indices=rows.indices[finite]), int((~finite).sum())


def is_finite(gaussians: Gaussians) -> Bool[Tensor, "N"]:
    """Where all numbers of a Gaussian are."""
    finite = [tensor.isfinite().flatten(1).all(1) for tensor in (t[:, None] for t in gaussians.tensors().values())]
    return torch.stack(finite).all(0)


def assembled(
    path: Path, count: int, sh_degree: int, antialiased: bool, decode: Callable[[int, int], Gaussians]
) -> Gaussians:
    """What a file holds, decoded a block at a time; rows that are not finite are left out with a warning."""
    buffer = _empty(count, sh_degree, antialiased)
    filled = 0
    for start in range(0, count, BLOCK):
        block = decode(start, min(start + BLOCK, count))
        block = block[is_finite(block)]
        for name, tensor in block.tensors().items():
            buffer.tensors()[name][filled : filled + len(block)] = tensor
        filled += len(block)
    if filled < count:
        left_out = f"{path}: left out {count - filled} of {count} Gaussians that are not finite"
        warnings.warn(left_out, stacklevel=3)
    return buffer[:filled]


def _empty(count: int, sh_degree: int, antialiased: bool) -> Gaussians:
    return Gaussians(
        means_world=torch.empty(count, 3),
        log_scales=torch.empty(count, 3),
        quats_wxyz=torch.empty(count, 4),
        logit_opacities=torch.empty(count),
        sh=torch.empty(count, (sh_degree + 1) ** 2, 3),
        antialiased=antialiased,
    )


def morton_order(rows: Rows) -> Int[Tensor, "M"]:
    """Neighbours in space become neighbours in the file, which is what blocks and compressors live on.

    Source: Morton 1966, A computer oriented geodetic data base.
    """
    means = rows.column(lambda block: block.means_world)
    low, high = means.amin(0), means.amax(0)
    steps = (1 << _MORTON_BITS) - 1
    code = torch.zeros(len(means), dtype=torch.int64)
    for axis in range(3):
        place = (means[:, axis].double() - low[axis]) / (high[axis] - low[axis]).clamp(min=1e-30)
        code |= _spread((place * steps).to(torch.int64)) << axis
    return torch.argsort(code, stable=True)


def _spread(number: Int[Tensor, "M"]) -> Int[Tensor, "M"]:
    """Two zero bits behind each of the 21 bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        number = (number | (number << shift)) & mask
    return number


def logits(opacities: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Of opacities out of a file, 0 and 1 moved inwards."""
    inside = opacities.clamp(MIN_OPACITY, 1 - MIN_OPACITY)
    return torch.log(inside) - torch.log1p(-inside)


def unit_quats(gaussians: Gaussians) -> Float[Tensor, "N 4"]:
    """Normalised in float64 and rounded once."""
    quats = gaussians.quats_wxyz.double()
    return (quats / quats.norm(dim=1, keepdim=True).clamp(min=1e-30)).to(gaussians.quats_wxyz.dtype)


def channel_major(sh: Float[Tensor, "N K 3"]) -> Float[Tensor, "N C"]:
    """All but the first coefficient, all of red first, as PLY files have them."""
    return sh[:, 1:].transpose(1, 2).flatten(1)


def coefficients(dc: Float[Tensor, "N 3"], rest: Float[Tensor, "N C"]) -> Float[Tensor, "N K 3"]:
    """The inverse of `channel_major`, with the first coefficient."""
    return torch.cat([dc[:, None], rest.reshape(len(dc), 3, rest.shape[1] // 3).transpose(1, 2)], dim=1)
