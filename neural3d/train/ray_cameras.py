"""Cameras that are learnt with a field: what its rays say about them, and the corrections that explain it best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.scene import Scene
from neural3d.train.camera_refinement import corrected, lens_numbers, pairwise_sum, similarities, with_kept
from neural3d.train.ray_colors import photo_sums

MOVED_FROM, MOVED_UNTIL = 0.2, 0.9
"""Fractions of the run between which cameras move: a field that shows little yet says nothing of where they are, and at
the end it gets sharp for cameras that keep still."""
FIRST_LEVELS, ALL_LEVELS_FROM = 3, 0.4
"""Levels of a hash grid that learn from the beginning, and the fraction of the run from which all do."""
WINDOW_RAYS = 1500.0
"""Of a photo, after which what they said of its camera counts for 1 / e: by then the field has followed."""
HASTE = 2.5
"""The part of the way to the best correction that a step goes, in parts of what is forgotten meanwhile."""
TRUST = 0.01
"""Part of a ray's information that is counted: neighbouring rays see the same mistakes of a field, and with more, these
turn and shift cameras in those directions of which photos say least."""
LIKELY_TURN_RAD, LIKELY_SHIFT_EXTENTS, LIKELY_LOG_FOCAL = 0.03, 0.03, 0.03
"""Standard deviations of what is wrong with cameras: what photos say little of stays near what was given."""
SMALLEST_VARIANCE = 1e-6
"""Of errors: less is rounding of the photos."""
_POSE, _NUMBERS, _NAMES = 6, 7, ("poses", "log_focals", "information", "pulls")


def learning_levels(count: int, fraction: float) -> int:
    """Of so many levels: the coarse ones at first, so that poses that are off pull the same way all around.

    Source: Lin et al. 2021, BARF, section 3.3, for waves of rising frequency; Heo et al. 2023, Robust Camera Pose
    Refinement for Multi-Resolution Hash Encoding, section 3.4, for levels of a hash grid.
    """
    return min(count, FIRST_LEVELS + int(max(count - FIRST_LEVELS, 0) * fraction / ALL_LEVELS_FROM))


def ray_rows(
    cameras: Cameras,
    views: Int64[Tensor, "R"],
    directions: Float[Tensor, "R 3"],
    on_origins: Float[Tensor, "R 3"],
    on_directions: Float[Tensor, "R 3"],
) -> Float[Tensor, "R 7"]:
    """How what rays see changes with their cameras, from how it changes with rays of unit directions, scene's frame.

    By a turn about the camera's own axes (radians), a shift of its centre (scene units, world axes), and the logarithm
    of its focal length. A turn by w moves a direction d by d x w, so it is pulled with g x d where g pulls on d. A
    longer focal length f draws the direction (a, b, c), in the camera's frame, to the optical axis: (x / f, y / f, 1)
    loses a share of its first two numbers, and stays of length one.
    """
    rotations = cameras.camera_from_world[views, :3, :3]
    turns = _turned(rotations, torch.linalg.cross(on_directions, directions))
    along, pull = _turned(rotations, directions), _turned(rotations, on_directions)
    (a, b, c), (ga, gb, gc) = along.unbind(1), pull.unbind(1)
    focals = (a * a + b * b) * (a * ga + b * gb + c * gc) - (a * ga + b * gb)
    return torch.cat([turns, on_origins, focals[:, None]], dim=1)


def _turned(rotations: Float[Tensor, "R 3 3"], vectors: Float[Tensor, "R 3"]) -> Float[Tensor, "R 3"]:
    """Products and two sums, written out: a batched matrix product may round otherwise for another number of rays."""
    x, y, z = (rotations * vectors[:, None, :]).unbind(2)
    return x + y + z


@dataclass(frozen=True)
class RayCameras:
    """Corrections for the cameras of A training photos with G lenses; steps change the tensors in place.

    Each step's rays say how their squared errors change with the cameras, to second order as Gauss and Newton have it.
    That is remembered for a while, and cameras go towards where all of it fits best. So a camera moves as far as its
    rays can tell. Steps of a set length, as Adam's, would be a random walk: a few dozen rays of a photo are mostly
    noise. The scene and its cameras could drift, turn and grow together without any photo noticing: what a step has of
    such a similarity is taken out of it.

    Source: Lin et al. 2021, BARF (poses learnt with the field); Triggs et al. 2000, Bundle Adjustment - A Modern
    Synthesis, sections 4.1 (Gauss-Newton), 6.1 (elimination) and 9 (gauge).
    Limits: a turn and a shift that move a picture alike are told apart by their parallax alone.
    """

    poses: Float[Tensor, "A 6"]
    """Rotation vectors in the camera's axes (radians), shifts of the centres in the world (scene units)."""
    log_focals: Float[Tensor, "G 1"]
    """Of the factor on the given focal lengths."""
    information: Float64[Tensor, "A 7 7"]
    """Remembered products of rays' rows, in parts of the errors' variance."""
    pulls: Float64[Tensor, "A 7"]
    """Remembered gradients, as they would be at the corrections as they are now, in the same."""
    lens_of_photo: Int64[Tensor, "A"]
    similarity: Float64[Tensor, "C 7"]
    """What each of 6 A numbers does when the whole scene shifts, turns and grows, orthonormal columns."""
    prior: Float64[Tensor, "7"]
    """Inverse variances of corrections."""

    @staticmethod
    def identity(scene: Scene) -> "RayCameras":
        """Corrections that change nothing, for the training photos; equal intrinsics are one lens."""
        cameras = scene.cameras[scene.train_indices]
        lenses, count = lens_numbers(cameras), len(cameras)
        likely = [LIKELY_TURN_RAD] * 3 + [LIKELY_SHIFT_EXTENTS * scene.extent] * 3 + [LIKELY_LOG_FOCAL]
        return RayCameras(
            torch.zeros(count, _POSE),
            torch.zeros(1 + max(lenses), 1),
            torch.zeros(count, _NUMBERS, _NUMBERS, dtype=torch.float64),
            torch.zeros(count, _NUMBERS, dtype=torch.float64),
            torch.tensor(lenses),
            similarities(cameras).double(),
            torch.tensor(likely, dtype=torch.float64) ** -2,
        )

    def cameras(self, given: Cameras) -> Cameras:
        """All corrected cameras; `given` are those of the training photos, in their order."""
        return corrected(given, self.poses, self.log_focals, self.lens_of_photo.tolist())

    def update(self, views: Int64[Tensor, "R"], rows: Float[Tensor, "R 7"], errors: Float[Tensor, "R"]) -> None:
        """Learn from rays: how what they see changes with their cameras, and by how much it is too much; in place.

        Rays with numbers that are not finite say nothing.
        """
        kept = math.exp(-len(rows) / (len(self.poses) * WINDOW_RAYS))
        finite = rows.isfinite().all(dim=1) & errors.isfinite()
        rows, errors = torch.where(finite[:, None], rows, 0).double(), torch.where(finite, errors, 0).double()
        i, j = torch.triu_indices(_NUMBERS, _NUMBERS)
        sums = photo_sums(torch.cat([rows[:, i] * rows[:, j], rows * errors[:, None]], dim=1), views, len(self.poses))
        variance = float(pairwise_sum(errors.square()[:, None])) / len(errors)
        sums *= TRUST / max(variance, SMALLEST_VARIANCE)
        products = torch.empty_like(self.information)
        products[:, i, j] = products[:, j, i] = sums[:, : len(i)]
        self.information.mul_(kept).add_(products)
        self.pulls.mul_(kept).add_(sums[:, len(i) :])
        self._move(min(HASTE * (1 - kept), 1.0))

    def _move(self, part: float) -> None:
        """Go a part of the way to where everything that is remembered fits best."""
        poses, log_focals = self._way()
        self.poses.add_((part * poses).float())
        self.log_focals.add_((part * log_focals[:, None]).float())
        move = part * torch.cat([poses, log_focals[self.lens_of_photo, None]], dim=1)
        self.pulls.add_((self.information * move[:, None, :]).sum(dim=2))

    def _way(self) -> tuple[Float64[Tensor, "A 6"], Float64[Tensor, "G"]]:
        """To the least of the remembered squares and the prior; poses are eliminated for the sake of lenses."""
        prior, zooms = self.prior, self.log_focals[:, 0].double()
        poses, across = self.information[:, :_POSE, :_POSE], self.information[:, :_POSE, _POSE]
        on_poses = self.pulls[:, :_POSE] + prior[:_POSE] * self.poses.double()
        both = torch.stack([on_poses, across], dim=2)
        alone, with_zoom = torch.linalg.solve(poses + torch.diag(prior[:_POSE]), both).unbind(2)
        on_lens, of_lens = (
            torch.bincount(self.lens_of_photo, column - (across * solved).sum(dim=1), len(zooms))
            for column, solved in ((self.pulls[:, _POSE], alone), (self.information[:, _POSE, _POSE], with_zoom))
        )
        zoom = -(on_lens + prior[_POSE] * zooms) / (of_lens + prior[_POSE])
        way = (-alone - with_zoom * zoom[self.lens_of_photo, None]).view(-1, 1)
        together = pairwise_sum(self.similarity * way)
        return (way - (self.similarity * together).sum(dim=1, keepdim=True)).view(-1, _POSE), zoom

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return {f"cameras.{name}": getattr(self, name) for name in _NAMES}

    def loaded(self, tensors: Mapping[str, Tensor]) -> "RayCameras":
        """The same with what a whole checkpoint holds.

        Raises:
            InputError: Its run did not refine cameras, or other ones.
        """
        return with_kept(self, _NAMES, tensors)
