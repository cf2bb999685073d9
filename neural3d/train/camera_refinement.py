"""Cameras that are learnt beside the scene: a small turn and shift for each photo, a focal length for each lens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.ops.adam import adam_step
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.splats.view import View
from neural3d.train.gradients import PhotoGradient
from neural3d.train.initial import look_at

DAMPING = 1.0
"""Of the preconditioner, relative to its diagonal: with less, the noise of a scene that is still being learnt is
stretched in those directions of which the photos say least."""
FEWEST_POINTS, MOST_POINTS = 10, 20_000
State = TypeVar("State")
_POSE, _NAMES = 6, ("poses", "first_moments", "second_moments", "log_focals", "focal_first", "focal_second")


@dataclass(frozen=True)
class CameraPull:
    """What a photo's loss says about its camera."""

    pose: Float[Tensor, "6"]
    """Of a turn about the camera's own axes (radians), then of a shift of its centre (scene units, world axes)."""
    log_focal: Float[Tensor, ""]


def camera_pull(gaussians: Gaussians, gradient: PhotoGradient) -> CameraPull:
    """The gradient of a photo's camera, from those of the Gaussians that it saw.

    Turning a camera about its centre c shows what turning all Gaussians the other way about c would show, and shifting
    it what shifting them the other way would. So the sums of their gradients are the camera's: of a shift -sum g, of a
    turn sum (m - c) x g and the torque on the quaternions. Colours depend on m - c: a turn about c leaves their
    directions alone, so that what pulls at means by colour is taken out of the torque. A longer focal length scales
    the picture about the principal point p: sum g_px (m_px - p), and every ellipse as larger Gaussians would be.

    Raises:
        InputError: The renderer does not tell the gradients apart (gsplat's does not).
    Limits: what of a Gaussian far outside the picture is clamped in projection counts as if it were not.
    """
    if gradient.means_by_color is None or gradient.means_seen_px is None:
        raise InputError("--refine-cameras: this renderer gives no gradient to cameras; use --backend native")
    view, pull = gradient.view, gradient.gaussians
    arms = gaussians.means_world - view.center_world
    torque = torch.linalg.cross(arms, pull.means_world - gradient.means_by_color)
    torque = torque + _quaternion_torque(gaussians.quats_wxyz, pull.quats_wxyz)
    scaling = (gradient.means_px * (gradient.means_seen_px - view.principal_px)).sum(dim=1) + pull.log_scales.sum(dim=1)
    rows = torch.cat([torque, -pull.means_world, scaling[:, None]], dim=1)
    # Rows that are not finite are left alone everywhere, and must not move a camera either.
    total = pairwise_sum(torch.where(rows.isfinite().all(dim=1, keepdim=True), rows, 0.0))
    rotation = view.camera_from_world[:3, :3]
    return CameraPull(torch.cat([_rotated(rotation, total[:3]), total[3:6]]), total[6])


