"""Blending by gradients: pixels whose differences are asked for, between pixels that are fixed."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_TOLERANCE = 1e-4
"""Of the residual, relative to the first one."""


def solve_poisson(
    start: Float[Tensor, "C H W"],
    unknown: Bool[Tensor, "H W"],
    across: Float[Tensor, "C H W-1"],
    down: Float[Tensor, "C H-1 W"],
    *,
    anchor: float = 0.0,
    most_steps: int = 2000,
) -> Float[Tensor, "C H W"]:
    """The image that keeps `start` where it is known, with differences between neighbours nearest to those asked for.

    With an `anchor`, unknown pixels are drawn to `start`, too: squared errors there count so much against those of
    differences. What is blended then reaches 1 / sqrt(anchor) pixels far, and colours do not drift in wide holes.

    `across` is right minus left, `down` lower minus upper; only those that touch an unknown pixel count. Where nothing
    is known, the mean of `start` is kept. By conjugate gradients, which begin at `start`.

    Source: Perez et al., Poisson Image Editing, 2003, equation 7; the anchor: Bhat et al., GradientShop, 2010, eq. 3.
    """
    is_open = unknown.to(start.dtype)
    right, below = _touches(is_open)
    # The anchor asks for `start` itself, so it has no part in the first residual.
    residual = (_divergence(right * across, below * down) - _laplacian(start, right, below)) * is_open
    solution, direction = start.clone(), residual.clone()
    square = _dot(residual, residual)
    enough = square * _TOLERANCE**2
    for _ in range(most_steps):
        if bool((square <= enough).all()):
            break
        applied = (_laplacian(direction * is_open, right, below) + anchor * direction) * is_open
        step = square / _dot(direction, applied).clamp_min(1e-20)
        solution, residual = solution + step * direction, residual - step * applied
        last, square = square, _dot(residual, residual)
        direction = residual + square / last.clamp_min(1e-20) * direction
    return solution


def harmonic_fill(image: Float[Tensor, "C H W"], unknown: Bool[Tensor, "H W"]) -> Float[Tensor, "C H W"]:
    """The smoothest continuation into the unknown."""
    across, down = torch.zeros_like(image[..., 1:]), torch.zeros_like(image[:, 1:])
    return solve_poisson(image, unknown, across, down)


def _touches(is_open: Tensor) -> tuple[Tensor, Tensor]:
    """Which differences have an unknown pixel at one end at least."""
    return torch.maximum(is_open[:, 1:], is_open[:, :-1]), torch.maximum(is_open[1:], is_open[:-1])


def _divergence(across: Tensor, down: Tensor) -> Tensor:
    """The negative divergence: the transpose of taking differences."""
    height, width = across.shape[-2], down.shape[-1]
    answer = across.new_zeros((*across.shape[:-2], height, width))
    answer[..., 1:] += across
    answer[..., :-1] -= across
    answer[..., 1:, :] += down
    answer[..., :-1, :] -= down
    return answer


def _laplacian(x: Tensor, right: Tensor, below: Tensor) -> Tensor:
    return _divergence(right * (x[..., 1:] - x[..., :-1]), below * (x[..., 1:, :] - x[..., :-1, :]))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)
