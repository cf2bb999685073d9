"""Colour differences between photos that are not the scene's: learnt beside it, left out of every render."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.ops.adam import adam_step


@dataclass(frozen=True)
class AffineExposure:
    """A 3x4 affine colour map for each of A training photos; steps change it in place.

    The scene's own colours are those of the mean photo: after every step the maps are recentred so that their mean is
    the identity. Source: Kerbl et al., the exposure compensation of the INRIA code since 2024.
    """

    matrices: Float[Tensor, "A 12"]
    first_moments: Float[Tensor, "A 12"]
    second_moments: Float[Tensor, "A 12"]

    @staticmethod
    def identity(num_photos: int) -> "AffineExposure":
        """Maps that change nothing."""
        matrices = torch.eye(3, 4).flatten().repeat(num_photos, 1)
        return AffineExposure(matrices, torch.zeros_like(matrices), torch.zeros_like(matrices))

    def matrix(self, photo: int) -> Float[Tensor, "3 4"]:
        """One photo's map, shared with the record."""
        return self.matrices[photo].view(3, 4)

    def update(self, photo: int, gradient: Float[Tensor, "3 4"], *, rate: float, times_seen: int) -> None:
        """One step of Adam for one photo's map, and a recentring of all."""
        row = slice(photo, photo + 1)
        adam_step(
            self.matrices[row],
            gradient.view(1, 12),
            self.first_moments[row],
            self.second_moments[row],
            torch.full((12,), rate),
            step=times_seen,
        )
        identity = torch.eye(3, 4).flatten()
        # A sum of A rows of 12: small enough that torch adds it in one thread, always in the same order.
        self.matrices.sub_((self.matrices.sum(dim=0) / len(self.matrices) - identity) * 0.02)

    def tensors(self) -> dict[str, Tensor]:
        """Its memory, for a checkpoint."""
        return {
            "exposure.matrices": self.matrices,
            "exposure.first_moments": self.first_moments,
            "exposure.second_moments": self.second_moments,
        }
