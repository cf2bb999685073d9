"""Where a field lives: from rays in the scene to coordinates near [-1, 1] and the stretch of each ray that matters."""

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neural3d.fields.rays import Rays

SMALLEST_TURN = 1e-3
"""Cosine of ray and axis below which a ray never reaches the far end of normalised device coordinates."""


@dataclass(frozen=True)
class FieldRays:
    """R rays in a field's own coordinates: x(t) = origin + t direction for t from `near` to `far`."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Of any length."""
    view_directions: Float[Tensor, "R 3"]
    """Of length one, in the scene's frame: what colour may depend on."""
    near: Float[Tensor, "R"]
    far: Float[Tensor, "R"]

    def __getitem__(self, rows: Int64[Tensor, "M"]) -> "FieldRays":
        """Some of them."""
        return FieldRays(*(tensor[rows] for tensor in vars(self).values()))

    def at(self, t: Float[Tensor, "R S"]) -> Float[Tensor, "R S 3"]:
        """Places on each ray."""
        return self.origins[:, None] + t[..., None] * self.directions[:, None]

    @property
    def length_per_t(self) -> Float[Tensor, "R 1"]:
        """Densities count by length in the field's coordinates."""
        x, y, z = self.directions.unbind(1)
        return (x * x + y * y + z * z).sqrt()[:, None]


