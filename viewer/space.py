"""Between our frames and viser's: written here once, and nowhere else in the viewer.

viser's cameras have OpenCV's axes as ours do (+x right, +y down, +z forward), poses `world_from_camera` as a position
and a quaternion wxyz, and a vertical field of view in radians with the principal point in the middle. Its world is
ours, the scene frame: told which way is up, viser turns the whole scene for three.js (+y up) itself.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from viser.transforms import SO3

from neural3d.cameras import Cameras
from neural3d.scene import Scene

FRUSTUM_PART = 0.07
"""Size of a photo's frustum as a part of the scene's extent."""


@dataclass(frozen=True)
class View:
    """A visitor's camera, as it passed `inbox.is_usable`."""

    wxyz: tuple[float, float, float, float]
    position: tuple[float, float, float]
    fov_rad: float
    """Vertical, in (0, pi)."""
    width: int
    height: int


@dataclass(frozen=True)
class InitialView:
    """Where a new visitor stands: a position, the point he turns round, and which way is up for him."""

    position: Float[np.ndarray, "3"]
    look_at: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    fov_rad: float


def wxyz_from_cameras(cameras: Cameras) -> Float[np.ndarray, "V 4"]:
    """The rotations world_from_camera as unit quaternions."""
    rotations = cameras.world_from_camera[:, :3, :3].double().cpu().numpy()
    return np.asarray(SO3.from_matrix(rotations).wxyz)


def fov_from_cameras(cameras: Cameras) -> Float[np.ndarray, "V"]:
    """Vertical fields of view in radians."""
    return (2.0 * torch.atan(cameras.size_px[:, 1] / (2.0 * cameras.focal_px[:, 1]))).double().cpu().numpy()


def cameras_from_view(view: View, height: int) -> Cameras:
    """The visitor's camera as ours, on an image of the given height and (to a pixel) the visitor's aspect."""
    width = max(1, round(height * view.width / view.height))
    focal = height / (2.0 * math.tan(view.fov_rad / 2.0))
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = SO3(np.asarray(view.wxyz) / np.linalg.norm(view.wxyz)).as_matrix().T
    camera_from_world[:3, 3] = -camera_from_world[:3, :3] @ np.asarray(view.position)
    return Cameras(
        torch.tensor(camera_from_world[None], dtype=torch.float32),
        torch.tensor([[focal, focal]], dtype=torch.float32),
        torch.tensor([[width / 2.0, height / 2.0]], dtype=torch.float32),
        torch.tensor([[width, height]]),
    )


def initial_view(scene: Scene) -> InitialView:
    """From the first training camera, turning round the point of its axis nearest to what all cameras see.

    A step ahead of it, so that its own photo does not stand in the way.
    """
    first = scene.cameras[int(scene.train_indices[0]) if len(scene.train_indices) else 0]
    position, forward = first.centers_world[0].double(), first.forward_world[0].double()
    fov = float(fov_from_cameras(first)[0])
    step = 1.1 * _frustum_length(fov, float(first.size_px[0, 0] / first.size_px[0, 1]), scene.extent)
    distance = float(torch.dot(_focus_point(scene.cameras) - position, forward))
    # Parallel axes meet nowhere, and those of cameras that look outwards meet behind them.
    distance = max(distance, scene.extent, 2.0 * step)
    start, look_at = (position + forward * length for length in (step, distance))
    return InitialView(start.cpu().numpy(), look_at.cpu().numpy(), scene.up_world.double().cpu().numpy(), fov)


def _frustum_length(fov_rad: float, aspect: float, extent: float) -> float:
    """How far a photo's frustum reaches; viser gives all frustums of one scale the same volume."""
    half_height = math.tan(fov_rad / 2.0)
    return FRUSTUM_PART * extent / (half_height * half_height * aspect / 3.0) ** (1.0 / 3.0)


def _focus_point(cameras: Cameras) -> Float[torch.Tensor, "3"]:
    """The point nearest to all optical axes, in least squares; for parallel axes the middle of the cameras."""
    centers, forward = cameras.centers_world.double(), cameras.forward_world.double()
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    middle = centers.mean(dim=0)
    # The small weight on the middle keeps the system solvable for parallel axes.
    normal = across.sum(dim=0) + 1e-3 * torch.eye(3, dtype=torch.float64)
    return torch.linalg.solve(normal, (across @ centers[:, :, None]).sum(dim=0)[:, 0] + 1e-3 * middle)


def view_without_scene(centers: Float[np.ndarray, "N 3"], up: Float[np.ndarray, "3"]) -> InitialView:
    """Look at the bulk of some points from the side and a little above, from far enough to see them all.

    Outliers do not push the visitor away: the 10 % of the points that lie farthest out do not count.
    """
    middle = np.median(centers, axis=0)
    radius = max(float(np.quantile(np.linalg.norm(centers - middle, axis=1), 0.9)), 1e-3)
    sideways = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    direction = sideways / np.linalg.norm(sideways) + 0.4 * up
    fov = math.radians(50.0)
    distance = 1.2 * radius / math.sin(fov / 2.0)
    return InitialView(middle + direction / np.linalg.norm(direction) * distance, middle, up, fov)
