"""The viewer: a web page that shows a model, while it is trained or afterwards.

Three threads, and none of them is the training's: viser's event loop talks to browsers, the publisher turns snapshots
and changes into splats, the frame server draws exact pictures. Training hands over a copy now and then, and waits for
nobody.
"""

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import viser

from neural3d.render.model import Model
from neural3d.render.rendering import RenderFn
from neural3d.scene import Scene, Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.train.observer import Progress, Request
from neural3d.viewer.clouds import Clouds
from neural3d.viewer.controls import Controls
from neural3d.viewer.display import Drawing
from neural3d.viewer.document import Document
from neural3d.viewer.files import Place
from neural3d.viewer.frames import ALL, FrameServer, Picture, Share
from neural3d.viewer.models import BEFORE, MAIN, Entry
from neural3d.viewer.panel import BRAND_COLOR, TrainingPanel
from neural3d.viewer.place import LAST
from neural3d.viewer.server import MAX_CLIENTS, STALL_SECONDS, start_server
from neural3d.viewer.splats import MAX_SPLATS
from neural3d.viewer.stage import add_photos, add_points, show_scene
from neural3d.viewer.visit import Surroundings, Visit

RETRIES, RETRY_SECONDS = 3, 0.5
"""Of an update of the page that failed."""
SNAPSHOT_SECONDS = 1.5
MAX_SNAPSHOT_SHARE = 0.01
"""The part of training's time that copying for the viewer may take."""
WHILE_TRAINING = Share(most=0.4, each=0.07)
"""Of the engine's time, so that one visitor hardly slows training down."""
NOTICE_SECONDS = 10.0
WHITE = (1.0, 1.0, 1.0)
UP = (0.0, -1.0, 0.0)
"""Where nobody says otherwise: most worlds come from COLMAP, whose first camera usually has +y down."""

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
        background: tuple[float, float, float] = WHITE,
        up_world: tuple[float, float, float] | None = None,
        extent: float = 1.0,
        save_folder: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 7007,
        allow_hosts: tuple[str, ...] = (),
        max_clients: int = MAX_CLIENTS,
        max_splats: int = MAX_SPLATS,
        stall_seconds: float = STALL_SECONDS,
        token: str | None = None,
    ) -> None:
        """Start listening.

        Args:
            scene: Gives the photos, the points, what is up and where visitors start.
            title: Shown at the head of the panel.
            is_training: Show progress, Pause, Save and Stop.
            is_field: The model is a radiance field, which browsers cannot draw: all pictures are `render_fn_from`'s.
            render_fn_from: Makes a renderer of a model over black, as `neural3d.render.model.model_render_function`
                does; None leaves the exact pictures out.
            background: What visitors see behind the model at first, display sRGB in [0, 1].
            up_world: What is up where there is no scene to say so.
            extent: About how large what is seen is, where there is no scene.
            save_folder: Where an edited model can be saved to beside being downloaded; None: nowhere.
            host: Where to listen; anything but the loopback lets others in who know the token.
            port: The first port to try, the next free one is taken; 0 takes any.
            allow_hosts: More names that this machine goes by, as behind a proxy or a tunnel.
            max_clients: Windows that may look at once.
            max_splats: Splats that are sent to the browser.
            stall_seconds: A client that takes nothing for so long is dropped.
            token: Of a page that was here before and has closed, so that its visitors find this one; None: a new one.

        Raises:
            InputError: the address cannot be listened on, or a name in `allow_hosts` is none.
        """
        self.errors = 0
        """Pictures and updates that failed; training knows nothing of them."""
        self.visits: dict[int, Visit] = {}
        """Who looks, by viser's number of the client."""
        self._render_fn_from, self._is_field, self._background = render_fn_from, is_field, background
        self._is_blank = True
        self._request: Request = "run"
        self._is_save_due = False
        self._progress: Progress | None = None
        self._model: Model | None = None
        self._next_snapshot = 0.0
        self._told_at: dict[int, float] = {}
        self._changed = threading.Condition()
        self._closed = self._is_changed = False
        self.scene = scene
        self.document = Document(self._on_change)
        self.document.is_training = is_training
        self.server = start_server(
            host,
            port,
            label=title,
            allow_hosts=allow_hosts,
            max_clients=max_clients,
            stall_seconds=stall_seconds,
            token=token,
        )
        self.clouds = Clouds(self.server, max_splats)
        self.panel: TrainingPanel | None = None
        self._frames = FrameServer(self._deliver, self._on_frame_error, WHILE_TRAINING if is_training else ALL)
        self._set_up_page(is_training, _place(scene, up_world or UP, extent, save_folder))
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
        if self._is_save_due and self._request != "stop":
            self._is_save_due = False
            return "save"
        return self._request

    def show(self, model: Model) -> None:
        """Show a model; returns at once. One that is not shown yet when the next comes is skipped."""
        with self._changed:
            self._model = model
            self._changed.notify()

    def show_with_before(self, model: Gaussians, before: Gaussians) -> None:
        """Show a model, and a switch to what it was made of, in its place; both can be hidden and moved like any."""
        entry = Entry(BEFORE, before, Similarity.identity(), visible=False)
        self.document.change(lambda models: models.with_main(model).with_entry(entry), undoable=False)
        with self.controls.view_tab:
            switch = self.server.gui.add_checkbox("Show as it was before", initial_value=False, order=LAST)

        @switch.on_update
        async def _(_: viser.GuiEvent) -> None:
            chosen = BEFORE if switch.value is True else MAIN
            self.document.later(lambda models: models.showing_one_of((MAIN, BEFORE), chosen), undoable=False)

    def end(self, message: str) -> None:
        """Training is over: say so in the panel, retire its buttons, and give exact pictures all the time they want."""
        if self.panel is not None:
            self.panel.end(message)
        self.document.is_training = False
        self._frames.share = ALL

    def close(self) -> None:
        """Stop listening and end all threads; also done when the program ends."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._publisher.join(timeout=5.0)
        self.controls.close()
        self._frames.close()
        self.server.stop()
        self.document.close()

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_up_page(self, is_training: bool, place: Place) -> None:
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=BRAND_COLOR)
        # Beside the picture, not on it: the other half of a comparison would lie below the panel.
        gui.main_panel.dock_right()
        if is_training:
            self.panel = TrainingPanel(gui, self._on_pause, self._on_save, self._on_stop)
        if self.scene is not None:
            show_scene(self.server, self.scene)
            add_photos(self.server, self.scene, self._on_photo)
        self.controls = Controls(self, place, is_field=self._is_field)
        points = None if self.scene is None else add_points(self.server, self.scene)
        if points is not None:
            with self.controls.view_tab:
                _add_switch(gui, "Captured points", points)

    def drawing(self, *, with_selection: bool = True) -> Drawing | None:
        """What is on show, and what draws it; None where nothing is visible, or the engine draws nothing."""
        models = self.document.models
        shown = models.merged(with_selection=with_selection) if models.field is None else models.field
        if shown is None or self._render_fn_from is None:
            return None
        return Drawing(self._render_fn_from(shown), shown)

    @property
    def frame_share(self) -> float:
        """The part of the time that drawing may take; the rest belongs to training."""
        return self._frames.share.most

    def _on_photo(self, client: viser.ClientHandle, index: int) -> None:
        if client.client_id in self.visits:
            self.visits[client.client_id].stand_at(index)

    def _on_pause(self, is_paused: bool) -> None:
        if self._request != "stop":
            self._request = "pause" if is_paused else "run"
            # A training that waits needs no time for itself.
            self._frames.share = ALL if is_paused else WHILE_TRAINING

    def _on_save(self) -> None:
        self._is_save_due = True

    def _on_stop(self) -> None:
        self._request = "stop"

    def _on_change(self) -> None:
        """The document was changed; called from any thread."""
        with self._changed:
            self._is_changed = True
            self._changed.notify()

    def _publish_forever(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._is_due())
                if self._closed:
                    return
                progress, self._progress = self._progress, None
                model, self._model = self._model, None
            try:
                self._publish(progress, model)
                failures = 0
            except Exception as error:  # a picture that fails must not end those that follow, nor the training
                self._note("an update failed", error)
                failures += 1
                if failures <= RETRIES:
                    self._try_again(model)

    def _try_again(self, model: Model | None) -> None:
        """What failed may be the last that comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=RETRY_SECONDS)
            self._is_changed = True
            if self._model is None:
                self._model = model

    def _is_due(self) -> bool:
        return self._progress is not None or self._model is not None or self._is_changed

    def _publish(self, progress: Progress | None, model: Model | None) -> None:
        if progress is not None and self.panel is not None:
            self.panel.show(progress)
        if model is not None:
            self.document.replace_main(lambda models: models.with_main(model))
        with self._changed:
            is_changed, self._is_changed = self._is_changed, False
        if is_changed:
            self._show_models()

    def _show_models(self) -> None:
        self._is_blank = False
        self.clouds.show(self.document.models)
        self._frames.set_drawing(self.drawing())
        if self._render_fn_from is not None and not self._frames.is_drawing:
            for visit in tuple(self.visits.values()):
                visit.clear_if_nothing_is_drawn()
        self.controls.refresh()

    async def _on_connect(self, client: viser.ClientHandle) -> None:
        can_draw = self._render_fn_from is not None
        start = self.server.initial_camera
        here = self.server.get_clients
        around = Surroundings(self._frames, self.scene, self._is_field, can_draw, self._background, start, here)
        self.visits[client.client_id] = Visit(client, self.controls.view_tab, around)
        self.controls.welcome(client)

    async def _on_disconnect(self, client: viser.ClientHandle) -> None:
        self._frames.leave(client.client_id)
        self.visits.pop(client.client_id, None)
        self._told_at.pop(client.client_id, None)

    def _deliver(self, client_id: int, picture: Picture) -> None:
        client = self.server.get_clients().get(client_id)
        if client is None:
            return
        client.scene.set_background_image(picture, format="jpeg", jpeg_quality=85)
        visit = self.visits.get(client_id)
        if visit is not None:
            visit.clear_if_nothing_is_drawn()

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


def _add_switch(gui: viser.GuiApi, label: str, node: viser.SceneNodeHandle) -> None:
    switch = gui.add_checkbox(label, initial_value=False, order=LAST)

    @switch.on_update
    async def _(_: viser.GuiEvent) -> None:
        node.visible = switch.value


def _place(scene: Scene | None, up_world: tuple[float, float, float], extent: float, save_folder: Path | None) -> Place:
    if scene is None:
        return Place(Similarity.identity(), up_world, None, extent, save_folder)
    x, y, z = scene.up_world.tolist()
    return Place(scene.capture_from_scene, (x, y, z), scene.cameras, scene.extent, save_folder, scene.world)
