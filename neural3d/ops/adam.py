"""Adam over the rows that were seen: the native operators and their fakes."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.ops.library import native
from neural3d.ops.records import HashLevels
from neural3d.ops.validation import check_bytes, check_degree, check_floats, check_hash_table


def adam_step(
    param: Float[Tensor, "N C"],
    grad: Float[Tensor, "N C"],
    first_moment: Float[Tensor, "N C"],
    second_moment: Float[Tensor, "N C"],
    learning_rates: Float[Tensor, "C"],
    *,
    step: int,
    visible: Bool[Tensor, "N"] | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> Int64[Tensor, ""]:
    """One step in place; returns how many rows were left alone for a non-finite gradient.

    `neural3d.reference.adam_step` is the specification.

    Raises:
        ValueError: An argument does not fit, or `step` is not at least 1.
    """
    size = tuple(param.shape)
    check_floats(
        param=(param, size),
        grad=(grad, size),
        first_moment=(first_moment, size),
        second_moment=(second_moment, size),
        learning_rates=(learning_rates, size[1:]),
    )
    _check_step(param, visible, step)
    return native().adam(
        param.detach(), grad, first_moment, second_moment, learning_rates, visible, step, beta1, beta2, eps
    )


def adam_step_sh(
    sh: Float[Tensor, "N K 3"],
    pulls: Float[Tensor, "N 3"],
    means_world: Float[Tensor, "N 3"],
    camera_center_world: Float[Tensor, "3"],
    degree: int,
    first_moment: Float[Tensor, "N K 3"],
    second_moment: Float[Tensor, "N K 3"],
    learning_rates: Float[Tensor, "C"],
    *,
    step: int,
    visible: Bool[Tensor, "N"] | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> Int64[Tensor, ""]:
    """`adam_step` for harmonics, whose gradient is made on the way from what `sh_pulls` found.

    `neural3d.reference.adam_step_sh` is the specification. The means are those of the forward pass.

    Raises:
        ValueError: An argument does not fit, or `step` is not at least 1.
    """
    size = tuple(sh.shape)
    check_floats(
        sh=(sh, (size[0], None, 3)),
        pulls=(pulls, (size[0], 3)),
        means_world=(means_world, (size[0], 3)),
        camera_center_world=(camera_center_world, (3,)),
        first_moment=(first_moment, size),
        second_moment=(second_moment, size),
        learning_rates=(learning_rates, (3 * size[1],)),
    )
    check_degree(degree, size[1])
    _check_step(sh, visible, step)
    looks = (pulls, means_world, camera_center_world, degree)
    moments = (first_moment, second_moment, learning_rates)
    return native().adam_sh(sh.detach(), *looks, *moments, visible, step, beta1, beta2, eps)


def adam_step_hash(
    table: Float[Tensor, "E F"],
    positions: Float[Tensor, "P 3"],
    pulls: Float[Tensor, "P LF"],
    levels: HashLevels,
    first_moment: Float[Tensor, "E F"],
    second_moment: Float[Tensor, "E F"],
    learning_rates: Float[Tensor, "F"],
    *,
    step: int,
    smooth: bool = False,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-15,
) -> Int64[Tensor, ""]:
    """`adam_step` for the table that `hash_encode` looked up, by what pulls on the features that it gave.

    `neural3d.reference.adam_step_hash` is the specification. The table's gradient never lies in memory as a whole.

    Raises:
        ValueError: An argument does not fit, or `step` is not at least 1.
    """
    check_hash_table(positions, table, levels)
    size = tuple(table.shape)
    check_floats(
        table=(table, size),
        pulls=(pulls, (len(positions), levels.count * size[1])),
        first_moment=(first_moment, size),
        second_moment=(second_moment, size),
        learning_rates=(learning_rates, size[1:]),
    )
    _check_step(table, None, step)
    looks = (positions.detach(), pulls, *levels.numbers, smooth)
    moments = (first_moment, second_moment, learning_rates)
    return native().adam_hash(table.detach(), *looks, *moments, step, beta1, beta2, eps)


def _check_step(param: Tensor, visible: Tensor | None, step: int) -> None:
    if visible is not None:
        check_bytes("visible", visible, tuple(param.shape[:1]), param, boolean=True)
    if step < 1:
        raise ValueError(f"step: expected 1 or more, got {step}")


native()


@torch.library.register_fake("neural3d::adam_sh")
def _(sh, *_rest):
    return sh.new_empty((), dtype=torch.int64)


@torch.library.register_fake("neural3d::adam_hash")
def _(table, *_rest):
    return table.new_empty((), dtype=torch.int64)


@torch.library.register_fake("neural3d::adam")
def _(param, *_rest):
    return param.new_empty((), dtype=torch.int64)
