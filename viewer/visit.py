"""One visitor: what he wants to see, the controls for it, and the photo where he stands."""

import math
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import wraps

import numpy as np
import viser

from neural3d.render.colormaps import COLORMAPS
from neural3d.scene import Scene
from neural3d.viewer.clouds import FOLDER as SPLATS
from neural3d.viewer.comparison import MODES, SAME_PLACE, Comparison
from neural3d.viewer.display import OUTPUTS, Display
from neural3d.viewer.frames import FrameServer
from neural3d.viewer.space import View, fov_in_window, view_of_photo
from neural3d.viewer.stage import PHOTOS
from neural3d.viewer.values import choice, color, number

BY_BROWSER, BY_ENGINE = "browser (fast)", "engine (exact)"
NO_COMPARISON = "Off"
RESOLUTIONS = {"Full": 1.0, "75 %": 0.75, "50 %": 0.5, "25 %": 0.25}
ARRIVAL_SECONDS = 3.0
NEAREST, FARTHEST = 1e-4, 1e3
"""Of what he turns round, in distances of where he comes in."""
_WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Surroundings:
    """What all visitors have in common."""

    frames: FrameServer
    scene: Scene | None
    is_field: bool
    can_draw: bool
    """The engine draws pictures; else there are splats in the browser alone."""
    background: tuple[float, float, float]
    start: viser.InitialCameraConfig
    """Where visitors come in."""
    visitors: Callable[[], Container[int]]
    """Who is here, by viser's number of the client: who leaves is no longer among them before his controls are gone."""


def _while_here(change: Callable[..., None]) -> Callable[..., None]:
    """A change of a visitor's page that ends without a word where he has left, before it or meanwhile."""

    @wraps(change)
    def changed(visit: "Visit", *arguments: object) -> None:
        if visit.has_left:
            return
        try:
            change(visit, *arguments)
        except RuntimeError:  # what viser raises of a control that is gone, among other things
            if not visit.has_left:
                raise
        finally:
            visit.forget_if_left()

    return changed


def view_of_client(camera: viser.CameraHandle) -> View:
    """Where a visitor stands, as it passed `inbox.is_usable`."""
    wxyz, position = tuple(camera.wxyz.tolist()), tuple(camera.position.tolist())
    return View(wxyz, position, float(camera.fov), int(camera.image_width), int(camera.image_height))


