"""Checks of operator arguments: a ValueError that names the argument, what was expected and what came.

The native drivers only repeat what would otherwise read foreign memory; their errors arrive without an argument's name.
"""

import torch
from torch import Tensor

from neural3d.ops.records import HashLevels

FLOATS = (torch.float32, torch.float64)


def check_floats(**tensors: tuple[Tensor, tuple[int | None, ...]]) -> None:
    """All must be contiguous floats of the first one's dtype and device, with the given sizes (None is any).

    Raises:
        ValueError: Names the argument.
    """
    first_name, (first, _) = next(iter(tensors.items()))
    if first.dtype not in FLOATS:
        raise ValueError(f"{first_name}: expected float32 or float64, got {first.dtype}")
    for name, (tensor, sizes) in tensors.items():
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"{name}: expected {first.dtype} on {first.device} like {first_name}, "
                f"got {tensor.dtype} on {tensor.device}"
            )
        _check_layout(name, tensor, sizes)


def check_singles(**tensors: tuple[Tensor, tuple[int | None, ...]]) -> None:
    """As `check_floats`, for operators that work in float32 only.

    Raises:
        ValueError: Names the argument.
    """
    first_name, (first, _) = next(iter(tensors.items()))
    if first.dtype != torch.float32:
        raise ValueError(f"{first_name}: expected float32, got {first.dtype}")
    check_floats(**tensors)


def check_bytes(
    name: str, tensor: Tensor, sizes: tuple[int | None, ...], like: Tensor, *, boolean: bool = False
) -> None:
    """An 8-bit (or bool) tensor on the device of `like`.

    Raises:
        ValueError: Names the argument.
    """
    expected = torch.bool if boolean else torch.uint8
    if tensor.dtype != expected or tensor.device != like.device:
        raise ValueError(f"{name}: expected {expected} on {like.device}, got {tensor.dtype} on {tensor.device}")
    _check_layout(name, tensor, sizes)


def check_integers(name: str, tensor: Tensor, sizes: tuple[int | None, ...], like: Tensor) -> None:
    """An int32 tensor on the device of `like`.

    Raises:
        ValueError: Names the argument.
    """
    if tensor.dtype != torch.int32 or tensor.device != like.device:
        raise ValueError(f"{name}: expected torch.int32 on {like.device}, got {tensor.dtype} on {tensor.device}")
    _check_layout(name, tensor, sizes)


def check_positive(**values: int) -> None:
    """Sizes of images.

    Raises:
        ValueError: Names the argument.
    """
    for name, value in values.items():
        if not 0 < value <= 1 << 20:
            raise ValueError(f"{name}: expected 1 to {1 << 20} pixels, got {value}")


def check_degree(degree: int, coefficients: int) -> None:
    """A degree of spherical harmonics.

    Raises:
        ValueError: There is none of that number, or it needs more coefficients than there are.
    """
    if not 0 <= degree <= 3 or (degree + 1) ** 2 > coefficients:
        raise ValueError(f"degree: expected 0 to 3 and at most what {coefficients} coefficients hold, got {degree}")


def check_hash_table(positions: Tensor, table: Tensor, levels: HashLevels) -> None:
    """Places, and the table of a hash grid of so many rows.

    Raises:
        ValueError: Names the argument.
    """
    check_floats(positions=(positions, (None, 3)), table=(table, (levels.rows, None)))
    if table.shape[1] not in (1, 2, 4, 8):
        raise ValueError(f"table: expected 1, 2, 4 or 8 features in a row, got {table.shape[1]}")


def check_no_gradient(**tensors: Tensor) -> None:
    """Constants of an operator, whose gradient would be missing without a word.

    Raises:
        ValueError: Names the argument.
    """
    for name, tensor in tensors.items():
        if tensor.requires_grad:
            raise ValueError(f"{name}: the native operator gives it no gradient; detach it")


def _check_layout(name: str, tensor: Tensor, sizes: tuple[int | None, ...]) -> None:
    same = tensor.shape == sizes  # the usual case, 50 times a step
    if not same and (
        tensor.dim() != len(sizes)
        or any(size not in (None, got) for size, got in zip(sizes, tensor.shape, strict=True))
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in sizes)
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(tensor.shape)}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name}: expected a contiguous tensor, got strides {tensor.stride()}; call .contiguous()")
