"""A capture as the rest of the program sees it: pinhole cameras, photos, points, and the way back to its own frame."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor

from neural3d.cameras import Cameras


@dataclass(frozen=True)
class Similarity:
    """x_b = scale * rotation @ x_a + translation; a map between two right-handed frames."""

    scale: float
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    @staticmethod
    def identity() -> "Similarity":
        """The map that changes nothing."""
        return Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

    def inverse(self) -> "Similarity":
        """a_from_b of a b_from_a."""
        rotation = self.rotation.T.contiguous()
        return Similarity(1.0 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    def apply(self, points: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3"]:
        """Map points (computed in float64, returned in the dtype that came)."""
        mapped = self.scale * points.double() @ self.rotation.double().T + self.translation.double()
        return mapped.to(points.dtype)


@dataclass(frozen=True)
class World:
    """Where a capture stands in the world, in metres; kept beside the capture, whose files stay as they are."""

    metres_from_capture: Similarity
    """To metres with z up."""
    axes: str
    """For people: what x and y are."""
    origin: tuple[float, float, float]
    """What stands at zero: latitude and longitude in degrees with metres of altitude, or the coordinates in the file of
    control points."""
    source: str
    """For people: what it was found from."""
    median_m: float
    """Half of the positions that it was found from are met more closely than this."""
    scale_error: float
    """Standard error of the scale, relative."""

    @property
    def up_capture(self) -> Float[Tensor, "3"]:
        """The unit vector of the capture's frame that points up."""
        return self.metres_from_capture.rotation[2].clone()


@dataclass(frozen=True)
class Photo:
    """One image, held once, in display sRGB; `pixels` are not premultiplied."""

    name: str
    """Path relative to the capture's image folder, as the capture names it."""
    pixels: UInt8[Tensor, "H W 3"]
    alpha: UInt8[Tensor, "H W"] | None = None
    """Straight alpha of an RGBA capture."""
    valid: Bool[Tensor, "H W"] | None = None
    """False where there is nothing to learn from: outside the undistorted lens, or masked by the user."""
    light: Float16[Tensor, "H W 3"] | None = None
    """The photo in linear light, with the primaries of Rec.709, not premultiplied: 1 is a display's white, there may be
    more. `pixels` are what a display shows of it."""


@dataclass(frozen=True)
class Points:
    """A sparse point cloud in the scene frame."""

    means_world: Float[Tensor, "P 3"]
    colors: UInt8[Tensor, "P 3"]


@dataclass(frozen=True)
class Scene:
    """Cameras, photos and points in the scene frame.

    The scene frame is the capture's world moved and uniformly scaled (never rotated), so that the numbers suit float32;
    `capture_from_scene` leads back, and every export goes through it.
    """

    cameras: Cameras
    photos: tuple[Photo, ...]
    train_indices: Int[Tensor, "A"]
    test_indices: Int[Tensor, "B"]
    points: Points | None
    capture_from_scene: Similarity
    extent: float
    """Radius of the camera centres around their middle, robust against outliers; scene units, > 0."""
    up_world: Float[Tensor, "3"]
    """Unit vector that points up, from the file's convention or the cameras' mean up axis."""
    has_alpha: bool
    """The capture is RGBA: train on random backgrounds, evaluate on white unless told otherwise."""
    downscale: float
    warnings: tuple[str, ...] = ()
    """What was skipped or odd, one line each."""
    world: World | None = None
    """What leads from the capture's frame to metres, where that is known."""

    @property
    def is_linear(self) -> bool:
        """All photos hold linear light."""
        return all(photo.light is not None for photo in self.photos)