class Visit:
    """A visitor's own controls; what they say changes his page and nobody else's."""

    def __init__(self, client: viser.ClientHandle, tab: viser.GuiTabHandle, around: Surroundings) -> None:
        self.client, self._around = client, around
        self._curtains: dict[str, viser.FrameHandle] = {}
        self._photo: int | None = None
        self._has_arrived, self._left_for_photo = False, 0.0
        self._is_exact = False
        self._sent_background: tuple[float, float, float] | None = _WHITE
        with tab:
            self._add_picture_controls()
            if around.scene is not None:
                self._add_photo_controls(around.scene)
            self._add_place_controls()
        client.camera.on_update(self._on_camera)
        self._widen_limits()
        if self._aspect < 1.0:
            client.camera.fov = self._start_fov
        self.update()

    def _widen_limits(self) -> None:
        """Viser lets nobody come nearer or go farther than suits a scene of a few metres."""
        start, camera = self._around.start, self.client.camera
        distance = math.dist(start.position, start.look_at)
        camera.min_orbit_distance = max(1e-9, min(camera.min_orbit_distance, NEAREST * distance))
        camera.max_orbit_distance = max(camera.max_orbit_distance, FARTHEST * distance)

    @property
    def _aspect(self) -> float:
        """Of his window."""
        return self.client.camera.image_width / self.client.camera.image_height

    @property
    def _start_fov(self) -> float:
        return fov_in_window(self._around.start.fov, self._aspect)

    def _add_picture_controls(self) -> None:
        gui, around = self.client.gui, self._around
        by = (BY_ENGINE,) if around.is_field else (BY_BROWSER, BY_ENGINE) if around.can_draw else (BY_BROWSER,)
        hint = "The engine shows every Gaussian with its view-dependent colour; the browser is smoother."
        self._by = gui.add_dropdown("Drawn by", by, initial_value=by[0], hint=hint, visible=len(by) > 1)
        self._output = gui.add_dropdown("Show", OUTPUTS, initial_value=OUTPUTS[0], visible=around.can_draw)
        self._colormap = gui.add_dropdown("Colours", COLORMAPS, initial_value=COLORMAPS[0], visible=False)
        red, green, blue = (round(255 * part) for part in around.background)
        self._background = gui.add_rgb("Background", (red, green, blue))
        hint = "Of the engine's pictures; less is quicker."
        sizes = tuple(RESOLUTIONS)
        self._size = gui.add_dropdown("Resolution", sizes, initial_value=sizes[0], hint=hint, visible=False)
        for control in (self._by, self._output, self._colormap, self._background, self._size):
            control.on_update(self._on_choice)

    def _add_photo_controls(self, scene: Scene) -> None:
        gui = self.client.gui
        with gui.add_folder("Photos"):
            self._photos = gui.add_checkbox("Show photos", True)
            self._step = gui.add_button_group("Stand at", ("Previous", "Next"))
            self._where = gui.add_markdown("Click a photo in the scene to stand where it was taken.")
            modes = (NO_COMPARISON, *MODES)
            self._mode = gui.add_dropdown("Compare", modes, initial_value=modes[0], disabled=not self._around.can_draw)
            self._border = gui.add_slider("Photo | render", 0.0, 1.0, 0.01, 0.5, visible=False)
        for control in (self._photos, self._mode, self._border):
            control.on_update(self._on_choice)

        @self._step.on_click
        async def _(_: viser.GuiEvent) -> None:
            forward = self._step.value == "Next"
            start = -1 if forward else 0
            now = start if self._photo is None else self._photo
            self.stand_at((now + (1 if forward else -1)) % len(scene.cameras))

    def _add_place_controls(self) -> None:
        gui = self.client.gui
        reset = gui.add_button("Reset view", icon=viser.Icon.HOME, hint="Back to where you came in, upright.")
        reset.on_click(self._on_reset)

    @property
    def has_left(self) -> bool:
        """He is gone, and his controls with him."""
        return self.client.client_id not in self._around.visitors()

    def forget_if_left(self) -> None:
        """Pictures that were asked for while he left are nobody's."""
        if self.has_left:
            self._around.frames.leave(self.client.client_id)

    async def _on_choice(self, _: viser.GuiEvent) -> None:
        self.update()

    async def _on_reset(self, _: viser.GuiEvent) -> None:
        self.reset_view()

    async def _on_camera(self, _: viser.CameraHandle) -> None:
        self._follow()

    @_while_here
    def _follow(self) -> None:
        if self._photo is not None:
            self._watch_photo(self._photo)
        if self._is_exact:
            self._around.frames.look(self.client.client_id, view_of_client(self.client.camera), self.display())

    @_while_here
    def draw_by_engine(self) -> None:
        """As if he had chosen the engine's pictures, which he hears of on the thread that all choices are heard on."""
        self._by.value = BY_ENGINE

    def reset_view(self) -> None:
        """Go back to the start."""
        start, camera = self._around.start, self.client.camera
        with self.client.atomic():
            if start.up is not None:
                camera.up_direction = start.up
            camera.position, camera.look_at, camera.fov = start.position, start.look_at, self._start_fov

    @_while_here
    def stand_at(self, index: int) -> None:
        """Go to where a photo was taken, with an angle of view that shows all of it."""
        scene, camera = self._around.scene, self.client.camera
        if scene is None or not 0 <= index < len(scene.cameras):
            return
        place = view_of_photo(scene.cameras[index], self._aspect)
        with self.client.atomic():
            camera.wxyz, camera.position, camera.fov = np.asarray(place.wxyz), np.asarray(place.position), place.fov_rad
        self._photo, self._has_arrived, self._left_for_photo = index, False, time.monotonic()
        held_out = " · held out" if index in scene.test_indices.tolist() else ""
        self._where.content = f"**{index + 1} of {len(scene.cameras)}** · {scene.photos[index].name}{held_out}"
        self.update()

    def _watch_photo(self, index: int) -> None:
        """He has left it once he was there, or did not get there; messages from on his way still come for a while."""
        if self._is_at(index):
            self._has_arrived = True
        elif self._has_arrived or time.monotonic() - self._left_for_photo > ARRIVAL_SECONDS:
            self._leave_photo()

    def _is_at(self, index: int) -> bool:
        scene = self._around.scene
        apart = scene.cameras.centers_world[index].double().cpu().numpy() - self.client.camera.position
        return float(np.linalg.norm(apart)) <= SAME_PLACE * scene.extent

    def _leave_photo(self) -> None:
        self._photo = None
        self._where.content = "Click a photo in the scene to stand where it was taken."
        self.update()

    def display(self) -> Display:
        """What is to be drawn for him, as his controls say."""
        comparison = self._comparison()
        return Display(
            output="Colour" if comparison is not None else choice(self._output.value, OUTPUTS, "Colour"),
            colormap=choice(self._colormap.value, COLORMAPS, COLORMAPS[0]),
            background=color(self._background.value),
            scale=RESOLUTIONS.get(self._size.value, 1.0),
            comparison=comparison,
        )

    def _comparison(self) -> Comparison | None:
        scene = self._around.scene
        if scene is None or self._photo is None or self._mode.value not in MODES:
            return None
        border = number(self._border.value, 0.0, 1.0, 0.5)
        mode = choice(self._mode.value, MODES, MODES[0])
        return Comparison(scene.photos[self._photo], scene.cameras[self._photo], mode, border)

    @_while_here
    def update(self) -> None:
        """Bring his page in line with his controls."""
        display = self.display()
        wants_engine = self._by.value == BY_ENGINE or display.output != "Colour" or display.comparison is not None
        self._is_exact = self._around.can_draw and (self._around.is_field or wants_engine)
        self._colormap.visible = display.output == "Depth"
        self._size.visible = self._is_exact
        self._hide(SPLATS, self._is_exact)
        if self._around.scene is not None:
            self._border.visible = display.comparison is not None and display.comparison.mode == "Wipe"
            # Who stands at a photo would see nothing but that: its frustum begins at his eye.
            self._hide(PHOTOS, not self._photos.value or self._photo is not None)
        if self._is_exact:
            self._sent_background = None
            self._around.frames.look(self.client.client_id, view_of_client(self.client.camera), display)
            if not self._around.frames.is_drawing:
                self._show_background(display.background)
        else:
            self._around.frames.leave(self.client.client_id)
            self._show_background(display.background)

    @_while_here
    def clear_if_nothing_is_drawn(self) -> None:
        """The engine's last picture would stay: behind the browser's splats, or of what is hidden or deleted now."""
        if not (self._is_exact and self._around.frames.is_drawing):
            self._sent_background = None
            self._show_background(self.display().background)

    def _hide(self, node: str, is_hidden: bool) -> None:
        """A node of the client's own in the place of a shared one hides it, and all below, from this client alone."""
        if is_hidden and node not in self._curtains:
            self._curtains[node] = self.client.scene.add_frame(node, show_axes=False, visible=False)
        elif not is_hidden and node in self._curtains:
            self._curtains.pop(node).remove()

    def _show_background(self, background: tuple[float, float, float]) -> None:
        if background == self._sent_background:
            return
        self._sent_background = background
        if background == _WHITE:
            self.client.scene.set_background_image(None)
            return
        pixels = np.full((2, 2, 3), np.round(np.array(background) * 255), dtype=np.uint8)
        self.client.scene.set_background_image(pixels, format="png")
