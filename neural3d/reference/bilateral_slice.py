"""Exposure of one photo: a map of its colours that varies over the picture and with brightness."""

import torch
from jaxtyping import Float
from torch import Tensor


def bilateral_slice(image: Float[Tensor, "3 H W"], grid: Float[Tensor, "12 Z Y X"]) -> Float[Tensor, "3 H W"]:
    """matrix[:, :3] @ color + matrix[:, 3] at every pixel, with the matrix (3 x 4, by rows) that the grid has there.

    The grid is interpolated linearly along x, y and the colour's luma, clamped to [0, 1]; along each axis the first
    and the last nodes lie on the borders. Gradients reach the image through its luma too; at a node they are those of
    the interval above it, and from luma 1 up there are none.

    Source: Chen et al. 2007, Real-time Edge-Aware Image Processing with the Bilateral Grid; Wang et al. 2024, Bilateral
    Guided Radiance Field Processing.
    """
    size_z, size_y, size_x = grid.shape[1:]
    luma = (image * image.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    guide = torch.where(luma < 1, luma.clamp(min=0), 1)
    y, x = (
        (torch.arange(count, dtype=image.dtype, device=image.device) + 0.5) / count * (size - 1)
        for count, size in ((image.shape[1], size_y), (image.shape[2], size_x))
    )
    matrix = 0
    for index_z, weight_z in _neighbours(guide * (size_z - 1), size_z):
        for index_y, weight_y in _neighbours(y[:, None], size_y):
            for index_x, weight_x in _neighbours(x, size_x):
                matrix = matrix + grid[:, index_z, index_y, index_x] * (weight_z * weight_y * weight_x)
    matrix = matrix.view(3, 4, *image.shape[1:])
    return (matrix[:, :3] * image).sum(dim=1) + matrix[:, 3]


def _neighbours(position: Tensor, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The nodes on both sides of each position along one axis, and their weights; the second may not exist."""
    low = position.detach().floor().long().clamp(max=max(size - 2, 0))
    above = position - low
    return (low, 1 - above), ((low + 1).clamp(max=size - 1), above)
