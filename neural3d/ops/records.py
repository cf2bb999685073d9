"""What travels between the operators: Gaussians seen by one camera and their tiles; the samples of rays, and sizes."""

import math
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

TILE_PX = 16
"""Side of a tile in pixels."""


@dataclass(frozen=True)
class Projected:
    """N Gaussians as one camera sees them; a row that is culled is zero in every field.

    The ellipse on the image is {p : (p - mean)^T [[a, b], [b, c]] (p - mean) = const} for a conic (a, b, c).
    """

    means_px: Float[Tensor, "N 2"]
    """x right, y down; the top-left pixel is centred at (0.5, 0.5)."""
    conics: Float[Tensor, "N 3"]
    """(a, b, c) of the inverse of the blurred image covariance, 1 / px^2."""
    opacities: Float[Tensor, "N"]
    """In (alpha_min, 1]; compensated for the blur when the model is antialiased."""
    depths: Float[Tensor, "N"]
    """z in the camera's frame, scene units."""
    extents_px: Float[Tensor, "N 2"]
    """Half width and half height of the box around {alpha >= alpha_min}; > 0 just where the Gaussian is visible.

    Carries no gradient.
    """


@dataclass(frozen=True)
class TileBins:
    """Which Gaussians meet which tile: T tiles of 16 x 16 px in row-major order, I intersections.

    Lists that were made within a capacity (`bin_gaussians_within`) are that long, and -1 where no pair is.

    Each Gaussian owns one slot for each tile that it meets, in row-major order of the tiles, so that per-intersection
    results can be summed per Gaussian in one fixed order.
    """

    tile_offsets: Int32[Tensor, "T_plus_1"]
    """Tile t owns the intersections tile_offsets[t] to tile_offsets[t + 1]."""
    gaussian_from_intersection: Int32[Tensor, "I"]
    """Within a tile by ascending (depth, index)."""
    slot_from_intersection: Int32[Tensor, "I"]
    """A permutation of 0 to I - 1 (of the pairs there are)."""
    slot_offsets: Int32[Tensor, "N_plus_1"]
    """Gaussian g owns the slots slot_offsets[g] to slot_offsets[g + 1]."""
    width: int
    """Of the image, in pixels."""
    height: int