@runtime_checkable
class Space(Protocol):
    """A map from the scene's frame to a field's coordinates."""

    is_closed: bool
    """Behind a ray's end there is nothing; else its last sample is all that lies behind."""

    def place(self, rays: Rays) -> FieldRays:
        """The same rays in the field's coordinates."""

    def parameters(self, unit: Float[Tensor, "R S"], placed: FieldRays) -> Float[Tensor, "R S"]:
        """Ray parameters t of places in [0, 1] between near and far."""

    def distances(self, t: Float[Tensor, "R"], rays: Rays) -> Float[Tensor, "R"]:
        """Distances along the rays of the scene, scene units, of ray parameters."""

    def from_scene(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3"]:
        """Points in the field's coordinates."""

    def scale_at(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Lengths in the field's coordinates per scene unit, at points of the scene."""


@dataclass(frozen=True)
class Ball:
    """All that is looked at lies in a ball of the scene, as an object that cameras stand around."""

    center: tuple[float, float, float]
    radius: float
    is_closed: bool = True

    def place(self, rays: Rays) -> FieldRays:
        """From where the ray enters the ball to where it leaves it; rays that miss it get no length."""
        origins = (rays.origins - rays.origins.new_tensor(self.center)) / self.radius
        directions = rays.directions / self.radius
        x, y, z = (origins * rays.directions).unbind(1)
        middle = -(x + y + z)
        x, y, z = (origins + middle[:, None] * rays.directions).unbind(1)
        half = (1 - (x * x + y * y + z * z)).clamp(min=0).sqrt()
        near, far = ((middle - half) * self.radius).clamp(min=0), ((middle + half) * self.radius).clamp(min=0)
        return FieldRays(origins, directions, rays.directions, near, far)

    def parameters(self, unit: Float[Tensor, "R S"], placed: FieldRays) -> Float[Tensor, "R S"]:
        """Evenly by distance."""
        return placed.near[:, None] + unit * (placed.far - placed.near)[:, None]

    def distances(self, t: Float[Tensor, "R"], rays: Rays) -> Float[Tensor, "R"]:
        """Ray parameters are distances."""
        return t

    def from_scene(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3"]:
        """Moved and scaled."""
        return (positions - positions.new_tensor(self.center)) / self.radius

    def scale_at(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """The same everywhere."""
        return torch.full_like(positions[:, 0], 1 / self.radius)


@dataclass(frozen=True)
class Shell(Ball):
    """All that is looked at lies between two distances from the cameras, as a place that they stand in.

    Samples are even in disparity where the far end lies many times as far as the near one.
    """

    near: float = 0.0
    far: float = 1.0
    is_closed: bool = False

    def place(self, rays: Rays) -> FieldRays:
        """From one distance to the other."""
        ball = rays.origins.new_tensor(self.center)
        near, far = (torch.full_like(rays.origins[:, 0], end) for end in (self.near, self.far))
        return FieldRays((rays.origins - ball) / self.radius, rays.directions / self.radius, rays.directions, near, far)

    def parameters(self, unit: Float[Tensor, "R S"], placed: FieldRays) -> Float[Tensor, "R S"]:
        """Evenly by 1 / distance."""
        return 1 / ((1 - unit) / self.near + unit / self.far)


@dataclass(frozen=True)
class Ndc:
    """Normalised device coordinates of one pyramid that all cameras look along: infinity becomes a plane.

    Limits: every ray must turn less than 90 degrees from the axis.

    Source: Mildenhall et al. 2020, appendix C, with the camera looking along +z.
    """

    ndc_from_world: tuple[tuple[float, ...], ...]
    """Rows of a rotation (the axis is the third) and, as fourth column, of the translation that follows it."""
    slopes: tuple[float, float]
    """Half width and half height of the pyramid at distance one."""
    near: float
    """Distance of the near plane from the common origin, scene units."""
    is_closed: bool = False

    def place(self, rays: Rays) -> FieldRays:
        """Equations 25 and 26: origins moved to the near plane, t' from 0 there to 1 at infinity."""
        origins, directions = self._turned(rays.origins, True), self._turned(rays.directions, False)
        along = directions[:, 2:].clamp(min=SMALLEST_TURN)
        origins = origins + (self.near - origins[:, 2:]) / along * directions
        slopes = origins.new_tensor(self.slopes)
        sideways = origins[:, :2] / origins[:, 2:]
        start = torch.cat([sideways / slopes, 1 - 2 * self.near / origins[:, 2:]], dim=1)
        turn = (directions[:, :2] / along - sideways) / slopes
        step = torch.cat([turn, 2 * self.near / origins[:, 2:]], dim=1)
        nothing = torch.zeros_like(start[:, 0])
        return FieldRays(start, step, rays.directions, nothing, nothing + 1)

    def parameters(self, unit: Float[Tensor, "R S"], placed: FieldRays) -> Float[Tensor, "R S"]:
        """Evenly in t', which is linear in disparity."""
        return unit

    def distances(self, t: Float[Tensor, "R"], rays: Rays) -> Float[Tensor, "R"]:
        """Equation 21 the other way round: z = near / (1 - t')."""
        origins, directions = self._turned(rays.origins, True), self._turned(rays.directions, False)
        z = self.near / (1 - t).clamp(min=1e-6)
        return (z - origins[:, 2]) / directions[:, 2].clamp(min=SMALLEST_TURN)

    def from_scene(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3"]:
        """Equation 8: the perspective projection, with the far plane at infinity."""
        x, y, z = self._turned(positions, True).unbind(1)
        z = z.clamp(min=self.near)
        return torch.stack([x / z / self.slopes[0], y / z / self.slopes[1], 1 - 2 * self.near / z], dim=1)

    def scale_at(self, positions: Float[Tensor, "S 3"]) -> Float[Tensor, "S"]:
        """Along the axis: the derivative of 1 - 2 near / z."""
        z = self._turned(positions, True)[:, 2].clamp(min=self.near)
        return 2 * self.near / (z * z)

    def _turned(self, vectors: Float[Tensor, "R 3"], with_translation: bool) -> Float[Tensor, "R 3"]:
        rows = vectors.new_tensor(self.ndc_from_world)
        x, y, z = (vectors[:, None, :] * rows[None, :, :3]).unbind(2)
        return x + y + z + with_translation * rows[:, 3]


KINDS = {"ball": Ball, "shell": Shell, "ndc": Ndc}


def space_to_json(space: Space) -> dict[str, Any]:
    """For a checkpoint."""
    kind = next(name for name, known in KINDS.items() if type(space) is known)
    return {"kind": kind, **asdict(space)}


def space_from_json(content: dict[str, Any]) -> Space:
    """The inverse of `space_to_json`."""
    values = {name: _frozen(value) for name, value in content.items() if name != "kind"}
    return KINDS[content["kind"]](**values)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
