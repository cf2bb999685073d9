"""Everything around a camera as one picture: equirectangular, 360 by 180 degrees, for headsets and lighting."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.layers import LayerTile, layer_tiles
from neural3d.render.model import Model
from neural3d.render.objects import Objects
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
    picture = torch.zeros(height, width, 4)
    for face in _faces(camera):
        seen = render_fn(face.camera)
        layers = torch.cat([seen.colors[0], seen.alphas[0]], dim=-1).cpu()
        picture = torch.where(face.is_nearest, face.look_up(layers, "bilinear"), picture)
    return picture[None, ..., :3], picture[None, ..., 3:]


def panorama_tiles(model: Model, camera: Cameras, *, objects: Objects | None = None) -> Iterator[LayerTile]:
    """All layers of the one view, all around, in one piece.

    Depths are the distances from the camera's place. Colours, alphas and coverages are blended between four pixels of a
    view; depths and normals are those of the nearest.
    """
    width, height = camera.size_px[0].tolist()
    count = 0 if objects is None else len(objects.names)
    blended, nearest = torch.zeros(height, width, 4 + count), torch.zeros(height, width, 4)
    directions = directions_around(width, height)
    for face in _faces(camera):
        (tile,) = layer_tiles(model, face.camera, tile_px=int(face.camera.size_px.max()), objects=objects)
        soft, hard = _flat(tile)
        blended = torch.where(face.is_nearest, face.look_up(soft, "bilinear"), blended)
        found = face.look_up(hard, "nearest")
        ahead = (directions @ face.axis)[..., None].clamp(min=1e-6)
        nearest = torch.where(face.is_nearest, torch.cat([found[..., :1] / ahead, found[..., 1:]], dim=-1), nearest)
    coverages = None if objects is None else blended[..., 4:]
    layers = (blended[..., :3], blended[..., 3:4], nearest[..., :1], nearest[..., 1:], coverages)
    yield LayerTile(0, 0, *layers, is_light=tile.is_light)


def panorama_points(camera: Cameras, distances: Float[Tensor, "H W 1"]) -> Float[Tensor, "H W 3"]:
    """World points of a panorama's pixel centres at their distances."""
    height, width = distances.shape[:2]
    rays = directions_around(width, height) @ camera.camera_from_world[0, :3, :3].cpu()
    return camera.centers_world[0].cpu() + distances * rays


def _flat(tile: LayerTile) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W 4"]]:
    """What is blended, and what is not."""
    soft = [tile.colors, tile.alphas] + ([] if tile.coverages is None else [tile.coverages])
    return torch.cat(soft, dim=-1), torch.cat([tile.depths, tile.normals], dim=-1)


@dataclass(frozen=True)
class _Face:
    """One of the six views that a panorama is looked up in."""

    camera: Cameras
    axis: Float[Tensor, "3"]
    """Where it looks, in the panorama's axes."""
    is_nearest: Bool[Tensor, "H W 1"]
    """The panorama's pixels that it shows."""
    grid: Float[Tensor, "H W 2"]
    """Where they lie in it, -1 to 1."""

    def look_up(self, layers: Float[Tensor, "h w C"], mode: str) -> Float[Tensor, "H W C"]:
        """The view's pixels where the panorama's are."""
        sampled = torch.nn.functional.grid_sample(
            layers.permute(2, 0, 1)[None], self.grid[None], mode=mode, align_corners=False
        )
        return sampled[0].permute(1, 2, 0)


def _faces(camera: Cameras) -> Iterator[_Face]:
    width, height = camera.size_px[0].tolist()
    focal = _FINER * width / (2 * math.pi)
    side = 2 * math.ceil(focal * _BEYOND)
    directions = directions_around(width, height)
    nearest = (directions @ _face_axes().T).argmax(-1)
    for number, (axis, turn) in enumerate(zip(_face_axes(), _face_turns(), strict=True)):
        rays = directions @ turn.T
        grid = focal * rays[..., :2] / rays[..., 2:].clamp(min=1e-6) / (side / 2)
        yield _Face(_face_camera(camera, turn, focal, side), axis, (nearest == number)[..., None], grid)


def directions_around(width: int, height: int) -> Float[Tensor, "H W 3"]:
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
