"""Where a capture's field lies: bounds from its points and its cameras."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.fields.space import SMALLEST_TURN, Ball, Ndc, Shell, Space
from neural3d.scene import Scene
from neural3d.train.initial import FEWEST_POINTS, look_at

NEAREST, FARTHEST_PART = 0.002, 0.998
"""Parts of the points, by distance, that are taken to be mistakes."""
MARGIN = 1.2
WITHOUT_POINTS = (0.1, 6.0)
"""Near and far, in extents of the cameras, where nothing is known."""
WIDEST_RAD = 1.0
"""That cameras may turn from their common axis, for normalised device coordinates."""


def field_space(scene: Scene, *, ndc: bool) -> Space:
    """A ball for objects with alpha, else a shell around the cameras, or normalised device coordinates if asked for.

    Raises:
        InputError: The cameras do not face one way, so there are no normalised device coordinates.
    """
    if ndc:
        return _ndc(scene)
    if scene.has_alpha:
        center, radius = look_at(scene)
        return Ball(_triple(center), radius)
    near, far = _range(scene)
    centers = scene.cameras.centers_world
    middle = (centers.amin(dim=0) + centers.amax(dim=0)) / 2
    reach = float((centers - middle).norm(dim=1).median())
    return Shell(_triple(middle), reach + far, near=near, far=far)


def seen_distances(scene: Scene) -> Float[Tensor, "M"] | None:
    """Of the capture's points from the training cameras whose photos they lie in; None where these are too few."""
    if scene.points is None or len(scene.points.means_world) < FEWEST_POINTS:
        return None
    seen = torch.cat([_seen_distances(scene, i) for i in scene.train_indices.tolist()])
    return seen if len(seen) >= FEWEST_POINTS else None


def _range(scene: Scene) -> tuple[float, float]:
    """Distances from the cameras between which there is something."""
    seen = seen_distances(scene)
    if seen is None:
        return WITHOUT_POINTS[0] * scene.extent, WITHOUT_POINTS[1] * scene.extent
    near, far = _quantile(seen, NEAREST), _quantile(seen, FARTHEST_PART)
    return near / MARGIN, far * MARGIN


def _seen_distances(scene: Scene, index: int) -> Float[Tensor, "M"]:
    """Of the points in a photo's frame from its camera."""
    camera, points = scene.cameras[index], scene.points.means_world.float()
    in_camera = points @ camera.camera_from_world[0, :3, :3].T + camera.camera_from_world[0, :3, 3]
    image = camera.focal_px * in_camera[:, :2] / in_camera[:, 2:].clamp(min=1e-3) + camera.principal_px
    inside = (in_camera[:, 2] > 1e-3 * scene.extent) & ((image >= 0) & (image < camera.size_px)).all(dim=1)
    return in_camera[inside].norm(dim=1)


def _quantile(values: Float[Tensor, "M"], part: float) -> float:
    return float(values.sort().values[int(part * (len(values) - 1))])


def _ndc(scene: Scene) -> Ndc:
    cameras = scene.cameras
    axis = cameras.forward_world.double().mean(dim=0)
    turns = torch.acos((cameras.forward_world.double() @ axis / axis.norm()).clamp(-1, 1))
    corners = _corners(cameras)
    steepest = float((corners @ axis / axis.norm()).min())
    if not axis.norm() > 0.1 or float(turns.max()) > WIDEST_RAD or steepest < 10 * SMALLEST_TURN:
        widest = float(torch.rad2deg(turns.max()))
        raise InputError(
            f"--ndc: the cameras do not all face one way (up to {widest:.0f} degrees from their common axis), as "
            "normalised device coordinates need; leave it out"
        )
    rotation = _facing(axis / axis.norm(), cameras.camera_from_world[:, 0, :3].double().mean(dim=0))
    centers = cameras.centers_world.double() @ rotation.T
    origin = centers.mean(dim=0)
    near, _ = _range(scene)
    # The near plane lies in front of every camera's nearest point, and of the foremost camera.
    near = max(near, float((centers - origin)[:, 2].max()) + 0.5 * near)
    turned = corners @ rotation.T
    # As wide as the photos together, so that nothing that they see lies outside [-1, 1].
    slopes = (turned[:, :2] / turned[:, 2:]).abs().amax(dim=0) + (centers - origin)[:, :2].abs().amax(dim=0) / near
    rows = torch.cat([rotation, -origin[:, None]], dim=1)
    return Ndc(tuple(tuple(row) for row in rows.tolist()), (float(slopes[0]), float(slopes[1])), near)


def _corners(cameras: Cameras) -> Float[Tensor, "M 3"]:
    """Unit directions through the corners of all images."""
    width, height = cameras.size_px.unbind(1)
    corners = []
    for x, y in ((0 * width, 0 * height), (width, 0 * height), (0 * width, height), (width, height)):
        image = (torch.stack([x, y], dim=1) - cameras.principal_px) / cameras.focal_px
        corner = torch.cat([image, torch.ones_like(image[:, :1])], dim=1).double()
        corners.append((cameras.camera_from_world[:, :3, :3].double().transpose(1, 2) @ corner[:, :, None])[:, :, 0])
    world = torch.cat(corners)
    return world / world.norm(dim=1, keepdim=True)


def _facing(forward: Float[Tensor, "3"], right: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """A rotation whose third row is `forward`."""
    right = right - (right @ forward) * forward
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(forward, right), forward])


def _triple(vector: Tensor) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z
