"""What a renderer returns, and the seam between models and everything that looks at them."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras


@dataclass(frozen=True)
class Rendering:
    """Images of V views of one size."""

    colors: Float[Tensor, "V H W 3"]
    """Display sRGB, background already blended in; may leave [0, 1]."""
    alphas: Float[Tensor, "V H W 1"]
    """1 - transmittance."""
    depths: Float[Tensor, "V H W 1"] | None = None
    """Expected z-depth of the blended Gaussians in scene units (sum of w z / sum of w), 0 where nothing is."""


RenderFn = Callable[[Cameras], Rendering]
