"""Where neural points lie in the scene: in bounded or in contracted space."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.fields.hashgrid import HashGridPlace
from neural3d.ops.records import MarchRange
from neural3d.reference.march import grid_positions


@dataclass(frozen=True)
class PointsPlace(HashGridPlace):
    """Where neural points lie in the scene, and how rays are followed there: by steps, outside the box, too."""

    cone: float = 0.0
    """Steps are at least so many times the distance."""

    @property
    def span(self) -> MarchRange:
        """Steps in the field's frame."""
        far = math.inf if self.far is None else self.far / self.half
        return MarchRange(self.step, self.near / self.half, far, self.cone, self.contracted)

    def steps_at(self, places: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
        """Lengths of steps at places in the grid's unit cube, as seen from the box's centre; in the field's frame."""
        steps = torch.full_like(places[:, 0], self.step)
        if not self.contracted:
            return steps
        x, y, z = (4 * places - 2).unbind(1)
        length = (x * x + y * y + z * z).sqrt()
        distance = torch.where(length > 1, 1 / (2 - length).clamp(min=1e-3), length)
        return torch.maximum(steps, self.cone * distance)

    def grid_places(self, positions: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        """Points of the scene in the grid's unit cube; beyond it where the box ends."""
        box = positions.new_tensor([*self.center, self.half])
        return grid_positions(positions, box, contracted=self.contracted).contiguous()
