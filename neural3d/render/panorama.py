"""Everything around a camera as one picture: equirectangular, 360 by 180 degrees, for headsets and lighting."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.rendering import RenderFn, Rendering

_FINER = 1.2
"""Pixels of a face for one of the panorama, an angle's worth: what is blended between four of them stays sharp."""
_BEYOND = math.tan(math.radians(50))
"""Half width of a face at unit distance; 45 degrees are used, the rest keeps Gaussians whole at its edges."""


def panorama_function(render_fn: RenderFn) -> RenderFn:
    """The same model, all around.

    Of each view only the place, the turn and the size count: its width is 360 degrees, its height 180, its middle where
    the camera looks.

    Limits: no depths.
    """

    def render(cameras: Cameras) -> Rendering:
        views = [_panorama(render_fn, cameras[i]) for i in range(len(cameras))]
        return Rendering(*(torch.cat(images) for images in zip(*views, strict=True)))

    return render


def _panorama(render_fn: RenderFn, camera: Cameras) -> tuple[Float[Tensor, "1 H W 3"], Float[Tensor, "1 H W 1"]]:
    width, height = camera.size_px[0].tolist()
    focal = _FINER * width / (2 * math.pi)
    side = 2 * math.ceil(focal * _BEYOND)
    directions = _directions(width, height)
    nearest = (directions @ _face_axes().T).argmax(-1)
    picture = torch.zeros(height, width, 4)
    for face, turn in enumerate(_face_turns()):
        seen = render_fn(_face_camera(camera, turn, focal, side))
        layers = torch.cat([seen.colors[0], seen.alphas[0]], dim=-1).cpu()
        rays = directions @ turn.T
        grid = focal * rays[..., :2] / rays[..., 2:].clamp(min=1e-6) / (side / 2)
        looked_up = torch.nn.functional.grid_sample(layers.permute(2, 0, 1)[None], grid[None], align_corners=False)
        picture = torch.where((nearest == face)[..., None], looked_up[0].permute(1, 2, 0), picture)
    return picture[None, ..., :3], picture[None, ..., 3:]


def _directions(width: int, height: int) -> Float[Tensor, "H W 3"]:
    """Unit vectors in the camera's axes through the pixels' centres; left to right is a turn to the right."""
    longitude = ((torch.arange(width) + 0.5) / width - 0.5) * 2 * math.pi
    latitude = (0.5 - (torch.arange(height) + 0.5) / height) * math.pi
    up, right = torch.meshgrid(latitude, longitude, indexing="ij")
    return torch.stack([up.cos() * right.sin(), -up.sin(), up.cos() * right.cos()], dim=-1)


def _face_axes() -> Float[Tensor, "6 3"]:
    """Where each face looks, in the camera's axes."""
    ahead, right, down = torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    return torch.stack([ahead, right, -ahead, -right, down, -down])


def _face_turns() -> Float[Tensor, "6 3 3"]:
    """face_from_camera."""
    turns = []
    for axis in _face_axes():
        down = torch.tensor([0.0, 0, -axis[1]]) if axis[1] != 0 else torch.tensor([0.0, 1, 0])
        turns.append(torch.stack([torch.linalg.cross(down, axis), down, axis]))
    return torch.stack(turns)


def _face_camera(camera: Cameras, turn: Float[Tensor, "3 3"], focal: float, side: int) -> Cameras:
    pose = camera.camera_from_world.clone()
    pose[0, :3] = turn.to(pose) @ camera.camera_from_world[0, :3]
    size_px = torch.tensor([[side, side]], device=camera.size_px.device)
    return Cameras(pose, torch.full_like(camera.focal_px, focal), (size_px / 2).to(camera.principal_px), size_px)
