"""What a visitor does in the picture, and waiting until it has come about."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import viser
from PIL import Image

from browser.chromium import Page
from neural3d.cameras import Cameras
from neural3d.render.paths import look_at
from neural3d.viewer import Viewer
from neural3d.viewer.keyframes import keyframes_of_cameras
from neural3d.viewer.path_panel import stand
from neural3d.viewer.space import cameras_from_view
from neural3d.viewer.visit import view_of_client

Place = tuple[float, float, float]
TRIES, PATIENCE_S = 15, 4.0
"""How often something is done with the mouse, and how long each time until it shows: a page that draws slowly can miss
a quick click or drag altogether."""


def wait(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.05)


def until_it_shows(do: Callable[[], None], condition: Callable[[], bool], what: str) -> None:
    """Do something again and again until it has come about."""
    for _ in range(TRIES):
        do()
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


class Told:
    """Where the one visitor's page itself says that he stands, in one message.

    What the server has set it counts as true before the page has heard of it.
    """

    def __init__(self, viewer: Viewer) -> None:
        (client,) = viewer.server.get_clients().values()
        self.position = self.look_at = np.full(3, np.nan)
        client.camera.on_update(self._hear)

    async def _hear(self, camera: viser.CameraHandle) -> None:  # in the event loop: before anything else is set
        state = camera._state
        self.position, self.look_at = state.position, state.look_at

    @property
    def distance(self) -> float:
        return apart(self.position, self.look_at)


def drag_until(page: Page, condition: Callable[[], bool], what: str) -> None:
    """On the picture, which turns the camera."""
    until_it_shows(lambda: page.drag((300, 500), (420, 500)), condition, what)


def go_to(viewer: Viewer, eye: Place, seen: Place) -> None:
    """Put the one visitor there, +z up; his page may still tell of where he was."""
    (client,) = viewer.server.get_clients().values()
    pose = look_at(torch.tensor([eye]), torch.tensor([seen]), torch.tensor([0.0, 0.0, 1.0]))
    size = torch.tensor([[640, 400]])
    (key,) = keyframes_of_cameras(Cameras(pose, torch.full((1, 2), 550.0), size / 2, size))

    def is_there_for_good() -> bool:
        stand(client, key)
        time.sleep(1.0)
        return bool(np.allclose(client.camera.position, key.position, atol=1e-3))

    wait(is_there_for_good, "he is where he was put")


def pixel_of(viewer: Viewer, place: Place) -> tuple[float, float]:
    """Where the one visitor sees a place; the picture begins in the upper left corner, the panel is beside it."""
    (client,) = viewer.server.get_clients().values()
    view = view_of_client(client.camera)
    camera = cameras_from_view(view, view.height)
    seen = camera.camera_from_world[0, :3, :3] @ torch.tensor(place) + camera.camera_from_world[0, :3, 3]
    x, y = (seen[:2] / seen[2] * camera.focal_px[0] + camera.principal_px[0]).tolist()
    assert seen[2] > 0 and 0 <= x < view.width and 0 <= y < view.height, f"out of the picture: {x}, {y}"
    return x, y


def screen(page: Page, shots: Path, name: str) -> np.ndarray:
    """What is on the screen, kept for people to look at."""
    pixels = page.screenshot()
    Image.fromarray(pixels).save(shots / f"{name}.png")
    return pixels


def wait_for_screen(page: Page, shots: Path, name: str, is_right: Callable[[np.ndarray], bool]) -> None:
    """Until the screen looks as it should; a software renderer takes its time."""
    end = time.monotonic() + 60.0
    while not is_right(screen(page, shots, name)):
        assert time.monotonic() < end, f"the screen never was right: {shots / name}.png"
        time.sleep(0.2)


def apart(a: Place | np.ndarray, b: Place | np.ndarray) -> float:
    """How far two places are."""
    return math.dist(tuple(map(float, a)), tuple(map(float, b)))
