"""The page Edit: a region to crop to or to select with, tools to select on the screen, and delete and undo."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import viser

from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.brush import Brush, Stroke
from neural3d.viewer.document import Change, Document
from neural3d.viewer.models import Models
from neural3d.viewer.pointer import Pointer
from neural3d.viewer.regions import SHAPES, Region, in_rectangle, in_stroke, region_around
from neural3d.viewer.values import choice, number, numbers
from neural3d.viewer.visit import view_of_client

NO_REGION, NO_TOOL = "None", "Off"
RECTANGLE, BRUSH = "Rectangle", "Brush"
MODES = ("Add", "Replace", "Remove")
REGION = "/region"
REGION_COLOR = (240, 150, 20)
MAX_SIZE = 1e6


class RegionTool:
    """A box or an ellipsoid with a gizmo, which all visitors see."""

    def __init__(self, server: viser.ViserServer, document: Document, on_change: Callable[[], None]) -> None:
        """`on_change` is called when somebody has moved or resized it."""
        self._server, self._document, self._on_change = server, document, on_change
        self._gizmo: viser.TransformControlsHandle | None = None
        gui = server.gui
        self._shape = gui.add_dropdown("Region", (NO_REGION, *SHAPES), initial_value=NO_REGION)
        self._size = gui.add_vector3("Size", (1.0, 1.0, 1.0), min=(1e-4,) * 3, step=0.01, visible=False)
        self._shape.on_update(self._on_shape)
        self._size.on_update(self._on_size)

    @property
    def region(self) -> Region | None:
        """As it stands; None where there is none."""
        if self._gizmo is None:
            return None
        x, y, z = (float(value) for value in self._gizmo.position)
        size = numbers(self._size.value, 1e-6, MAX_SIZE, (1.0, 1.0, 1.0))
        w, i, j, k = (float(value) for value in self._gizmo.wxyz)
        return Region(choice(self._shape.value, SHAPES, "Box"), (x, y, z), (size[0], size[1], size[2]), (w, i, j, k))

    def _on_shape(self, _: viser.GuiEvent) -> None:
        if self._shape.value not in SHAPES:
            self._remove()
        elif self._gizmo is None:
            self._place(choice(self._shape.value, SHAPES, "Box"))
        self._draw()
        self._on_change()

    async def _on_size(self, _: viser.GuiEvent) -> None:
        self._draw()
        self._on_change()

    async def _on_move(self, event: viser.TransformControlsEvent) -> None:
        if event.phase == "end":
            self._on_change()

    def _place(self, shape: str) -> None:
        merged = self._document.models.merged(with_selection=False)
        points = torch.zeros(0, 3) if merged is None else merged.means_world.detach().cpu()
        found = region_around(points, choice(shape, SHAPES, "Box"))
        self._size.value = found.size
        arrow = 0.6 * max(found.size)
        self._gizmo = self._server.scene.add_transform_controls(
            REGION, scale=arrow, line_width=3.0, position=found.center, depth_test=False
        )
        self._gizmo.on_update(self._on_move)
        self._size.visible = True

    def _remove(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None
        self._size.visible = False

    def _draw(self) -> None:
        region = self.region
        if region is None:
            return
        scene = self._server.scene
        if region.shape == "Box":
            segments = _box_edges() * np.array(region.size) / 2
        else:
            segments = _circles() * np.array(region.size) / 2
        scene.add_line_segments(f"{REGION}/outline", segments, REGION_COLOR, thickness=2.0, thickness_units="screen")


class EditPanel:
    """What the page holds; its controls are shared by all visitors, and so is what they do."""

    def __init__(self, server: viser.ViserServer, document: Document, pointer: Pointer) -> None:
        self._server, self._document, self._pointer = server, document, pointer
        gui = server.gui
        with gui.add_folder("Crop and region"):
            self._region = RegionTool(server, document, self._on_region)
            self._is_cropped = gui.add_checkbox("Show only what is inside", False, visible=False)
            self._inside = gui.add_button_group("Select", ("Inside", "Outside"), visible=False)
        with gui.add_folder("Select on the picture"):
            self._tool = gui.add_dropdown("Tool", (NO_TOOL, RECTANGLE, BRUSH), initial_value=NO_TOOL)
            self._radius = gui.add_slider("Brush (pixels)", 2, 200, 1, 30, visible=False)
            self._brush = Brush(server, self._on_stroke)
            self._mode = gui.add_dropdown("Do", MODES, initial_value=MODES[0])
            self._change = gui.add_button_group("Selection", ("Invert", "Clear"))
        self._status = gui.add_markdown("")
        self._delete = gui.add_button("Delete selected", color="red", icon=viser.Icon.TRASH)
        self._keep = gui.add_button("Keep only selected", icon=viser.Icon.SCISSORS)
        self._undo = gui.add_button("Undo", icon=viser.Icon.ARROW_BACK_UP)
        self._listen()
        self.refresh()

    def _listen(self) -> None:
        self._is_cropped.on_update(self._on_crop)
        self._inside.on_click(self._on_inside)
        self._tool.on_update(self._on_tool)
        self._radius.on_update(self._on_radius)
        self._change.on_click(self._on_change)
        self._delete.on_click(self._on_delete)
        self._keep.on_click(self._on_keep)
        self._undo.on_click(self._on_undo)

    def refresh(self) -> None:
        """Say what is there, what is selected, what is gone."""
        models = self._document.models
        total = sum(len(entry.model) for entry in models.entries if isinstance(entry.model, Gaussians))
        parts = [f"**{total - models.num_deleted:,}** splats"]
        parts += [f"**{models.num_selected:,}** selected"] if models.num_selected else []
        parts += [f"{models.num_deleted:,} deleted"] if models.num_deleted else []
        self._status.content = " · ".join(parts)
        self._delete.disabled = self._keep.disabled = not models.num_selected
        self._undo.disabled = not self._document.can_undo

    def apply(self, change: Change, client: viser.ClientHandle | None) -> None:
        """Change what is on show, or say why that cannot be."""
        if self._document.is_training:
            if client is not None:
                client.add_notification(
                    "Still training", "Select and delete once the training is over.", auto_close_seconds=6.0
                )
            return
        self._document.later(change)

    def undo(self) -> None:
        """Take the last change back."""
        self._document.run(self._document.undo)

    def delete(self, client: viser.ClientHandle | None) -> None:
        """Delete what is selected."""
        self.apply(_of_selected(Models.delete_selected), client)

    def _select(self, region_of, client: viser.ClientHandle | None) -> None:
        mode = choice(self._mode.value, MODES, MODES[0])
        self.apply(lambda models: models.select(region_of, mode), client)

    def _on_region(self) -> None:
        there = self._region.region is not None
        self._is_cropped.visible = self._inside.visible = there
        if not there:
            self._is_cropped.value = False
        self._set_crop()

    async def _on_crop(self, _: viser.GuiEvent) -> None:
        self._set_crop()

    def _set_crop(self) -> None:
        crop = self._region.region if self._is_cropped.value is True else None
        # What is cropped now may be another thing once it is this change's turn: it is always asked for.
        self._document.later(
            lambda models: replace(models, crop=crop) if crop != models.crop else models, undoable=False
        )

    async def _on_inside(self, event: viser.GuiEvent) -> None:
        region = self._region.region
        if region is None:
            return
        outside = self._inside.value == "Outside"
        self._select(lambda points: region.contains(points) ^ outside, event.client)

    async def _on_tool(self, _: viser.GuiEvent) -> None:
        tool = self._tool.value
        self._radius.visible = tool == BRUSH
        self._pointer.release(is_told=False)
        if tool == RECTANGLE:
            self._pointer.on_rectangles(self._on_rectangle, self._put_away)
        elif tool == BRUSH:
            self._pointer.hold(self._put_away)
        self._brush.take_up(self._brush_px if tool == BRUSH else None)

    def _put_away(self) -> None:
        self._tool.value, self._radius.visible = NO_TOOL, False
        self._brush.take_up(None)

    def _on_rectangle(self, event: viser.SceneRectSelectEvent) -> None:
        view, low, high = view_of_client(event.client.camera), event.screen_min, event.screen_max
        self._select(lambda points: in_rectangle(points, view, low, high), event.client)

    @property
    def _brush_px(self) -> float:
        return number(self._radius.value, 1.0, 1000.0, 30.0)

    async def _on_radius(self, _: viser.GuiEvent) -> None:
        if self._tool.value == BRUSH:
            self._brush.take_up(self._brush_px)

    def _on_stroke(self, client: viser.ClientHandle, stroke: Stroke) -> None:
        view, radius = view_of_client(client.camera), self._brush_px
        self._select(lambda points: in_stroke(points, view, stroke, radius), client)

    def welcome(self, client: viser.ClientHandle) -> None:
        """Somebody has come."""
        self._brush.welcome(client)

    # Buttons of one group share a value: a coroutine is awaited before the next message changes it.
    async def _on_change(self, event: viser.GuiEvent) -> None:
        change = Models.invert_selection if self._change.value == "Invert" else Models.clear_selection
        self.apply(change, event.client)

    async def _on_delete(self, event: viser.GuiEvent) -> None:
        self.delete(event.client)

    async def _on_keep(self, event: viser.GuiEvent) -> None:
        self.apply(_of_selected(lambda models: models.invert_selection().delete_selected()), event.client)

    async def _on_undo(self, _: viser.GuiEvent) -> None:
        self.undo()


def _of_selected(change: Change) -> Change:
    """No change where nothing is selected once it is its turn."""
    return lambda models: change(models) if models.num_selected else models


def _box_edges() -> np.ndarray:
    """The 12 edges of the cube from -1 to 1: 12 2 3."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
    pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 2]
    return np.array([[corners[a], corners[b]] for a, b in pairs])


def _circles(count: int = 64) -> np.ndarray:
    """Three great circles of the unit sphere, as pieces of lines: 3*count 2 3."""
    turn = np.linspace(0, 2 * np.pi, count + 1)
    flat = np.stack([np.cos(turn), np.sin(turn), np.zeros_like(turn)], axis=1).astype(np.float32)
    rings = [flat, flat[:, [2, 0, 1]], flat[:, [1, 2, 0]]]
    return np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
