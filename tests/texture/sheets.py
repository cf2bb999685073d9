"""A bent sheet to paint on."""

import torch

from neural3d.surface.bake import Texture
from neural3d.surface.mesh import Mesh
from neural3d.surface.texels import texels_of
from neural3d.surface.unwrap import Unwrapped


def sheet(cells: int = 12) -> Mesh:
    """A gently bent square, 2 x 2, that faces up."""
    steps = torch.linspace(-1, 1, cells + 1)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, 0.1 * x * x], dim=-1).reshape(-1, 3)
    numbers = torch.arange((cells + 1) ** 2).view(cells + 1, cells + 1)
    a, b, c, d = (part.reshape(-1) for part in (numbers[:-1, :-1], numbers[1:, :-1], numbers[1:, 1:], numbers[:-1, 1:]))
    triangles = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    return Mesh(vertices, triangles, torch.full_like(vertices, 0.5))


def atlas_texture(flat: Unwrapped, side_px: int) -> Texture:
    """Black, and all of it seen."""
    covered = texels_of(flat, side_px).covered
    return Texture(torch.zeros(side_px, side_px, 3), covered, covered)
