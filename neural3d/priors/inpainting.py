"""Filling holes of any shape with a prior of one size: windows, masks of latents, a search for what fits."""

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from neural3d.priors.records import Images, Unknown

FillFn = Callable[[Images, Unknown], Images]
"""Fills square images of the prior's size."""


def fill_windows(images: Images, unknown: Unknown, size: int, fill: FillFn) -> Images:
    """Fill a hole window by window, those with the most known pixels first; what is filled is known to the next.

    Windows overlap by half. An image smaller than a window is laid into one, with nothing known around it.
    """
    height, width = images.shape[-2:]
    border = (0, max(0, size - width), 0, max(0, size - height))
    canvas = functional.pad(images, border)
    open_ = functional.pad(unknown.float(), border, value=1.0) > 0
    places = [(top, left) for top in starts(canvas.shape[-2], size) for left in starts(canvas.shape[-1], size)]
    while places:
        counts = [int(open_[..., top : top + size, left : left + size].sum()) for top, left in places]
        chosen = min(range(len(places)), key=lambda i: counts[i] or size**4)
        top, left = places.pop(chosen)
        if counts[chosen]:
            window = (..., slice(top, top + size), slice(left, left + size))
            canvas[window] = torch.where(open_[window], fill(canvas[window], open_[window]), canvas[window])
            open_[window] = False
    return canvas[..., :height, :width]


def fill_box(images: Images, unknown: Unknown, margin: int, fill: FillFn) -> Images:
    """Fill all holes at once, with a prior that takes any size: what lies further than `margin` around is not seen."""
    hole = unknown.any(0)[0]
    rows, columns = (hole.any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = (..., *(slice(max(0, int(at[0]) - margin), int(at[-1]) + margin + 1) for at in (rows, columns)))
    filled = images.clone()
    filled[box] = fill(images[box], unknown[box])
    return filled


def starts(length: int, size: int) -> list[int]:
    """Where windows begin along one side: every half window, the last one at the end."""
    return sorted({*range(0, length - size, size // 2), length - size})


def unknown_cells(unknown: Unknown, stride: int) -> Bool[Tensor, "B h w"]:
    """Latent cells that the hole touches, and where cells are wider than a pixel, their neighbours.

    An encoder sees a little of what lies around a cell; that must be known, too.
    """
    cells = functional.max_pool2d(unknown.float(), stride)
    cells = functional.max_pool2d(cells, 3, stride=1, padding=1) if stride > 1 else cells
    return cells[:, 0] > 0


def flattened(images: Images, unknown: Unknown) -> Images:
    """The same images with the mean colour of what is known in the hole; grey where nothing is known."""
    known = (~unknown).float()
    mean = (images * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp_min(1)
    return torch.where(unknown, mean, images)


def search_latents(
    latents: Tensor, decode: Callable[[Tensor], Images], unlikeliness: Callable[[Tensor], Tensor],
    images: Images, unknown: Unknown, *, steps: int = 100, step_size: float = 0.1, weight: float = 0.01,
) -> Tensor:  # fmt: skip
    """Latents whose images agree with what is known, and that the law finds likely.

    Source: Yeh et al., Semantic Image Inpainting with Deep Generative Models, 2017, equation 4.
    """
    with torch.enable_grad():
        latents = latents.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([latents], lr=step_size)
        known = (~unknown).float()
        for _ in range(steps):
            error = ((decode(latents) - images) * known).square().sum() / known.sum().clamp_min(1)
            (latents.grad,) = torch.autograd.grad(error + weight * unlikeliness(latents), latents)
            optimizer.step()
    return latents.detach()
