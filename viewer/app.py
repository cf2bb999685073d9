"""The viewer: a web page that shows the splats, while they are trained or afterwards.

Three threads, and none of them is the training's: viser's event loop talks to browsers, the publisher turns snapshots
into splats, the frame server draws exact pictures. Training hands over a copy now and then, and waits for nobody.
"""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import viser

from neural3d.fields.field import RadianceField
from neural3d.render.rendering import RenderFn
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.observer import Progress, Request
from neural3d.viewer.frames import FrameServer, Picture
from neural3d.viewer.panel import BRAND_COLOR, TrainingPanel
from neural3d.viewer.server import MAX_CLIENTS, STALL_SECONDS, start_server
from neural3d.viewer.space import View
from neural3d.viewer.splats import MAX_SPLATS, SplatCloud, splats_from_gaussians
from neural3d.viewer.stage import add_photos, add_points, show_scene

SNAPSHOT_SECONDS = 1.5
MAX_SNAPSHOT_SHARE = 0.01
"""The part of training's time that copying for the viewer may take."""
TRAINING_FRAME_SHARE = 0.4
NOTICE_SECONDS = 10.0
BY_BROWSER, BY_ENGINE = "browser (fast)", "engine (exact)"

Model = Gaussians | RadianceField

log = logging.getLogger("neural3d.viewer")


