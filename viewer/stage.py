"""What stands around the splats: the photos where they were taken, and the points the capture came with."""

from collections.abc import Callable

import numpy as np
import torch
import viser
from jaxtyping import UInt8
from PIL import Image

from neural3d.scene import Photo, Scene
from neural3d.viewer.space import InitialView, fov_from_cameras, frustum_scale, initial_view, wxyz_from_cameras

PHOTOS = "/photos"
"""The node above all photos: who hides it sees none."""
MAX_FRUSTUMS = 120
MAX_POINTS = 50_000
THUMBNAIL_PX = 96
TRAIN_COLOR = (90, 120, 150)
TEST_COLOR = (230, 140, 40)


def show_scene(server: viser.ViserServer, scene: Scene) -> None:
    """Set what is up, how far one sees, and where visitors start."""
    set_up_direction(server, scene.up_world.double().cpu().numpy())
    show_initial_view(server, initial_view(scene), scene.extent)


def set_up_direction(server: viser.ViserServer, up: np.ndarray) -> None:
    """What is up in our world."""
    server.scene.set_up_direction(_triple(up))


def show_initial_view(server: viser.ViserServer, view: InitialView, extent: float) -> None:
    """Where visitors start, and clipping planes that suit a scene of this size."""
    start = server.initial_camera
    start.position, start.look_at, start.up = map(_triple, (view.position, view.look_at, view.up))
    start.fov, start.near, start.far = view.fov_rad, 0.003 * extent, 3000.0 * extent


def add_photos(
    server: viser.ViserServer, scene: Scene, on_click: Callable[[viser.ClientHandle, int], None]
) -> list[viser.CameraFrustumHandle]:
    """A small frustum with its photo for every view, held-out ones in orange; of many views an even selection.

    `on_click` is told which visitor has clicked which photo.
    """
    chosen = np.unique(np.linspace(0, len(scene.cameras) - 1, min(MAX_FRUSTUMS, len(scene.cameras))).astype(int))
    wxyz, fov = wxyz_from_cameras(scene.cameras), fov_from_cameras(scene.cameras)
    positions = scene.cameras.centers_world.double().cpu().numpy()
    aspects = (scene.cameras.size_px[:, 0] / scene.cameras.size_px[:, 1]).tolist()
    size, held_out = frustum_scale(scene), set(scene.test_indices.tolist())
    handles = []
    for index in chosen.tolist():
        handle = server.scene.add_camera_frustum(
            f"{PHOTOS}/{index:05d}",
            fov=float(fov[index]),
            aspect=aspects[index],
            scale=size,
            thickness=1.2,
            thickness_units="screen",
            color=TEST_COLOR if index in held_out else TRAIN_COLOR,
            image=thumbnail(scene.photos[index]),
            format="jpeg",
            wxyz=wxyz[index],
            position=positions[index],
            cast_shadow=False,
            receive_shadow=False,
        )
        handle.on_click(_told(on_click, index))
        handles.append(handle)
    return handles


def _told(on_click: Callable[[viser.ClientHandle, int], None], index: int):
    async def tell(event: viser.SceneNodePointerEvent) -> None:
        on_click(event.client, index)

    return tell


def thumbnail(photo: Photo) -> UInt8[np.ndarray, "h w 3"]:
    """The photo on white, at most `THUMBNAIL_PX` wide or high."""
    pixels = photo.pixels.cpu()
    if photo.alpha is not None:
        alpha = photo.alpha.cpu()[..., None].float() / 255.0
        pixels = (pixels.float() * alpha + 255.0 * (1.0 - alpha)).round().to(torch.uint8)
    image = Image.fromarray(pixels.numpy())
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(image)


def add_points(server: viser.ViserServer, scene: Scene) -> viser.PointCloudHandle | None:
    """The capture's sparse points, hidden until asked for; None where it has none."""
    if scene.points is None or not len(scene.points.means_world):
        return None
    step = -(-len(scene.points.means_world) // MAX_POINTS)
    return server.scene.add_point_cloud(
        "/points",
        points=scene.points.means_world[::step].float().cpu().numpy(),
        colors=scene.points.colors[::step].cpu().numpy(),
        point_size=0.004 * scene.extent,
        point_shape="circle",
        precision="float32",
        visible=False,
    )


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in vector)
    return x, y, z