@dataclass(frozen=True)
class HashLevels:
    """The levels of a hash grid over the unit cube: from `coarsest` to `finest` cells along an axis, geometrically.

    Source: Mueller et al. 2022, Instant Neural Graphics Primitives, eq. 2, 3.

    Raises:
        ValueError: A number is out of its range.
    """

    count: int
    """1 to 32."""
    coarsest: int
    """Cells along each axis in the first level."""
    finest: int
    """Cells along each axis in the last level; at most 2^20."""
    log2_rows: int
    """Of the table, for each level at most; 1 to 30."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not 1 <= self.count <= 32:
            raise ValueError(f"count: expected 1 to 32 levels, got {self.count}")
        if not 1 <= self.coarsest <= self.finest <= 1 << 20:
            raise ValueError(f"coarsest, finest: expected 1 <= coarsest <= finest <= 2^20, got {self.numbers[1:3]}")
        if not 1 <= self.log2_rows <= 30:
            raise ValueError(f"log2_rows: expected 1 to 30, got {self.log2_rows}")

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """As the native operators take them."""
        return self.count, self.coarsest, self.finest, self.log2_rows

    @property
    def cells(self) -> tuple[int, ...]:
        """Along each axis, by level; the small term keeps `finest` from being missed by a rounding error."""
        growth = math.log(self.finest / self.coarsest) / max(self.count - 1, 1)
        return tuple(math.floor(self.coarsest * math.exp(growth * level) + 1e-6) for level in range(self.count))

    @property
    def rows_per_level(self) -> tuple[int, ...]:
        """One for each corner where they fit, else 2^log2_rows."""
        return tuple(min((cells + 1) ** 3, 1 << self.log2_rows) for cells in self.cells)

    @property
    def first_rows(self) -> tuple[int, ...]:
        """Where each level begins in the table."""
        return tuple(accumulate(self.rows_per_level[:-1], initial=0))

    @property
    def rows(self) -> int:
        """Of the whole table."""
        return sum(self.rows_per_level)


@dataclass(frozen=True)
class MarchRange:
    """How rays are walked along; distances in scene units, for directions of unit length.

    Raises:
        ValueError: A number is out of its range.
    """

    step: float
    """The shortest step; greater than 0."""
    near: float = 0.0
    """Where rays begin."""
    far: float = math.inf
    """Where rays end at the latest."""
    cone: float = 0.0
    """Steps are at least so many times the distance."""
    contracted: bool = False
    """A scene without bounds, contracted into a ball; otherwise rays are followed only inside the box."""
    max_steps: int = 4096
    """Of a ray, through empty and occupied space; at most 2^20."""

    def __post_init__(self) -> None:
        """Refuse what would not end."""
        if not 0 < self.step < math.inf:
            raise ValueError(f"step: expected more than 0, got {self.step}")
        if not (0 <= self.near <= self.far and self.cone >= 0):
            raise ValueError(f"near, far, cone: expected 0 <= near <= far, 0 <= cone, got {self.numbers[1:5]}")
        if not 0 <= self.max_steps <= 1 << 20:
            raise ValueError(f"max_steps: expected 0 to 2^20, got {self.max_steps}")

    @property
    def numbers(self) -> tuple[bool, float, float, float, float, int]:
        """As the native operator takes them."""
        return self.contracted, self.near, self.far, self.step, self.cone, self.max_steps


@dataclass(frozen=True)
class RayScale:
    """A measure along rays, 0 at `near` and 1 at `far`: even in distance up to `knee`, in 1 / distance behind it.

    Raises:
        ValueError: A number is out of its range.

    Source: the piecewise warp of Tancik et al. 2023, Nerfstudio; Barron et al. 2022, Mip-NeRF 360, eq. 11 (disparity).
    """

    near: float
    knee: float
    """The distance at 1/2."""
    far: float

    def __post_init__(self) -> None:
        """Refuse what does not ascend."""
        if not 0 <= self.near < self.knee < self.far < math.inf:
            raise ValueError(f"near, knee, far: expected 0 <= near < knee < far, got {self.numbers}")

    @property
    def numbers(self) -> tuple[float, float, float]:
        """As the native operators take them."""
        return self.near, self.knee, self.far

    def distances(self, places: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
        """Of places in [0, 1]; only operations that round the same way everywhere."""
        nearer = self.near + 2 * (self.knee - self.near) * places
        farther = self.knee / (1 - (2 * places - 1).clamp(min=0) * (1 - self.knee / self.far))
        return torch.where(places <= 0.5, nearer, farther)


@dataclass(frozen=True)
class RaySamples:
    """S samples of R rays, packed: ray r owns samples ray_offsets[r] to ray_offsets[r + 1], by ascending distance."""

    positions: Float[Tensor, "S 3"]
    """In the grid's unit cube."""
    ts: Float[Tensor, "S"]
    """Distances of the intervals' middles along the rays, scene units."""
    deltas: Float[Tensor, "S"]
    """Lengths of the intervals, scene units."""
    ray_offsets: Int32[Tensor, "R_plus_1"]

    def part(self, rays: Int64[Tensor, "M"], first: int, count: int) -> "RaySamples":
        """Samples `first` to before `first + count` of some rays, as far as these have them."""
        begins = self.ray_offsets[rays] + first
        counts = (self.ray_offsets[rays + 1] - begins).clamp(0, count)
        offsets = torch.nn.functional.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
        total = int(offsets[-1])
        rows = (begins - offsets[:-1]).repeat_interleave(counts, output_size=total)
        rows = rows + torch.arange(total, dtype=torch.int32, device=rows.device)
        return RaySamples(self.positions[rows], self.ts[rows], self.deltas[rows], offsets)


@dataclass(frozen=True)
class RayViews:
    """What R rays see."""

    colors: Float[Tensor, "R 3"]
    """On black."""
    alphas: Float[Tensor, "R"]
    """1 - transmittance."""
    depths: Float[Tensor, "R"]
    """Weighted sum of distances, scene units: not divided by alpha."""
    distortions: Float[Tensor, "R"]
    """How far apart along the ray the light comes from, scene units."""


@dataclass(frozen=True)
class RadianceLayers:
    """Sizes of the dense layers that make densities and colours of features."""

    inputs: int
    """Features of a sample."""
    ray_inputs: int
    """Features of a ray."""
    width: int = 64
    """Units of a hidden layer."""
    geometry: int = 16
    """Outputs of the density's layers; the first is its logarithm, and all are inputs of the colour's."""

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of every layer, in the order of the weights."""
        width, mixed = self.width, self.geometry + self.ray_inputs
        return (width, self.inputs), (self.geometry, width), (width, mixed), (width, width), (3, width)

    @property
    def num_density_weights(self) -> int:
        """Of the first two layers."""
        return sum(outputs * inputs for outputs, inputs in self.shapes[:2])

    @property
    def num_weights(self) -> int:
        """Of all layers."""
        return sum(outputs * inputs for outputs, inputs in self.shapes)

    def split(self, weights: Float[Tensor, "W"]) -> list[Tensor]:
        """The flat weights as one matrix for each layer, views."""
        sizes = [outputs * inputs for outputs, inputs in self.shapes]
        return [part.view(shape) for part, shape in zip(weights.split(sizes), self.shapes, strict=True)]
