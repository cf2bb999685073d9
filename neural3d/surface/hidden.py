"""Space that views saw to be empty, and space that hides behind what they show.

Source: Curless and Levoy 1996, A Volumetric Method for Building Complex Models from Range Images, section 4.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from neural3d.surface.bake import sampled, seen_at
from neural3d.surface.depth_views import DepthView

_OFF = 0.015
"""Of the distance: how far before a view's depth a place must lie to be seen through."""
_LEAST_HIDING = 3
"""Views: what fewer hide may as well lie where hardly any looked."""


@dataclass(frozen=True)
class Hidden:
    """The cells of a box."""

    low: Float[Tensor, "3"]
    """The corner where the first cell begins."""
    cell: float
    """Edge of a cell."""
    empty: Bool[Tensor, "X Y Z"]
    """Some view saw through them."""
    solid: Bool[Tensor, "X Y Z"]
    """Several views hide them, and none saw through them.

    What lies in no view's frame is neither: else the frames' own borders would become a surface.
    """

    def border(self) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 3"]]:
        """Where empty cells meet solid ones; normals point to the empty."""
        balance = functional.pad((self.empty.float() - self.solid.float())[None, None], 6 * [2], mode="replicate")
        soft = functional.avg_pool3d(functional.avg_pool3d(balance, 3, 1), 3, 1)[0, 0]
        normals = torch.stack(torch.gradient(soft), dim=-1)
        touches_empty = functional.max_pool3d(self.empty[None, None].float(), 3, 1, padding=1)[0, 0] > 0
        border = self.solid & touches_empty & (normals.norm(dim=-1) > 1e-6)
        centers = self.low + self.cell * (border.nonzero() + 0.5)
        return centers, functional.normalize(normals[border], dim=-1)

    def is_seen_through(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """Whether points lie in empty cells between empty cells, so by more than what a cell is off."""
        around = functional.pad(self.empty[None, None].float(), 6 * [1], mode="replicate")
        inner = -functional.max_pool3d(-around, 3, 1)[0, 0] > 0
        sizes = torch.tensor(inner.shape)
        x, y, z = ((points - self.low) / self.cell).floor().long().clamp_min(0).minimum(sizes - 1).unbind(1)
        return inner[x, y, z]


def looked_over(low: Float[Tensor, "3"], high: Float[Tensor, "3"], cell: float, views: Iterable[DepthView]) -> Hidden:
    """What views say of the cells between two corners."""
    counts = ((high - low) / cell).ceil().long()
    axes = [low[i] + cell * (torch.arange(int(counts[i])) + 0.5) for i in range(3)]
    centers = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)
    empty, left = torch.zeros(len(centers), dtype=torch.bool), torch.arange(len(centers))
    hiding = torch.zeros(len(centers), dtype=torch.int16)
    for view in views:
        through, hidden = looked_at(centers[left], view)
        hiding[left] += hidden
        empty[left[through]] = True
        left = left[~through]
    solid = ~empty & (hiding >= _LEAST_HIDING)
    shape = tuple(counts.tolist())
    return Hidden(low, cell, empty.view(shape), solid.view(shape))


def looked_at(points: Float[Tensor, "N 3"], view: DepthView) -> tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]]:
    """Whether a view sees something behind each point, or nothing at all where it lies; and whether it hides the point.

    Neither is true of what lies outside its frame, or where its depth is not sure.
    """
    pixels, depth = seen_at(view, points)
    framed = ((pixels >= 0.5) & (pixels <= view.camera.size_px[0] - 0.5)).all(dim=1) & (depth > 1e-6)
    nothing = torch.zeros_like(view.depths) if view.empty is None else view.empty.float()
    shown = sampled(torch.cat([view.depths, (view.depths > 0).float(), nothing], dim=-1), pixels[framed])
    sure, behind = shown[:, 1] > 0.99, shown[:, 0] > (1 + _OFF) * depth[framed]
    through, hidden = torch.zeros_like(framed), torch.zeros_like(framed)
    through[framed] = (sure & behind) | (shown[:, 2] > 0.99)
    hidden[framed] = sure & ~behind
    return through, hidden
