"""The mouse as a tool: clicks or rectangles on the picture, for one tool at a time."""

from collections.abc import Callable

import torch
import viser
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.render.layers import layer_tiles
from neural3d.render.model import Model
from neural3d.render.paths import look_at

PROBE_PX = 5
OPAQUE = 0.3
"""What is more transparent is looked through when a point is picked."""
_PROBE_FOCAL_PX = 600.0

OnClick = Callable[[viser.SceneClickEvent], None]
OnRectangle = Callable[[viser.SceneRectSelectEvent], None]


class Pointer:
    """Who gets clicks and rectangles; taking it up puts the tool before it away."""

    def __init__(self, scene: viser.SceneApi) -> None:
        self._scene = scene
        self._put_away: Callable[[], None] | None = None

    def on_clicks(self, tool: OnClick, put_away: Callable[[], None]) -> None:
        """Give all clicks to a tool; `put_away` is called when another takes over."""
        self.release()
        self._scene.on_click()(tool)
        self._put_away = put_away

    def on_rectangles(self, tool: OnRectangle, put_away: Callable[[], None]) -> None:
        """Give all rectangles to a tool; dragging turns the camera no more."""
        self.release()
        self._scene.on_rect_select()(tool)
        self._put_away = put_away

    def hold(self, put_away: Callable[[], None]) -> None:
        """For a tool that takes the mouse by itself."""
        self.release()
        self._put_away = put_away

    def release(self, *, is_told: bool = True) -> None:
        """Put the tool away: the mouse moves the camera again; the tool hears of it unless it has asked for that."""
        self._scene.remove_click_callback()
        self._scene.remove_rect_select_callback()
        put_away, self._put_away = self._put_away, None
        if put_away is not None and is_told:
            put_away()


def picked_point(
    model: Model, origin: tuple[float, float, float], direction: tuple[float, float, float]
) -> Float[Tensor, "3"] | None:
    """The point of the model that a ray from `origin` hits first, in float64; None where it hits nothing.

    It is the depth that the engine draws there, of splats as of fields.
    """
    start = torch.tensor(origin, dtype=torch.float64)
    forward = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
    up = torch.eye(3, dtype=torch.float64)[int(forward.abs().argmin())]
    size = torch.full((1, 2), PROBE_PX)
    pose = look_at(start[None], (start + forward)[None], up).float()
    camera = Cameras(pose, torch.full((1, 2), _PROBE_FOCAL_PX), size / 2.0, size)
    (tile,) = layer_tiles(model, camera, tile_px=PROBE_PX)
    hit = tile.alphas > OPAQUE
    if not hit.any():
        return None
    return start + forward * float(tile.depths[hit].double().median())
