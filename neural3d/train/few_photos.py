"""What keeps a scene plausible where few photos see it: no Gaussian is relied on, and surfaces bend only at edges."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from neural3d.splats.gaussians import Gaussians
from neural3d.train.random_numbers import Purpose, generator

OPAQUE = 0.99
"""The most that a Gaussian's opacity is raised to while others are left out."""
TRANSPARENT_LOGIT = -20.0
EDGE = 10.0
"""How much a photo's own bend in brightness (0 to 1) excuses one of the depth."""
SOLID = 0.5
"""Alpha from which on a pixel has a depth."""


def left_out(count: int, share: float, seed: int, step: int, device: torch.device) -> Bool[Tensor, "N"]:
    """Which Gaussians a step does without, at random; the same on every device."""
    random = torch.from_numpy(generator(seed, Purpose.DROP, step).random(count, dtype="float32"))
    return (random < share).to(device, non_blocking=True)


def thinned(gaussians: Gaussians, dropped: Bool[Tensor, "N"], share: float) -> tuple[Gaussians, Float[Tensor, "N"]]:
    """The model without the Gaussians that are left out, the others' opacities divided by 1 - share.

    Returns it with the factors that bring gradients of its logits back to the model's.

    Source: Park et al. 2025, DropGaussian, eq. 4, 5.
    """
    # Not torch's own sigmoid and logit, of which the last few numbers of each thread's part may be rounded otherwise.
    opacities = 1 / (1 + torch.exp(-gaussians.logit_opacities))
    raised = opacities / (1 - share)
    capped = raised.clamp(max=OPAQUE)
    safe = capped.clamp(1e-6, 1 - 1e-6)
    logits = torch.where(dropped, TRANSPARENT_LOGIT, torch.log(safe / (1 - safe)))
    # d logit(c s(l)) / d l = (1 - s) / (1 - c s); what is capped follows the model's own.
    factors = torch.where(raised < OPAQUE, (1 - opacities) / (1 - capped), 1.0)
    return _with_logits(gaussians, logits), torch.where(dropped, 0.0, factors)


def _with_logits(gaussians: Gaussians, logits: Float[Tensor, "N"]) -> Gaussians:
    return replace(gaussians, logit_opacities=logits.contiguous())


def bending(
    depth_sums: Float[Tensor, "H W"],
    alphas: Float[Tensor, "H W"],
    photo: UInt8[Tensor, "H W 3"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """How much a view's surfaces bend, with the gradients of its depth sums and alphas.

    Inverse depth is an affine function of the pixel on a plane, so its second differences say where the normal turns;
    each is taken relative to the inverse depth itself, and counts less where the photo's brightness bends, too. Mean
    over all pixels, to which those that are not solid, or beside one that is not, add nothing; nor do fewer than three
    pixels in a row, which cannot bend.

    Source: Godard et al. 2017, eq. 6 (edge-aware smoothness), with second differences.
    """
    axes = [axis for axis in (0, 1) if depth_sums.shape[axis] > 2]
    if not axes:
        return depth_sums.new_zeros(()), torch.zeros_like(depth_sums), torch.zeros_like(alphas)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (depth_sums, alphas)]
    grey = photo.float().mean(dim=2) / 255
    with torch.enable_grad():
        inverse = leaves[1] / leaves[0].clamp(min=1e-6)
        solid = (alphas > SOLID) & (depth_sums > 1e-6)
        total = depth_sums.new_zeros(())
        for axis in axes:
            bend = _second_difference(inverse, axis)
            middle = inverse.detach().narrow(axis, 1, inverse.shape[axis] - 2)
            excuse = torch.exp(-EDGE * _second_difference(grey, axis).abs())
            all_solid = solid.unfold(axis, 3, 1).all(dim=-1)
            total = total + (torch.where(all_solid, excuse / middle.clamp(min=1e-6), 0.0) * bend.abs()).mean()
        d_depth, d_alpha = torch.autograd.grad(total, leaves)
    return total.detach(), d_depth, d_alpha


def _second_difference(plane: Float[Tensor, "H W"], axis: int) -> Tensor:
    length = plane.shape[axis] - 2
    return plane.narrow(axis, 0, length) - 2 * plane.narrow(axis, 1, length) + plane.narrow(axis, 2, length)