def _quaternion_torque(quats: Float[Tensor, "N 4"], pull: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3"]:
    """How the loss changes when a Gaussian is turned about each world axis: d q = (0, axis) q / 2."""
    w, v = quats[:, :1], quats[:, 1:]
    return 0.5 * (w * pull[:, 1:] - pull[:, :1] * v + torch.linalg.cross(v, pull[:, 1:]))


def pairwise_sum(rows: Float[Tensor, "N C"]) -> Float[Tensor, "C"]:
    """The sum over rows in one order, whatever the number of threads and the device: halves are added to halves."""
    while len(rows) > 1:
        half = (len(rows) + 1) // 2
        rows = torch.cat([rows[: len(rows) - half] + rows[half:], rows[len(rows) - half : half]])
    return rows[0] if len(rows) else rows.new_zeros(rows.shape[1])


def _rotated(rotation: Float[Tensor, "3 3"], vector: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """A product of nine numbers, added in one order."""
    products = rotation * vector
    return products[:, 0] + products[:, 1] + products[:, 2]


@dataclass(frozen=True)
class RefinedCameras:
    """Corrections for the cameras of A training photos with G lenses; steps change the tensors in place.

    A photo's pose is its given one, shifted and then turned about its own centre. The scene and its cameras could
    drift, turn and grow together without any photo noticing: whenever all photos have had their turn, what the
    corrections have of such a similarity is taken out of them.

    A turn and a shift that move the picture alike can hardly be told apart. So that what they differ in is learnt as
    fast as what they share, Adam steps in numbers that each move the picture of the scene's points by as much.

    Source: Lin et al. 2021, BARF (poses learnt with the scene); Park et al. 2023, CamP, eq. 6-8 (the preconditioning).
    """

    poses: Float[Tensor, "A 6"]
    """Rotation vectors in the camera's axes (radians), shifts of the centres in the world (scene units)."""
    first_moments: Float[Tensor, "A 6"]
    second_moments: Float[Tensor, "A 6"]
    log_focals: Float[Tensor, "G 1"]
    """Of the factor on the given focal lengths."""
    focal_first: Float[Tensor, "G 1"]
    focal_second: Float[Tensor, "G 1"]
    lens_of_photo: tuple[int, ...]
    similarity: Float[Tensor, "C 7"]
    """What each of 6 A numbers does when the whole scene shifts, turns and grows, orthonormal columns."""
    steps: Float[Tensor, "A 6 6"]
    """Columns of corrections that each move the photo's picture by a focal length, root mean square."""

    @staticmethod
    def identity(scene: Scene, device: torch.device = torch.device("cpu")) -> "RefinedCameras":
        """Corrections that change nothing, for the training photos; equal intrinsics are one lens."""
        cameras = scene.cameras[scene.train_indices]
        lens_of_photo = lens_numbers(cameras)
        poses = [torch.zeros(len(cameras), _POSE, device=device) for _ in range(3)]
        focals = [torch.zeros(1 + max(lens_of_photo), 1, device=device) for _ in range(3)]
        return RefinedCameras(
            *poses, *focals, lens_of_photo, similarities(cameras).to(device), _even_steps(scene, cameras).to(device)
        )

    def view(self, photo: int, given: View) -> View:
        """The corrected camera of a photo."""
        rotation = rotation_of(self.poses[photo, :3]) @ given.camera_from_world[:3, :3]
        center = given.center_world + self.poses[photo, 3:]
        pose = given.camera_from_world.clone()
        pose[:3, :3], pose[:3, 3] = rotation, -_rotated(rotation, center)
        focal = given.focal_px * self.log_focals[self.lens_of_photo[photo]].exp()
        return replace(given, camera_from_world=pose, focal_px=focal, center_world=center)

    def cameras(self, given: Cameras) -> Cameras:
        """All corrected cameras; `given` are those of the training photos, in their order."""
        return corrected(given, self.poses.to(given.focal_px), self.log_focals.to(given.focal_px), self.lens_of_photo)

    def update(self, photo: int, pull: CameraPull, rates: Float[Tensor, "7"], *, step: int) -> None:
        """One step of Adam for a photo's pose and its lens, numbered from 1; in place."""
        turned = _left_jacobians(self.poses[photo : photo + 1, :3])[0].T @ pull.pose[:3]
        gradient = (self.steps[photo].T @ torch.cat([turned, pull.pose[3:]]))[None].contiguous()
        row = slice(photo, photo + 1)
        moments, move = (self.first_moments[row], self.second_moments[row]), torch.zeros_like(gradient)
        # A photo's turn comes once in as many steps as there are photos, and Adam counts those.
        adam_step(move, gradient, *moments, rates[:6], step=1 + (step - 1) // len(self.poses))
        self.poses[photo] += self.steps[photo] @ move[0]
        lens = slice(self.lens_of_photo[photo], self.lens_of_photo[photo] + 1)
        moments = self.focal_first[lens], self.focal_second[lens]
        adam_step(self.log_focals[lens], pull.log_focal.view(1, 1), *moments, rates[6:], step=step)
        if step % len(self.poses) == 0:
            self._hold_still()

    def _hold_still(self) -> None:
        numbers = self.poses.view(-1, 1)
        parts = pairwise_sum(self.similarity * numbers)
        numbers.sub_((self.similarity * parts).sum(dim=1, keepdim=True))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return {f"cameras.{name}": getattr(self, name) for name in _NAMES}

    def loaded(self, tensors: Mapping[str, Tensor]) -> "RefinedCameras":
        """The same with what a whole checkpoint holds.

        Raises:
            InputError: Its run did not refine cameras, or other ones.
        """
        return with_kept(self, _NAMES, tensors)


def with_kept(state: State, names: Sequence[str], tensors: Mapping[str, Tensor]) -> State:
    """A record of learnt cameras with those of its tensors that a whole checkpoint holds.

    Raises:
        InputError: Its run did not refine cameras, or other ones.
    """
    found = {name: tensors.get(f"cameras.{name}") for name in names}
    if any(value is None or value.shape != getattr(state, name).shape for name, value in found.items()):
        raise InputError("--refine-cameras: the run to resume was trained otherwise; leave it as it was")
    return replace(state, **found)


def cameras_of_checkpoint(tensors: Mapping[str, Tensor], given: Cameras) -> Cameras:
    """The training photos' cameras as a run has refined them so far; those that are given where it refines none."""
    if "cameras.poses" not in tensors:
        return given
    return corrected(given, tensors["cameras.poses"], tensors["cameras.log_focals"], lens_numbers(given))


def corrected(
    given: Cameras, poses: Float[Tensor, "A 6"], log_focals: Float[Tensor, "G 1"], lenses: Sequence[int]
) -> Cameras:
    """Cameras with corrections, as `RefinedCameras` has them; `lenses` numbers each camera's lens."""
    pose = given.camera_from_world.clone()
    rotations = rotations_of(poses[:, :3]) @ given.camera_from_world[:, :3, :3]
    pose[:, :3, :3], pose[:, :3, 3] = rotations, -_products(rotations, given.centers_world + poses[:, 3:])
    return replace(given, camera_from_world=pose, focal_px=given.focal_px * log_focals[list(lenses)].exp())


def lens_numbers(cameras: Cameras) -> tuple[int, ...]:
    """A number for each camera: equal intrinsics are one lens."""
    lenses = [(*focal, *size) for focal, size in zip(cameras.focal_px.tolist(), cameras.size_px.tolist(), strict=True)]
    kinds = sorted(set(lenses))
    return tuple(kinds.index(lens) for lens in lenses)


def similarities(cameras: Cameras) -> Float[Tensor, "C 7"]:
    """How corrections look when scene and cameras are shifted, turned and scaled together, to first order."""
    centers = cameras.centers_world.double()
    centers = centers - centers.mean(dim=0)
    columns = torch.zeros(len(cameras), _POSE, 7, dtype=torch.float64)
    columns[:, 3:, :3] = torch.eye(3, dtype=torch.float64)
    # A turn of the world by b turns the camera by -R b in its own axes' sense of a correction, and moves its centre.
    columns[:, :3, 3:6] = -cameras.camera_from_world[:, :3, :3].double()
    columns[:, 3:, 3:6] = -_cross_matrices(centers)
    columns[:, 3:, 6] = centers
    return torch.linalg.qr(columns.reshape(-1, 7))[0].float().contiguous()


def _even_steps(scene: Scene, cameras: Cameras) -> Float[Tensor, "A 6 6"]:
    """(J^T J + damping)^(-1/2) for the motion J of points in a photo's picture, in focal lengths."""
    steps = []
    for i in range(len(cameras)):
        points = _points_before(scene, cameras[i])
        motion = _picture_motion(points, cameras.camera_from_world[i, :3, :3].double())
        matrix = (motion.mT @ motion).mean(dim=0)
        matrix += DAMPING * torch.diag(matrix.diagonal()) + 1e-8 * torch.eye(_POSE, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(matrix)
        steps.append(vectors * values.rsqrt() @ vectors.T)
    return torch.stack(steps).float()


def _points_before(scene: Scene, camera: Cameras) -> Float[Tensor, "P 3"]:
    """In the camera's frame: the capture's points that it sees, or a cloud where all cameras look."""
    pose, tangents = camera.camera_from_world[0].double(), camera.size_px[0] / (2 * camera.focal_px[0])
    center, radius = look_at(scene)
    random = torch.Generator().manual_seed(0)
    cloud = center + radius * (2 * torch.rand(FEWEST_POINTS**2, 3, generator=random) - 1)
    clouds = [cloud] if scene.points is None else [scene.points.means_world[:MOST_POINTS].float(), cloud]
    for points in clouds:
        points = points.double() @ pose[:3, :3].T + pose[:3, 3]
        points = points[points[:, 2] > 1e-2 * scene.extent]
        points = points[((points[:, :2] / points[:, 2:]).abs() < 1.2 * tangents).all(dim=1)]
        if len(points) >= FEWEST_POINTS:
            return points
    return torch.tensor([[x, y, scene.extent] for x in (-0.3, 0, 0.3) for y in (-0.3, 0, 0.3)], dtype=torch.float64)


def _picture_motion(points: Float[Tensor, "P 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "P 2 6"]:
    """How (x / z, y / z) of points in the camera's frame moves with a correction."""
    of_point = torch.cat([-_cross_matrices(points), (-rotation).expand(len(points), 3, 3)], dim=2)
    across = points[:, :2] / points[:, 2:]
    projection = torch.cat([torch.eye(2, dtype=torch.float64).expand(len(points), 2, 2), -across[:, :, None]], dim=2)
    return projection @ of_point / points[:, 2, None, None]


def _cross_matrices(vectors: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3 3"]:
    """[v]x with [v]x u = v x u."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _products(matrices: Float[Tensor, "A I J"], vectors: Float[Tensor, "A J"]) -> Float[Tensor, "A I"]:
    """Of each matrix with its vector, added in one order."""
    columns = (matrices * vectors[:, None, :]).unbind(2)
    return sum(columns[1:], columns[0])


def _sines(vectors: Float[Tensor, "V 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Sin t / t, (1 - cos t) / t^2, (t - sin t) / t^3 for the lengths t of rotation vectors, near 0 by their series."""
    squared = vectors.square().sum(dim=1)[:, None, None]
    angle = squared.clamp(min=1e-6).sqrt()
    sine, cosine = angle.sin(), angle.cos()
    small = squared < 1e-4
    return (
        torch.where(small, 1 - squared / 6, sine / angle),
        torch.where(small, 0.5 - squared / 24, (1 - cosine) / angle**2),
        torch.where(small, 1 / 6 - squared / 120, (angle - sine) / angle**3),
    )


def rotation_of(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rodrigues' formula: the rotation by |vector| radians about a vector."""
    return rotations_of(vector[None])[0]


def rotations_of(vectors: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3 3"]:
    """The same of many."""
    cross = _cross_matrices(vectors)
    first, second, _ = _sines(vectors)
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) + first * cross + second * cross @ cross


def _left_jacobians(vectors: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3 3"]:
    """J with R(v + d) = R(J d) R(v) to first order. Source: Sola et al. 2018, A micro Lie theory, eq. 145."""
    cross = _cross_matrices(vectors)
    _, second, third = _sines(vectors)
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) + second * cross + third * cross @ cross


@dataclass(frozen=True)
class CameraMotion:
    """How cameras differ from what they were."""

    angles_deg: Float[Tensor, "V"]
    shifts: Float[Tensor, "V"]
    """Of the centres, world units."""
    focal_factors: Float[Tensor, "V"]


def camera_motion(before: Cameras, after: Cameras) -> CameraMotion:
    """Camera by camera, in one world."""
    rotations = (after.camera_from_world @ before.camera_from_world.mT)[:, :3, :3].double()
    # Of small angles the sine is exact where the cosine is 1 in all its digits.
    skew = rotations - rotations.mT
    sines = 0.5 * torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1).norm(dim=1)
    cosines = 0.5 * (rotations.diagonal(dim1=1, dim2=2).sum(dim=1) - 1)
    shifts = (after.centers_world - before.centers_world).norm(dim=1)
    factors = after.focal_px[:, 0] / before.focal_px[:, 0]
    return CameraMotion(torch.rad2deg(torch.atan2(sines, cosines)), shifts, factors)
