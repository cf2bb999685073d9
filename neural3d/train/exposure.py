"""Colour differences between photos that are not the scene's: learnt beside it, left out of every render."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.ops.adam import adam_step
from neural3d.ops.library import native
from neural3d.srgb import decode_srgb, encode_srgb

GRID_NODES = (8, 16, 16)
"""Along luma, y and x, as in the paper's code."""
DIFFERENCE_RATE = 0.1
"""Of a node's own numbers, as a share of the rate of what all nodes of a grid have in common."""
SMOOTHNESS = 100.0
"""Weight of a grid's total variation in the loss; ten times that of the paper's code, because runs here are short: with
less, noise that Adam puts into the nodes costs held-out views more than the grid gains."""


@runtime_checkable
class ColorMap(Protocol):
    """One photo's colours from the scene's."""

    def apply(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
        """The render as the photo would show it."""

    def vjp(self, image: Float[Tensor, "3 H W"], gradient: Float[Tensor, "3 H W"]) -> tuple[Tensor, Tensor]:
        """Gradients of the render and of the map's own parameters."""


@runtime_checkable
class Exposure(Protocol):
    """The colour maps of A training photos."""

    def color_map(self, photo: int) -> ColorMap:
        """One photo's map, its numbers shared with the record."""

    def update(self, photo: int, gradient: Tensor, *, rate: float, step: int) -> None:
        """Learn from step number `step` (from 1), and keep the mean map near the identity; in place."""

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""


@dataclass(frozen=True)
class AffineMap:
    """The same matrix at every pixel."""

    matrix: Float[Tensor, "3 4"]

    def apply(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
        """matrix[:, :3] @ color + matrix[:, 3]."""
        return native().color_affine(image, self.matrix)

    def vjp(self, image: Float[Tensor, "3 H W"], gradient: Float[Tensor, "3 H W"]) -> tuple[Tensor, Tensor]:
        """Gradients of image and matrix."""
        return native().color_affine_vjp(image, self.matrix, gradient)


@dataclass(frozen=True)
class GridMap:
    """A matrix that depends on the place in the picture and on the colour's luma."""

    grid: Float[Tensor, "12 Z Y X"]

    def apply(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "3 H W"]:
        """Each pixel's own matrix applied to its colour."""
        return native().bilateral_slice(image, self.grid)

    def vjp(self, image: Float[Tensor, "3 H W"], gradient: Float[Tensor, "3 H W"]) -> tuple[Tensor, Tensor]:
        """Gradients of image and grid."""
        return native().bilateral_slice_vjp(image, self.grid, gradient)


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
    def identity(num_photos: int, device: torch.device = torch.device("cpu")) -> "AffineExposure":
        """Maps that change nothing."""
        matrices = torch.eye(3, 4, device=device).flatten().repeat(num_photos, 1)
        return AffineExposure(matrices, torch.zeros_like(matrices), torch.zeros_like(matrices))

    def color_map(self, photo: int) -> AffineMap:
        """One photo's map, shared with the record."""
        return AffineMap(self.matrices[photo].view(3, 4))

    def update(self, photo: int, gradient: Float[Tensor, "3 4"], *, rate: float, step: int) -> None:
        """One step of Adam for one photo's map, and a recentring of all."""
        _adam_for_photo(self.matrices, gradient, self.first_moments, self.second_moments, photo, rate, step)
        self._recentre()

    def update_all(self, gradients: Float[Tensor, "A 12"], *, rate: float, step: int) -> None:
        """As `update`, for a step that looked at all photos."""
        rates = torch.full((12,), rate, device=self.matrices.device)
        adam_step(self.matrices, gradients, self.first_moments, self.second_moments, rates, step=step)
        self._recentre()

    def tensors(self) -> dict[str, Tensor]:
        """Its memory, for a checkpoint."""
        return {
            "exposure.matrices": self.matrices,
            "exposure.first_moments": self.first_moments,
            "exposure.second_moments": self.second_moments,
        }

    def _recentre(self) -> None:
        # A sum of A rows of 12: small enough that torch adds it in one thread, always in the same order.
        drift = self.matrices.sum(dim=0) / len(self.matrices)
        drift[::5] -= 1  # the identity's diagonal
        self.matrices.sub_(drift * 0.02)


@dataclass(frozen=True)
class BilateralExposure:
    """A bilateral grid of affine colour maps for each of A training photos; steps change it in place.

    For photos whose colours differ in more than one map can say: vignettes, local tone mapping, light that changed in
    a part of the scene. A photo's grid is one map for all nodes, which learns as `AffineExposure` does, plus what each
    node differs from it: Adam takes every number by itself, and would find what all nodes share only slowly. The
    scene's own colours are those of the mean photo: whenever all photos have had their turn, the differences are
    recentred so that their mean is zero.

    Source: Wang et al. 2024, Bilateral Guided Radiance Field Processing.
    Limits: 288 KiB a photo, with what Adam remembers.
    """

    shared: AffineExposure
    differences: Float[Tensor, "A 12 Z Y X"]
    first_moments: Float[Tensor, "A 12 Z Y X"]
    second_moments: Float[Tensor, "A 12 Z Y X"]

    @staticmethod
    def identity(num_photos: int, device: torch.device = torch.device("cpu")) -> "BilateralExposure":
        """Grids that change nothing."""
        nothing = [torch.zeros(num_photos, 12, *GRID_NODES, device=device) for _ in range(3)]
        return BilateralExposure(AffineExposure.identity(num_photos, device), *nothing)

    def color_map(self, photo: int) -> GridMap:
        """One photo's grid."""
        return GridMap(self.differences[photo] + self.shared.matrices[photo].view(12, 1, 1, 1))

    def update(self, photo: int, gradient: Float[Tensor, "12 Z Y X"], *, rate: float, step: int) -> None:
        """One step of Adam for one photo's grid, pulled to smoothness too, and now and then a recentring of all."""
        # 12 sums over 2048 numbers: few enough that torch adds them in one thread, always in the same order.
        self.shared.update(photo, gradient.sum(dim=(1, 2, 3)).view(3, 4), rate=rate, step=step)
        pull = gradient + SMOOTHNESS * total_variation_gradient(self.differences[photo])
        state = (self.differences, pull, self.first_moments, self.second_moments)
        _adam_for_photo(*state, photo, DIFFERENCE_RATE * rate, step)
        if step % len(self.differences) == 0:
            self._recentre()

    def tensors(self) -> dict[str, Tensor]:
        """Its memory, for a checkpoint."""
        return {
            "exposure.differences": self.differences,
            "exposure.difference_first_moments": self.first_moments,
            "exposure.difference_second_moments": self.second_moments,
            **self.shared.tensors(),
        }

    def _recentre(self) -> None:
        total = torch.zeros_like(self.differences[0])
        for grid in self.differences:  # one after another: torch's sum over many numbers depends on the threads
            total += grid
        self.differences.sub_(total / len(self.differences))


def fresh_exposure(
    kind: Literal["none", "affine", "bilateral"], num_photos: int, device: torch.device = torch.device("cpu")
) -> Exposure | None:
    """Maps that change nothing yet; None where none are to be learnt."""
    kinds = {"affine": AffineExposure, "bilateral": BilateralExposure}
    return None if kind == "none" else kinds[kind].identity(num_photos, device)


def exposure_from_tensors(
    kind: Literal["none", "affine", "bilateral"], tensors: Mapping[str, Tensor]
) -> Exposure | None:
    """The inverse of `tensors()`, out of a whole checkpoint.

    Raises:
        InputError: The checkpoint's run learnt exposure in another way.
    """
    if kind == "none":
        return None
    has_grids, has_matrices = "exposure.differences" in tensors, "exposure.matrices" in tensors
    trained = "bilateral" if has_grids else "affine" if has_matrices else "none"
    if trained != kind:
        raise InputError(f"--exposure {kind}: the run to resume was trained otherwise; use --exposure {trained}")
    shared = AffineExposure(*(tensors[f"exposure.{name}"] for name in ("matrices", "first_moments", "second_moments")))
    if kind == "affine":
        return shared
    names = ("differences", "difference_first_moments", "difference_second_moments")
    return BilateralExposure(shared, *(tensors[f"exposure.{name}"] for name in names))


def total_variation_gradient(grid: Float[Tensor, "C Z Y X"]) -> Float[Tensor, "C Z Y X"]:
    """Of the squared differences between neighbours, the mean along each axis, added up over the three axes."""
    gradient = torch.zeros_like(grid)
    for axis in (1, 2, 3):
        differences = grid.diff(dim=axis)
        differences *= 2 / max(differences.numel(), 1)
        gradient.narrow(axis, 1, grid.shape[axis] - 1).add_(differences)
        gradient.narrow(axis, 0, grid.shape[axis] - 1).sub_(differences)
    return gradient


def _adam_for_photo(
    parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, photo: int, rate: float, step: int
) -> None:
    """A photo's turn comes once in as many steps as there are photos, and Adam counts those."""
    row = slice(photo, photo + 1)
    mine = [tensor.view(1, -1) for tensor in (parameters[row], gradient, first[row], second[row])]
    rates = torch.full((mine[0].shape[1],), rate, device=parameters.device)
    adam_step(*mine, rates, step=1 + (step - 1) // len(parameters))


def exposure_removal(
    kind: Literal["none", "affine", "bilateral"], tensors: Mapping[str, Tensor], *, linear: bool = False
) -> Callable[[int], Callable[[Tensor, Tensor], Tensor] | None]:
    """Of a checkpoint: by a training photo's number, what takes its exposure out (`without_exposure`), if it has any.

    Photos and renders are of display colours, the maps, where the run is `linear`, of light.

    Raises:
        InputError: The checkpoint's run learnt exposure in another way.
    """
    exposure = exposure_from_tensors(kind, tensors)
    removal = _without_exposure_of_light if linear else without_exposure
    return lambda photo: None if exposure is None else partial(removal, exposure.color_map(photo))


def without_exposure(
    color_map: ColorMap, photo: Float[Tensor, "3 H W"], render: Float[Tensor, "3 H W"]
) -> Float[Tensor, "3 H W"]:
    """A photo in the scene's own colours.

    An affine map is inverted. A bilateral one depends on the scene's colours, so that what the photo differs from the
    mapped render is added to the render itself.
    """
    if isinstance(color_map, AffineMap):
        matrix = color_map.matrix
        return torch.linalg.solve(matrix[:, :3], (photo - matrix[:, 3, None, None]).flatten(1)).view_as(photo)
    return render + photo - color_map.apply(render.contiguous())


def _without_exposure_of_light(
    color_map: ColorMap, photo: Float[Tensor, "3 H W"], render: Float[Tensor, "3 H W"]
) -> Float[Tensor, "3 H W"]:
    """Light may not be below 0, and what a map adds may be more than a dark pixel holds."""
    return encode_srgb(without_exposure(color_map, decode_srgb(photo), decode_srgb(render)).clamp(min=0))
