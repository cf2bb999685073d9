"""The model: N anisotropic 3D Gaussians with view-dependent colour."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

SH_C0 = 0.28209479177387814
"""The harmonic of degree 0: colour is 0.5 + SH_C0 * sh[0] plus what depends on the direction."""


@dataclass(frozen=True)
class Gaussians:
    """N Gaussians in the scene frame; a parameter's name carries its map.

    Colour seen from unit direction d is max(0, 0.5 + sum_k sh[k] * Y_k(d)) in display sRGB, with the real spherical
    harmonics of the INRIA layout (Condon-Shortley signs).

    Source: Kerbl et al. 2023, 3D Gaussian Splatting, sections 4-5.
    """

    means_world: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quats_wxyz: Float[Tensor, "N 4"]
    """Need not be normalised."""
    logit_opacities: Float[Tensor, "N"]
    sh: Float[Tensor, "N K 3"]
    """K = (degree + 1)^2 coefficients, DC first."""
    antialiased: bool = False
    """Trained with mip-style opacity compensation; travels with every file."""
    linear: bool = False
    """Trained on linear light: colours, which are display sRGB here as well, are decoded before they are blended."""

    def __len__(self) -> int:
        return self.means_world.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the stored harmonics, 0 to 3."""
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.means_world.device

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name, in declaration order."""
        return {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}

    def map(self, function) -> "Gaussians":
        """Apply a function to each parameter tensor."""
        return replace(self, **{name: function(tensor) for name, tensor in self.tensors().items()})

    def __getitem__(self, index: Tensor | slice) -> "Gaussians":
        return self.map(lambda tensor: tensor[index])

    def detach(self) -> "Gaussians":
        """The same values without history (memory is shared)."""
        return self.map(Tensor.detach)

    def to(self, device: torch.device | str) -> "Gaussians":
        """The same values on a device (memory is shared where they lie there already)."""
        return self.map(lambda tensor: tensor.to(device))

    def clone(self) -> "Gaussians":
        """A copy that later steps cannot change."""
        return self.map(lambda tensor: tensor.detach().clone())


def cat_gaussians(parts: list[Gaussians]) -> Gaussians:
    """Join along N."""
    names = parts[0].tensors()
    return replace(parts[0], **{name: torch.cat([p.tensors()[name] for p in parts]) for name in names})
