"""What a file will hold, a block of Gaussians at a time, so that no second model is ever in memory."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural3d.errors import InputError
from neural3d.export.frames import gaussians_in_frame
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

BLOCK = 65536
"""Gaussians at once; a multiple of the 256 that compressed PLY packs together."""
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

    def at(self, numbers: Int[Tensor, "N"] | slice) -> Gaussians:
        """The rows of these numbers, in the file's frame."""
        return gaussians_in_frame(self.gaussians[self.indices[numbers]], self.file_from_scene)

    def block(self, start: int, stop: int) -> Gaussians:
        """Neighbouring rows."""
        return self.at(slice(start, stop))

    def blocks(self) -> Iterator[tuple[int, Gaussians]]:
        """All rows with the number of the first of each block."""
        for start in range(0, len(self), BLOCK):
            yield start, self.block(start, start + BLOCK)

    def column(self, of: Callable[[Gaussians], Tensor]) -> Tensor:
        """What a function makes of each row, of all rows.

        Filled in place: small pieces kept between large temporary ones would tear holes into the heap.
        """
        first = of(self.block(0, 1))
        length = first.shape[0]
        whole = torch.empty((length * len(self), *first.shape[1:]), dtype=first.dtype)
        for start, block in self.blocks():
            whole[length * start : length * (start + len(block))] = of(block)
        return whole

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
    low, high = (torch.full((3,), sign * torch.inf) for sign in (1, -1))
    for _, block in rows.blocks():
        low = torch.minimum(low, block.means_world.amin(0))
        high = torch.maximum(high, block.means_world.amax(0))

    def codes(block: Gaussians) -> Int[Tensor, "N"]:
        places = (block.means_world.double() - low) / (high.double() - low).clamp(min=1e-30)
        x, y, z = _spread((places * ((1 << _MORTON_BITS) - 1)).to(torch.int64)).unbind(1)
        return x | (y << 1) | (z << 2)

    # numpy sorts within the array's own length; torch holds it three times.
    return torch.from_numpy(np.argsort(rows.column(codes).numpy(), kind="stable"))


def _spread(number: Int[Tensor, "N 3"]) -> Int[Tensor, "N 3"]:
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
