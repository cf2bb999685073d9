"""Arguments for every operator that has a CUDA driver, from one scene: what a training step would pass."""

import torch
from ops.random_rays import field_arguments
from torch import Tensor

from .build import emulated_operators

WIDTH, HEIGHT, COUNT = 75, 41, 300


def geometry(dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Gaussians in front of a camera at the origin, a few of them beside its image."""
    means = 1.3 * torch.randn(COUNT, 3, dtype=dtype) + torch.tensor([0.0, 0.0, 5.0], dtype=dtype)
    scales = torch.randn(COUNT, 3, dtype=dtype) - 2.5
    return means, torch.randn(COUNT, 4, dtype=dtype), scales, torch.randn(COUNT, dtype=dtype)


def camera(dtype: torch.dtype) -> tuple:
    """From the extrinsics to the last option of `project`."""
    tensors = torch.eye(4), torch.tensor([60.0, 65.0]), torch.tensor([WIDTH / 2, HEIGHT / 2])
    return *(tensor.to(dtype) for tensor in tensors), WIDTH, HEIGHT, 0.01, 0.3, 1 / 255, True


def arguments(dtype: torch.dtype) -> dict[str, tuple]:
    """By the operators' names; earlier operators' results are later operators' arguments."""
    ops, image, parameters = emulated_operators(), (HEIGHT, WIDTH), geometry(dtype)
    seen = ops.project(*parameters, *camera(dtype))
    means_px, conics, opacities, depths, extents = seen
    looks = (parameters[0], torch.randn(COUNT, 16, 3, dtype=dtype), torch.zeros(3, dtype=dtype), 3, extents)
    colors = ops.sh_colors(*looks)
    pulls = tuple(torch.randn_like(tensor) for tensor in (means_px, conics, opacities, depths, parameters[0]))
    shown, valid = torch.rand(3, *image, dtype=dtype), torch.rand(image) < 0.8
    photo, alpha = (torch.randint(0, 256, size, dtype=torch.uint8) for size in ((*image, 3), image))
    grid, matrix = torch.randn(12, 4, 3, 5, dtype=dtype), torch.randn(3, 4, dtype=dtype)
    moments = tuple(torch.rand(COUNT, 45, dtype=dtype) for _ in range(4))
    some = torch.rand(COUNT) < 0.6
    directed = (torch.rand(COUNT, 16, 3, dtype=dtype), torch.randn_like(colors), parameters[0], looks[2], 3)
    coefficients = tuple(torch.rand(COUNT, 16, 3, dtype=dtype) for _ in range(2))
    found = {
        "project": (*parameters, *camera(dtype)),
        "project_vjp": (*parameters, *camera(dtype), extents, *pulls),
        "visible_rows": (extents,),
        "sh_colors": looks,
        "sh_colors_vjp": (*looks, colors, torch.randn_like(colors)),
        "sh_pulls": (*looks, colors, torch.randn_like(colors)),
        "photometric": (shown, photo, alpha, valid, torch.rand(3, dtype=dtype), 0.2),
        "adam": (*moments, torch.rand(45, dtype=dtype), some, 3, 0.9, 0.999, 1e-15),
        "adam_sh": (*directed, *coefficients, torch.rand(48, dtype=dtype), some, 3, 0.9, 0.999, 1e-15),
        "color_affine": (shown, matrix),
        "color_affine_vjp": (shown, matrix, torch.randn_like(shown)),
        "bilateral_slice": (shown, grid),
        "bilateral_slice_vjp": (shown, grid, torch.randn_like(shown)),
    }
    found |= blending(dtype, seen, colors) | field_arguments(dtype)
    if dtype == torch.float32:
        slopes = (torch.rand(COUNT, 3), torch.rand(COUNT))
        found["add_penalties"] = (*parameters[2:], some, 0.1, 0.2, *slopes)
        found["shake"] = (*parameters[:3], parameters[3] - 4, some, 2.0, 3, 4)
        found["neighbor_distances"] = (parameters[0], 3)
    return found


def blending(dtype: torch.dtype, seen: tuple[Tensor, ...], colors: Tensor) -> dict[str, tuple]:
    """Those of binning and blending."""
    ops, (means_px, conics, opacities, depths, extents) = emulated_operators(), seen
    ellipses = (means_px, conics, depths, extents, WIDTH, HEIGHT)
    bins = ops.bin_gaussians(*ellipses)
    options = (WIDTH, HEIGHT, 1 / 255, 1e-4)
    blended = (means_px, conics, opacities, colors, torch.rand(3, dtype=dtype), *bins, *options)
    image, alphas, state = ops.rasterize(*blended, True)
    pulls = (torch.randn_like(image), torch.randn_like(alphas))
    return {
        "bin_gaussians": ellipses,
        "bin_gaussians_within": (*ellipses, len(bins[1]) + 1000),
        "rasterize": (*blended, True),
        "rasterize_vjp": (*blended, image, alphas, state, *pulls),
    }
