"""Features of points from a multiresolution hash grid: the native operator, its fake and its gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import HashLevels
from neural3d.ops.validation import check_floats, check_hash_table


def hash_encode(
    positions: Float[Tensor, "P 3"], table: Float[Tensor, "E F"], levels: HashLevels, *, smooth: bool = False
) -> Float[Tensor, "P LF"]:
    """The features of every level side by side, coarsest first; `neural3d.reference.hash_encode` is the specification.

    Raises:
        ValueError: An argument does not fit, or a row has neither 1, 2, 4 nor 8 features.
    """
    check_hash_table(positions, table, levels)
    return native().hash_encode(positions, table, *levels.numbers, smooth)


def hash_encode_positions_vjp(
    positions: Float[Tensor, "P 3"],
    table: Float[Tensor, "E F"],
    levels: HashLevels,
    pulls: Float[Tensor, "P LF"],
    *,
    smooth: bool = False,
) -> Float[Tensor, "P 3"]:
    """What pulls on the features pulls on the places, where the table's own gradient is not wanted.

    Raises:
        ValueError: An argument does not fit.
    """
    check_hash_table(positions, table, levels)
    check_floats(table=(table, (None, None)), pulls=(pulls, (len(positions), levels.count * table.shape[1])))
    return native().hash_encode_vjp(positions, table, *levels.numbers, smooth, pulls, True, False)[0]


native()


@torch.library.register_fake("neural3d::hash_encode")
def _(positions, table, levels, *_rest):
    return positions.new_empty((positions.shape[0], levels * table.shape[1]))


@torch.library.register_fake("neural3d::hash_encode_vjp")
def _(positions, table, *rest):
    points, rows = (size if wanted else 0 for size, wanted in zip((len(positions), len(table)), rest[-2:], strict=True))
    return positions.new_empty((points, 3)), table.new_empty((rows, table.shape[1]))


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _backward(ctx, grad):
    positions, table = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:2]
    found = native().hash_encode_vjp(positions, table, *ctx.options, grad.contiguous(), *wanted)
    return *(one if wants else None for one, wants in zip(found, wanted, strict=True)), *(None,) * len(ctx.options)


torch.library.register_autograd("neural3d::hash_encode", _backward, setup_context=_setup)
