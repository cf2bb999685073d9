"""A surface with its picture, as it is being completed."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from neural3d.errors import InputError
from neural3d.surface.bake import Texture
from neural3d.surface.texels import RayCaster, Texels, texels_of
from neural3d.surface.unwrap import Unwrapped


@dataclass(frozen=True)
class Atlas:
    """N texels on a surface: where they lie, their colours, and which of these are known."""

    surface: Unwrapped
    texels: Texels
    colors: Float[Tensor, "N 3"]
    """Display sRGB."""
    known: Bool[Tensor, "N"]
    caster: RayCaster
    spacing: float
    """About how far neighbouring texels are apart, in the units of the surface."""

    @property
    def side_px(self) -> int:
        """Of the picture."""
        return self.texels.covered.shape[0]

    def with_colors(self, colors: Float[Tensor, "N 3"], known: Bool[Tensor, "N"]) -> "Atlas":
        """The same surface, painted otherwise."""
        return replace(self, colors=colors, known=known)

    def picture(self) -> Float[Tensor, "S S 3"]:
        """The texture."""
        return self.laid_out(self.colors)

    def laid_out(self, values: Tensor) -> Tensor:
        """Values of the texels in the picture's rows and columns, 0 beside the surface."""
        picture = values.new_zeros(*self.texels.covered.shape, *values.shape[1:])
        picture[self.texels.covered] = values
        return picture

    def numbers_at(self, uvs: Float[Tensor, "R 2"]) -> Int64[Tensor, "R"]:
        """Which texel lies at each place of the picture; -1 where that is none of the surface's."""
        numbers = self.laid_out(torch.arange(1, len(self.known) + 1)) - 1
        columns = (uvs[:, 0] * self.side_px).long().clamp(0, self.side_px - 1)
        rows = ((1 - uvs[:, 1]) * self.side_px).long().clamp(0, self.side_px - 1)
        return numbers[rows, columns]

    def texture(self, texture: Texture) -> Texture:
        """As a texture, with what cameras saw of it as before."""
        return replace(texture, colors=self.picture())


def atlas_of(surface: Unwrapped, texture: Texture) -> Atlas:
    """An atlas in which what cameras saw is known.

    Raises: InputError where open3d is not installed, or where the texture's colours are not finite.
    """
    texels = texels_of(surface, texture.colors.shape[0])
    colors, known = texture.colors[texture.covered], texture.seen[texture.covered]
    if not bool(colors[known].isfinite().all()):
        raise InputError("the texture has colours that are not finite; train the run again")
    return Atlas(
        surface,
        texels,
        torch.where(known[:, None], colors, texels.colors),
        known,
        RayCaster(surface.mesh),
        texels.spacing,
    )
