"""One instruction set gives one result, bit by bit, at any number of threads and on every run."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .backends import Backend, gradients, render
from .random_scenes import as_dtype, make_gaussians, make_view

SIZE = (203, 149)


def everything(native: Backend, dtype: torch.dtype) -> Iterator[Tensor]:
    """What each operator returns, forward and backward, and a step of the optimiser."""
    generator = torch.Generator().manual_seed(1)
    gaussians, view = as_dtype(make_gaussians(3000, size=0.05), dtype), make_view(*SIZE, focal=150.0).to(dtype)
    target = torch.randint(0, 256, (SIZE[1], SIZE[0], 3), generator=generator, dtype=torch.uint8)
    background = torch.tensor([0.2, 0.5, 0.8], dtype=dtype)
    exposure = torch.eye(3, 4, dtype=dtype) + 0.1 * torch.randn(3, 4, generator=generator, dtype=dtype)
    grid = torch.randn(12, 8, 16, 16, generator=generator, dtype=dtype)
    inputs = gaussians | {"exposure": exposure, "grid": grid}

    def image_and_loss(leaves: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        image, alphas = render(native, leaves, view, background)
        exposed = native.color_affine(image, leaves["exposure"])
        gridded = native.bilateral_slice(image, leaves["grid"])
        return image, alphas, gridded, native.photometric_loss(exposed, target, background=background)

    yield from image_and_loss(inputs)
    grads = gradients(image_and_loss, inputs)
    yield from grads.values()
    state = [
        gaussians["means_world"].clone(),
        grads["means_world"],
        *torch.rand(2, 3000, 3, generator=generator).to(dtype),
    ]
    native.adam_step(*state, torch.tensor([0.1, 0.01, 0.001], dtype=dtype), step=5)
    yield from state


def test_threads_change_no_bit(precision):
    native, dtype = precision.native, precision.dtype
    torch.set_num_threads(1)
    expected = list(everything(native, dtype))
    for threads in (2, 3, 2):
        torch.set_num_threads(threads)
        assert all(map(torch.equal, everything(native, dtype), expected))