class Viewer:
    """A running viewer; also a `TrainingObserver`, so that it can be handed to a trainer.

    `url` holds the token: whoever has it can look and press the buttons, nobody else can.

    Limits: the browser draws each splat in one colour, at most 150,000 of them; `engine (exact)` in the panel shows
    every Gaussian with its harmonics, when there is a `render_fn_from`. Fields are drawn by the engine alone.
    """

    def __init__(
        self,
        scene: Scene | None = None,
        *,
        title: str = "neural3d",
        is_training: bool = True,
        is_field: bool = False,
        render_fn_from: Callable[[Any], RenderFn] | None = None,
        host: str = "127.0.0.1",
        port: int = 7007,
        allow_hosts: tuple[str, ...] = (),
        max_clients: int = MAX_CLIENTS,
        max_splats: int = MAX_SPLATS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """Start listening.

        Args:
            scene: Gives the photos, the points, what is up and where visitors start.
            title: Shown at the head of the panel.
            is_training: Show progress, Pause and Stop.
            is_field: The model is a radiance field, which browsers cannot draw: all pictures are `render_fn_from`'s.
            render_fn_from: Makes a renderer of a model, as `neural3d.render.model.model_render_function` does; None
                leaves the exact pictures out.
            host: Where to listen; anything but the loopback lets others in who know the token.
            port: The first port to try, the next free one is taken; 0 takes any.
            allow_hosts: More names that this machine goes by, as behind a proxy or a tunnel.
            max_clients: Windows that may look at once.
            max_splats: Splats that are sent to the browser.
            stall_seconds: A client that takes nothing for so long is dropped.

        Raises:
            InputError: the address cannot be listened on, or a name in `allow_hosts` is none.
        """
        self.errors = 0
        """Pictures and updates that failed; training knows nothing of them."""
        self._max_splats, self._render_fn_from, self._is_field = max_splats, render_fn_from, is_field
        self._is_blank = True
        self._request: Request = "run"
        self._progress: Progress | None = None
        self._model: Model | None = None
        self._next_snapshot = 0.0
        self._told_at: dict[int, float] = {}
        self._splats: viser.GaussianSplatHandle | None = None
        self._changed = threading.Condition()
        self._closed = False
        self.server = start_server(
            host, port, label=title, allow_hosts=allow_hosts, max_clients=max_clients, stall_seconds=stall_seconds
        )
        self.panel = TrainingPanel(self.server.gui, self._on_pause, self._on_stop) if is_training else None
        self._set_up_page(scene)
        share = TRAINING_FRAME_SHARE if is_training else 1.0
        self._frames = FrameServer(self._deliver, self._on_frame_error, share)
        self.server.on_client_connect(self._on_connect)
        self.server.on_client_disconnect(self._on_disconnect)
        self._publisher = threading.Thread(target=self._publish_forever, name="neural3d-publisher", daemon=True)
        self._publisher.start()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """The address to open, with its token."""
        host = self.server.get_host()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.server.get_port()}/?token={self.server.door.gate.token}"

    def on_progress(self, progress: Progress, snapshot: Callable[[], Model]) -> None:
        """Take note, and now and then a copy, when somebody is looking; called from the training thread."""
        now = time.monotonic()
        is_watched = bool(self.server.door.clients) or self._is_blank
        is_copy_due = (now >= self._next_snapshot and is_watched) or progress.fraction >= 1.0
        if is_copy_due:
            # Copied here, between two steps, because a copy made by another thread could mix two of them.
            model = snapshot()
            taken = time.monotonic()
            self._next_snapshot = taken + max(SNAPSHOT_SECONDS, (taken - now) / MAX_SNAPSHOT_SHARE)
        with self._changed:
            self._progress = progress
            if is_copy_due:
                self._model = model
            self._changed.notify()

    def requested(self) -> Request:
        """What the visitors want of the training; instant."""
        return self._request

    def show(self, model: Model) -> None:
        """Show a model; returns at once. One that is not shown yet when the next comes is skipped."""
        with self._changed:
            self._model = model
            self._changed.notify()

    def end(self, message: str) -> None:
        """Training is over: say so in the panel, retire its buttons, and give exact pictures all the time they want."""
        if self.panel is not None:
            self.panel.end(message)
        self._frames.share = 1.0

    def close(self) -> None:
        """Stop listening and end all threads; also done when the program ends."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._publisher.join(timeout=5.0)
        self._frames.close()
        self.server.stop()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_up_page(self, scene: Scene | None) -> None:
        self.server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=BRAND_COLOR)
        self._picture_folder = self.server.gui.add_folder("Picture")
        if scene is None:
            return
        show_scene(self.server, scene)
        photos, points = add_photos(self.server, scene), add_points(self.server, scene)
        with self._picture_folder:
            _add_switch(self.server.gui, "Photos", photos, True)
            if points is not None:
                _add_switch(self.server.gui, "Captured points", [points], False)

    def _on_pause(self, is_paused: bool) -> None:
        if self._request != "stop":
            self._request = "pause" if is_paused else "run"

    def _on_stop(self) -> None:
        self._request = "stop"

    def _publish_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._progress or self._model is not None)
                if self._closed:
                    return
                progress, self._progress = self._progress, None
                model, self._model = self._model, None
            try:
                self._publish(progress, model)
            except Exception as error:  # a picture that fails must not end those that follow, nor the training
                self._note("an update failed", error)

    def _publish(self, progress: Progress | None, model: Model | None) -> None:
        if progress is not None and self.panel is not None:
            self.panel.show(progress)
        if model is None:
            return
        if isinstance(model, Gaussians):
            self._show_cloud(splats_from_gaussians(model, self._max_splats))
        if self._render_fn_from is not None:
            self._frames.set_render_fn(self._render_fn_from(model))
        self._is_blank = False

    def _show_cloud(self, cloud: SplatCloud) -> None:
        values, scale = (cloud.centers, cloud.covariances, cloud.rgbs, cloud.opacities), 1.0 / cloud.buffer_from_scene
        if self._splats is None:
            self._splats = self.server.scene.add_gaussian_splats("/splats", *values, scale=scale)
            return
        with self.server.atomic():
            self._splats.set_gaussians(*values)
            self._splats.scale = scale

    async def _on_connect(self, client: viser.ClientHandle) -> None:
        if self._render_fn_from is None:
            return
        if self._is_field:
            self._frames.look(client.client_id, _view(client.camera))
            client.camera.on_update(self._on_look)
            return
        with self._picture_folder:
            choice = client.gui.add_dropdown("Drawn by", (BY_BROWSER, BY_ENGINE), initial_value=BY_BROWSER)
        curtain: list[viser.FrameHandle] = []

        @choice.on_update
        async def _(_: viser.GuiEvent) -> None:
            if choice.value == BY_ENGINE and not curtain:
                # A node of the client's own hides the shared splats from this client alone.
                curtain.append(client.scene.add_frame("/splats", show_axes=False, visible=False))
                self._frames.look(client.client_id, _view(client.camera))
            elif choice.value != BY_ENGINE and curtain:
                self._frames.leave(client.client_id)
                curtain.pop().remove()
                client.scene.set_background_image(None)

        @client.camera.on_update
        async def _(camera: viser.CameraHandle) -> None:
            if curtain:
                self._frames.look(client.client_id, _view(camera))

    async def _on_look(self, camera: viser.CameraHandle) -> None:
        self._frames.look(camera.client.client_id, _view(camera))

    async def _on_disconnect(self, client: viser.ClientHandle) -> None:
        self._frames.leave(client.client_id)
        self._told_at.pop(client.client_id, None)

    def _deliver(self, client_id: int, picture: Picture) -> None:
        client = self.server.get_clients().get(client_id)
        if client is not None:
            client.scene.set_background_image(picture, format="jpeg", jpeg_quality=85)

    def _on_frame_error(self, client_id: int, error: Exception) -> None:
        self._note("a picture could not be drawn", error)
        client, now = self.server.get_clients().get(client_id), time.monotonic()
        if client is not None and now - self._told_at.get(client_id, -math.inf) > NOTICE_SECONDS:
            self._told_at[client_id] = now
            client.add_notification(
                "This picture could not be drawn", str(error), color="red", auto_close_seconds=NOTICE_SECONDS
            )

    def _note(self, what: str, error: Exception) -> None:
        """Count what failed, and log the first, then each time the count has doubled."""
        self.errors += 1
        if self.errors.bit_count() == 1:
            log.warning("viewer: %s (%d so far)", what, self.errors, exc_info=error)


def _add_switch(gui: viser.GuiApi, label: str, nodes: list, is_on: bool) -> None:
    switch = gui.add_checkbox(label, initial_value=is_on)

    @switch.on_update
    async def _(_: viser.GuiEvent) -> None:
        for node in nodes:
            node.visible = switch.value


def _view(camera: viser.CameraHandle) -> View:
    wxyz, position = tuple(camera.wxyz.tolist()), tuple(camera.position.tolist())
    return View(wxyz, position, float(camera.fov), int(camera.image_width), int(camera.image_height))
