"""The part of the page View that is about the place: what is up, what the camera turns round, how far it is."""

from collections.abc import Callable

import numpy as np
import torch
import viser
from jaxtyping import Float
from torch import Tensor

from neural3d.scene import Similarity, World
from neural3d.viewer.document import Document
from neural3d.viewer.pointer import Pointer, picked_point
from neural3d.viewer.values import choice

AS_CAPTURED = "As captured"
AXES = {
    **{"+x": (1.0, 0.0, 0.0), "-x": (-1.0, 0.0, 0.0), "+y": (0.0, 1.0, 0.0)},
    **{"-y": (0.0, -1.0, 0.0), "+z": (0.0, 0.0, 1.0), "-z": (0.0, 0.0, -1.0)},
}
LAST = 1e6
"""An order behind what visitors have for themselves on the same page."""
MEASURE = "/measure"
MEASURE_COLOR = (230, 60, 60)


def distance_label(
    start: Float[Tensor, "3"], end: Float[Tensor, "3"], capture_from_scene: Similarity, world: World | None = None
) -> str:
    """The distance of two points of the scene, in metres where the world is known, else in the capture's own units."""
    length = float((end - start).norm()) * capture_from_scene.scale
    if world is None:
        return f"{length:.4g} units of the capture"
    return f"{length * world.metres_from_capture.scale:.4g} m"


class PlacePanel:
    """Controls that all visitors share."""

    def __init__(
        self,
        server: viser.ViserServer,
        document: Document,
        pointer: Pointer,
        up_world: tuple[float, float, float],
        capture_from_scene: Similarity,
        world: World | None,
    ) -> None:
        self._server, self._document, self._pointer = server, document, pointer
        self._up_world, self._capture_from_scene, self._world = up_world, capture_from_scene, world
        self._ends: list[Float[Tensor, 3]] = []
        self._drawn: list[viser.SceneNodeHandle] = []
        gui = server.gui
        with gui.add_folder("Place", order=LAST, expand_by_default=False):
            self._up = gui.add_dropdown("Up", (AS_CAPTURED, *AXES), initial_value=AS_CAPTURED)
            hint = "Then click a point: the camera turns round it."
            self._center = gui.add_button("Set centre of rotation", icon=viser.Icon.FOCUS_CENTERED, hint=hint)
            units = "units of the capture" if world is None else "metres"
            hint = f"Then click two points. Lengths are in {units}."
            self._measure = gui.add_button("Measure a distance", icon=viser.Icon.RULER_MEASURE, hint=hint)
            self._length = gui.add_markdown("", visible=False)
            self._clear = gui.add_button("Remove the measure", icon=viser.Icon.TRASH, visible=False)
        self._up.on_update(self._on_up)
        self._center.on_click(self._take_up(self._on_center_click, "Click what the camera shall turn round."))
        hint = "Click the two ends of what you measure."
        self._measure.on_click(self._take_up(self._on_measure_click, hint, self._forget_measure))
        self._clear.on_click(self._on_clear)

    def _take_up(
        self, tool: Callable[[viser.SceneClickEvent], None], hint: str, begin: Callable[[], None] = lambda: None
    ):
        async def take(event: viser.GuiEvent) -> None:
            begin()
            self._pointer.on_clicks(tool, lambda: None)
            if event.client is not None:
                event.client.add_notification("Click on the picture", hint, auto_close_seconds=5.0)

        return take

    async def _on_up(self, _: viser.GuiEvent) -> None:
        up = AXES.get(choice(self._up.value, tuple(AXES), ""), self._up_world)
        self._server.scene.set_up_direction(up)
        self._server.initial_camera.up = up
        for client in self._server.get_clients().values():
            client.camera.up_direction = np.array(up)

    def _point(self, event: viser.SceneClickEvent) -> Float[Tensor, "3"] | None:
        models = self._document.models
        model = models.merged() if models.field is None else models.field
        point = None if model is None else picked_point(model, event.ray_origin, event.ray_direction)
        if point is None:
            event.client.add_notification("Nothing there", "Click on the model itself.", auto_close_seconds=3.0)
        return point

    def _on_center_click(self, event: viser.SceneClickEvent) -> None:
        point = self._point(event)
        if point is not None:
            event.client.camera.look_at = point.numpy()
            self._pointer.release()

    def _on_measure_click(self, event: viser.SceneClickEvent) -> None:
        point = self._point(event)
        if point is None or len(self._ends) == 2:
            return
        self._ends = [*self._ends, point]
        self._draw()
        if len(self._ends) == 2:
            self._pointer.release()

    async def _on_clear(self, _: viser.GuiEvent) -> None:
        self._forget_measure()

    def _forget_measure(self) -> None:
        self._ends = []
        self._draw()

    def _draw(self) -> None:
        """The line, of no length after the first click: its cap marks the place. And how long it is."""
        for handle in self._drawn:
            handle.remove()
        self._drawn = []
        if len(self._ends) < 2:
            self._length.visible = self._clear.visible = False
        if not self._ends:
            return
        ends = torch.stack([self._ends[0], self._ends[-1]]).float().numpy()
        line = {"thickness": 4.0, "thickness_units": "screen"}
        self._drawn.append(self._server.scene.add_line_segments(f"{MEASURE}/line", ends[None], MEASURE_COLOR, **line))
        if len(self._ends) < 2:
            return
        label = distance_label(self._ends[0], self._ends[1], self._capture_from_scene, self._world)
        self._drawn.append(self._server.scene.add_label(f"{MEASURE}/length", label, position=ends.mean(axis=0)))
        self._length.content = f"Distance: **{label}**"
        self._length.visible = self._clear.visible = True
