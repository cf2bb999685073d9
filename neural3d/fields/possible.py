"""Which places a field of networks need not be asked about: what the photos show as empty."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.fields.guides import OccupancyGuide
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.fields.rays import Rays
from neural3d.fields.space import FieldRays
from neural3d.reference.march import grid_positions


@dataclass(frozen=True)
class PossibleCells:
    """Cells of a grid in which something can be; elsewhere density is 0, and nobody is asked."""

    place: HashGridPlace
    """The grid's box, in the field's coordinates."""
    possible: Bool[Tensor, "G G G"]
    """Indexed [z, y, x]."""

    def hold(self, places: Float[Tensor, "S 3"]) -> Bool[Tensor, "S"]:
        """Which places, in the field's coordinates, lie in such cells."""
        box = places.new_tensor([*self.place.center, self.place.half])
        cells = (grid_positions(places, box, contracted=False) * len(self.possible)).floor()
        inside = ((cells >= 0) & (cells < len(self.possible))).all(dim=1)
        x, y, z = torch.where(inside[:, None], cells, 0).long().unbind(1)
        return inside & self.possible[z, y, x]

    def meet(self, placed: FieldRays) -> Bool[Tensor, "R"]:
        """Which rays pass through such cells for at least a step, of about a pixel's length; the others see nothing.

        Limits: for coordinates that are the scene's moved and scaled.
        """
        rays = self.place.rays(Rays(placed.origins, placed.view_directions))
        steps = OccupancyGuide(self.possible, self.place.span).samples(rays, torch.zeros_like(placed.near))
        return steps.ray_offsets.diff() > 0
