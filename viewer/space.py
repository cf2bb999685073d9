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

FRUSTUM_PARTS = (0.01, 0.06)
"""Smallest and largest size of a photo's frustum, as parts of the scene's extent."""
MAX_COVERED = 0.15
"""The part of the first picture that photos may cover."""
MAX_STARTS = 64
MAX_COMPARED = 512


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


def view_of_photo(camera: Cameras, aspect: float) -> View:
    """Where the one photo was taken, with an angle of view that shows all of it in a window of this aspect."""
    vertical = float(fov_from_cameras(camera)[0])
    (width, _), (focal, _) = camera.size_px[0].tolist(), camera.focal_px[0].tolist()
    across = 2.0 * math.atan(width / (2.0 * focal) / aspect)
    wxyz, position = tuple(wxyz_from_cameras(camera)[0].tolist()), tuple(camera.centers_world[0].double().tolist())
    return View(wxyz, position, max(vertical, across), max(1, round(480 * aspect)), 480)


def fov_in_window(fov_rad: float, aspect: float) -> float:
    """The vertical angle of view that shows as much across as `fov_rad` does up and down, or more.

    It is larger in a window that is higher than wide, as a phone's; `aspect` is width by height.
    """
    return 2.0 * math.atan(math.tan(fov_rad / 2.0) / min(1.0, aspect))


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


def frustum_scale(scene: Scene) -> float:
    """The size of photos that leaves gaps between neighbours: a photo is then about two thirds of the gap wide."""
    centers = _spread(scene.cameras, MAX_COMPARED).centers_world.double()
    gaps = torch.cdist(centers, centers).fill_diagonal_(math.inf).amin(dim=1)
    gap = float(gaps.median()) if len(centers) > 1 else math.inf
    smallest, largest = FRUSTUM_PARTS
    return min(max(0.25 * gap, smallest * scene.extent), largest * scene.extent)


def initial_view(scene: Scene) -> InitialView:
    """From a training camera, turning round the point of its axis nearest to what all cameras see.

    A step ahead of it, so that its own photo does not stand in the way: the first whose picture the photos of the
    others leave free enough, else the one whose picture they leave freest.
    """
    candidates = _spread(scene.cameras[scene.train_indices] if len(scene.train_indices) else scene.cameras, MAX_STARTS)
    covered = _covered(candidates, scene)
    is_free = covered <= max(MAX_COVERED, float(covered.min()))
    camera = candidates[int(is_free.int().argmax())]
    position, forward = camera.centers_world[0].double(), camera.forward_world[0].double()
    step = float(_steps(camera, scene)[0])
    distance = float(torch.dot(_focus_point(scene.cameras) - position, forward))
    # Parallel axes meet nowhere, and those of cameras that look outwards meet behind them.
    distance = max(distance, scene.extent, 2.0 * step)
    start, look_at = ((position + forward * length).cpu().numpy() for length in (step, distance))
    return InitialView(start, look_at, scene.up_world.double().cpu().numpy(), float(fov_from_cameras(camera)[0]))


def _spread(cameras: Cameras, count: int) -> Cameras:
    """At most `count` of the cameras, spread evenly, the first included."""
    return cameras[torch.linspace(0, len(cameras) - 1, min(count, len(cameras))).long()]


def _steps(cameras: Cameras, scene: Scene) -> Float[torch.Tensor, "V"]:
    """A little more than the length of each camera's frustum; viser gives all frustums of one scale the same volume."""
    half = (cameras.size_px / (2.0 * cameras.focal_px)).double()
    return 1.1 * frustum_scale(scene) / (half.prod(dim=1) / 3.0) ** (1.0 / 3.0)


def _covered(candidates: Cameras, scene: Scene) -> Float[torch.Tensor, "C"]:
    """About the part of each candidate's picture that the photos ahead cover; a photo one step ahead fills it."""
    photos, steps = _spread(scene.cameras, MAX_COMPARED), _steps(candidates, scene)[:, None]
    forward = candidates.forward_world.double()[:, None]
    apart = photos.centers_world.double() - (candidates.centers_world.double()[:, None] + forward * steps[..., None])
    distances = apart.norm(dim=2).clamp(min=1e-3 * float(steps.min()))
    cosines = (apart * forward).sum(dim=2) / distances
    half_diagonals = (candidates.size_px / (2.0 * candidates.focal_px)).double().norm(dim=1)
    is_in_picture = cosines > torch.rsqrt(1.0 + half_diagonals**2)[:, None]
    return (is_in_picture * (steps / distances) ** 2).sum(dim=1)


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
