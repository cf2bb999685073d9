"""Rays' colours as their photos would show them, and what rays pull on what belongs to a photo."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def photo_colors_of(colors: Float[Tensor, "R 3"], maps: Float[Tensor, "R 12"]) -> Float[Tensor, "R 3"]:
    """Each ray's colour through its photo's affine map, the rows of a 3x4 matrix one after the other."""
    x, y, z = colors.unbind(1)
    a = maps.unbind(1)
    return torch.stack([a[4 * i] * x + a[4 * i + 1] * y + a[4 * i + 2] * z + a[4 * i + 3] for i in range(3)], dim=1)


def photo_colors_vjp(
    colors: Float[Tensor, "R 3"], maps: Float[Tensor, "R 12"], pull: Float[Tensor, "R 3"]
) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 12"]]:
    """Gradients by colours and by each ray's map."""
    x, y, z = pull.unbind(1)
    a = maps.unbind(1)
    to_colors = torch.stack([a[i] * x + a[4 + i] * y + a[8 + i] * z for i in range(3)], dim=1)
    extended = torch.cat([colors, torch.ones_like(colors[:, :1])], dim=1)
    return to_colors, (pull[:, :, None] * extended[:, None, :]).flatten(1)


def photo_sums(rows: Float[Tensor, "R K"], views: Int64[Tensor, "R"], photos: int) -> Float[Tensor, "V K"]:
    """The sum of every photo's rows, in their order: torch adds with several threads in any, but for `bincount`."""
    columns = [torch.bincount(views, column.double(), photos) for column in rows.unbind(1)]
    return torch.stack(columns, dim=1).to(rows.dtype) if columns else rows.new_zeros(photos, 0)
