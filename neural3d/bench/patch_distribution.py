"""GPDM for holes, a yardstick: texels are moved until their patches are distributed as the known ones are."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.priors.exemplar.nearest import halve, whole_patches
from neural3d.priors.exemplar.poisson import harmonic_fill
from neural3d.priors.exemplar.quilting import Texels
from neural3d.priors.fitting import seeded


@dataclass(frozen=True)
class MatchingConfig:
    """As in the paper, but for a pyramid of halves."""

    patch: int = 7
    """Side in texels; odd."""
    steps: int = 300
    """Of Adam, a scale."""
    projections: int = 64
    """Fresh directions for each step."""
    learning_rate: float = 0.05
    """At first; a tenth less after each hundred steps."""
    noise: float = 0.75
    """Standard deviation of what is added to the smooth fill that the coarsest scale begins with."""
    coarsest_px: int = 28
    """No scale is smaller."""


def matched_fill(
    image: Float[Tensor, "3 H W"], hole: Bool[Tensor, "H W"], seed: int, config: MatchingConfig = MatchingConfig()
) -> Float[Tensor, "3 H W"]:
    """An image in [-1, 1] with its hole filled; what is known stays.

    Source: Elnekave and Weiss 2022, Generating Natural Images with Direct Patch Distributions Matching, algorithm 1;
        of the image only the hole is free, and only the patches that reach into it are matched.
    Raises: ValueError where no patch is known as a whole.
    """
    generator, scales = seeded(seed), [(image, hole)]
    while min(scales[-1][1].shape) >= 2 * config.coarsest_px:
        picture, mask = scales[-1]
        smaller = halve(picture, mask, Texels((), ()))
        if not len(_known_patches(*smaller[:2], config.patch)):
            break
        scales.append(smaller[:2])
    mean = image[:, ~hole].mean(1)[:, None, None]
    picture, mask = scales[-1]
    filled = harmonic_fill(torch.where(mask, mean, picture), mask)
    filled = filled + config.noise * torch.randn(filled.shape, generator=generator)
    for picture, mask in reversed(scales):
        start = functional.interpolate(filled[None], picture.shape[1:], mode="bicubic", align_corners=False)[0]
        filled = _matched(picture, mask, start, generator, config)
    return filled


def _matched(
    picture: Tensor, hole: Tensor, start: Tensor, generator: torch.Generator, config: MatchingConfig
) -> Float[Tensor, "3 H W"]:
    """One scale."""
    side, known = config.patch, _known_patches(picture, hole, config.patch)
    if not len(known):
        raise ValueError(f"hole: nowhere are {side} x {side} texels known; give a smaller hole")
    touched = functional.max_pool2d(hole[None, None].float(), side, stride=1)[0, 0].flatten() > 0
    texels = start[:, hole].clone().requires_grad_(True)
    optimizer = torch.optim.Adam([texels], lr=config.learning_rate)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * 0.9 ** (step // 100)
        patches = functional.unfold(_with(picture, hole, texels)[None], side)[0].T[touched]
        loss = sliced_loss(patches, known, config.projections, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return _with(picture, hole, texels.detach()).clamp(-1, 1)


def sliced_loss(
    patches: Float[Tensor, "N D"], known: Float[Tensor, "K D"], projections: int, generator: torch.Generator
) -> Float[Tensor, ""]:
    """Mean distance of patches in their order along random directions, to as many known ones that are drawn."""
    directions = torch.randn(patches.shape[1], projections, generator=generator)
    directions = directions / directions.norm(dim=0)
    rounds = -(-len(patches) // len(known))
    drawn = torch.cat([torch.randperm(len(known), generator=generator) for _ in range(rounds)])[: len(patches)]
    sorted_ones, targets = ((points @ directions).sort(0).values for points in (patches, known[drawn]))
    return (sorted_ones - targets).abs().mean()


def _known_patches(picture: Tensor, hole: Tensor, side: int) -> Float[Tensor, "K D"]:
    return whole_patches(Texels((picture,), (~hole,)), side)


def _with(picture: Tensor, hole: Tensor, texels: Float[Tensor, "3 N"]) -> Float[Tensor, "3 H W"]:
    return picture.masked_scatter(hole.expand_as(picture), texels.to(picture.dtype))
