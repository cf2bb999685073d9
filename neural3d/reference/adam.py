"""Adam over the rows that were seen."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.ops.records import HashLevels
from neural3d.reference.hash_encode import hash_encode
from neural3d.reference.sh import sh_basis


@torch.no_grad()
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
    """One step in place, `step` counting from 1; returns the number of visible rows with a non-finite gradient.

    Those rows, rows that are not visible, and columns whose learning rate is 0 stay as they are, moments included. The
    bias correction follows the global `step`, not how often a row was seen.

    Source: Kingma and Ba 2015, Adam, algorithm 1.
    """
    if visible is None:
        visible = torch.ones(len(param), dtype=torch.bool, device=param.device)
    finite = grad.isfinite().all(dim=1)
    chosen = (visible & finite)[:, None] & (learning_rates != 0)

    first = beta1 * first_moment + (1 - beta1) * grad
    second = beta2 * second_moment + (1 - beta2) * grad * grad
    change = learning_rates * (first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + eps)
    for kept, new in ((param, param - change), (first_moment, first), (second_moment, second)):
        kept.copy_(torch.where(chosen, new, kept))
    return (visible & ~finite).sum()


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
    """`adam_step` with the gradient Y_k(d) * pulls[c], where d is the direction from the camera to the Gaussian."""
    offsets = means_world - camera_center_world
    distances = offsets.norm(dim=-1, keepdim=True)
    directions = torch.where(distances > 1e-15, offsets / distances.clamp(min=1e-15), 0)
    grad = torch.zeros_like(sh)
    products = sh_basis(directions, degree)[:, :, None] * pulls[:, None]
    grad[:, : (degree + 1) ** 2] = torch.where(pulls[:, None] == 0, 0, products)
    size = (len(sh), 3 * sh.shape[1])
    rows = [tensor.view(size) for tensor in (sh, grad, first_moment, second_moment)]
    options = {"beta1": beta1, "beta2": beta2, "eps": eps}
    return adam_step(*rows, learning_rates, step=step, visible=visible, **options)


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
    """`adam_step` with the table's gradient where `pulls` is that of the features of `hash_encode`.

    Numbers whose gradient is exactly 0 stay as they are, moments included: what no point looked at.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, section 4 (training).

    Limits: so Adam's mean of the gradients is one over the steps in which a number was looked at.
    """
    with torch.enable_grad():
        leaf = table.detach().requires_grad_()
        (grad,) = torch.autograd.grad(hash_encode(positions.detach(), leaf, levels, smooth=smooth), leaf, pulls)
    before = [tensor.detach().clone() for tensor in (table, first_moment, second_moment)]
    options = {"step": step, "beta1": beta1, "beta2": beta2, "eps": eps}
    poisoned = adam_step(table, grad, first_moment, second_moment, learning_rates, **options)
    for tensor, old in zip((table, first_moment, second_moment), before, strict=True):
        tensor.copy_(torch.where(grad == 0, old, tensor))
    return poisoned
