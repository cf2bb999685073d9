"""The seam between fields and everything that looks at them or trains them."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from neural3d.fields.rays import Rays


@dataclass(frozen=True)
class Shaded:
    """What R rays see of a field."""

    colors: Float[Tensor, "R 3"]
    """Display sRGB, times alpha: the background is not in it."""
    alphas: Float[Tensor, "R"]
    """1 - transmittance."""
    distances: Float[Tensor, "R"]
    """Expected distance along the ray, sum of w t / sum of w, scene units; 0 where nothing is."""


@runtime_checkable
class RadianceField(Protocol):
    """A trained field; places and directions are in the scene's frame."""

    @property
    def num_parameters(self) -> int:
        """How many numbers were learnt."""

    def shade(self, rays: Rays) -> Shaded:
        """Look along rays, without gradients; the same bytes at any number of threads."""

    def densities(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Differential opacity, per scene unit, at points."""
