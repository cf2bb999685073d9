"""The page Files: the models on show, one more from a file, and all that is visible as a file of any format."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import viser

from neural3d.cameras import Cameras
from neural3d.errors import InputError
from neural3d.export.formats import FORMATS
from neural3d.export.reading_apart import READABLE, read_content
from neural3d.export.scene_export import export_scene
from neural3d.scene import Similarity, World
from neural3d.splats.gaussians import Gaussians
from neural3d.storage import make_folder
from neural3d.viewer.clouds import Clouds
from neural3d.viewer.document import Document
from neural3d.viewer.meshes import MESH, write_surface
from neural3d.viewer.models import MAIN, MAX_MODELS, Entry, Models, placed_at
from neural3d.viewer.notices import failures_told, send_file
from neural3d.viewer.regions import region_around
from neural3d.viewer.values import number, taken_file

GIZMOS = "/gizmos"
MAX_NAME = 40
MIN_SCALE, MAX_SCALE = 1e-4, 1e4
"""That visitors may give a model; one that comes from a file may have another."""
MAX_EXPORTS = 2
"""One that is written and one that waits: each takes as much memory as the model."""
ENOUGH_POINTS = 50_000
"""To see how large a model is."""


@dataclass(frozen=True)
class Place:
    """Where the scene lies, for what goes out and comes in."""

    capture_from_scene: Similarity
    up_world: tuple[float, float, float]
    """In the scene's frame."""
    cameras: Cameras | None
    extent: float
    save_folder: Path | None
    """Where "Save" writes; None: there is no such button."""
    world: World | None = None
    """The way from the capture's frame to metres, where it is known."""


class ModelsPanel:
    """Which models there are: hide, move, scale and remove them."""

    def __init__(self, server: viser.ViserServer, document: Document, clouds: Clouds, extent: float) -> None:
        self._server, self._document, self._clouds, self._extent = server, document, clouds, extent
        self._gizmo: viser.TransformControlsHandle | None = None
        self._is_dragged = False
        self._shown = (MAIN, 1.0)
        """Which model's size the page was told last."""
        gui = server.gui
        with gui.add_folder("Models"):
            self._which = gui.add_dropdown("Model", (MAIN,), initial_value=MAIN)
            self._visible = gui.add_checkbox("Visible", True)
            self._move = gui.add_checkbox("Move with a gizmo", False)
            self._scale = gui.add_number("Scale", 1.0, min=MIN_SCALE, max=MAX_SCALE, step=0.01)
            self._remove = gui.add_button("Remove", icon=viser.Icon.TRASH, disabled=True)
        self._which.on_update(self._on_which)
        self._visible.on_update(self._on_visible)
        self._move.on_update(self._on_move)
        self._scale.on_update(self._on_scale)
        self._remove.on_click(self._on_remove)

    def refresh(self) -> None:
        """Bring the controls in line with what is on show."""
        models = self._document.models
        if not models.names:
            return
        if tuple(self._which.options) != models.names:
            self._which.options = models.names
        entry = self._entry()
        self._visible.value = entry.visible
        # Told when it changes alone: it may be in the middle of being typed, and training brings news all the time.
        if self._shown != (shown := (entry.name, entry.world_from_model.scale)):
            self._shown = shown
            self._scale.value = entry.world_from_model.scale
        self._remove.disabled = entry.name == MAIN
        if self._gizmo is not None and not self._is_dragged:
            self._gizmo.wxyz, self._gizmo.position = entry.wxyz, entry.position

    def choose(self, name: str) -> None:
        """Turn to this model."""
        self._which.options = self._document.models.names
        self._which.value = name
        self._show_gizmo()
        self.refresh()

    def _entry(self) -> Entry:
        models = self._document.models
        return models[self._which.value] if self._which.value in models.names else models.entries[0]

    async def _on_which(self, _: viser.GuiEvent) -> None:
        self._show_gizmo()
        self.refresh()

    async def _on_visible(self, event: viser.GuiEvent) -> None:
        name, visible = self._entry().name, self._visible.value is True
        if event.client is not None:  # a visitor, not `refresh`
            self._document.later(lambda models: models.changed(name, visible=visible), undoable=False)

    async def _on_move(self, _: viser.GuiEvent) -> None:
        self._show_gizmo()

    async def _on_scale(self, event: viser.GuiEvent) -> None:
        """A visitor has typed a part of a number, or all of it; what is none yet must not be written over."""
        name, scale = self._entry().name, number(self._scale.value, -math.inf, math.inf, 0.0)
        if event.client is not None and MIN_SCALE <= scale <= MAX_SCALE:
            self._place(name, lambda now: _scaled(now, scale), step=f"scale of {name}")

    async def _on_remove(self, _: viser.GuiEvent) -> None:
        name = self._entry().name
        if name != MAIN:
            self._document.later(lambda models: models.without(name))
            self.choose(MAIN)

    def _show_gizmo(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None
        self._is_dragged = False
        if self._move.value is not True:
            return
        entry = self._entry()
        self._gizmo = self._server.scene.add_transform_controls(
            f"{GIZMOS}/{entry.name}",
            scale=self._arrow_length(entry),
            line_width=3.0,
            wxyz=entry.wxyz,
            position=entry.position,
            depth_test=False,
        )
        self._gizmo.on_update(self._on_gizmo)

    def _arrow_length(self, entry: Entry) -> float:
        """Long enough to reach out of the model, which hides what is in it."""
        if not isinstance(entry.model, Gaussians):
            return 0.4 * self._extent
        points = entry.model.means_world.detach()
        size = max(region_around(points[:: 1 + len(points) // ENOUGH_POINTS].cpu(), "Box").size)
        return 0.6 * entry.world_from_model.scale * size

    async def _on_gizmo(self, event: viser.TransformControlsEvent) -> None:
        """The browser's splats follow at once; the engine's pictures once the mouse is released."""
        entry = self._entry()
        if event.target is not self._gizmo:  # that of another model, which was chosen before
            return
        self._is_dragged = event.phase != "end"
        w, i, j, k = (float(value) for value in event.target.wxyz)
        x, y, z = (float(value) for value in event.target.position)
        if event.phase == "end":
            self._place(entry.name, lambda now: placed_at((w, i, j, k), (x, y, z), now.scale))
        else:
            place = placed_at((w, i, j, k), (x, y, z), entry.world_from_model.scale)
            self._clouds.move(replace(entry, world_from_model=place))

    def _place(self, name: str, change: Callable[[Similarity], Similarity], step: str | None = None) -> None:
        """Put a model elsewhere, from where it stands once it is its turn."""

        def placed(models: Models) -> Models:
            if name not in models.names:
                return models
            now = models[name].world_from_model
            there = change(now)
            return models if there is now else models.changed(name, world_from_model=there)

        self._document.later(placed, step=step)


class FilesPanel:
    """Open and export."""

    def __init__(
        self, server: viser.ViserServer, document: Document, place: Place, on_opened: Callable[[str], None]
    ) -> None:
        """`on_opened` hears the name of a model that was opened."""
        self._document, self._place, self._on_opened = document, place, on_opened
        self._exporting, self._places = threading.Lock(), threading.BoundedSemaphore(MAX_EXPORTS)
        gui = server.gui
        with gui.add_folder("Open"):
            hint = f"Or drop it on the page. {', '.join(READABLE)}"
            self._open = gui.add_upload_button("Open a splat file", icon=viser.Icon.UPLOAD, hint=hint)
        with gui.add_folder("Export what is visible"):
            formats = (*FORMATS, *((MESH,) if place.cameras is not None else ()))
            self._format = gui.add_dropdown("Format", formats, initial_value="ply")
            self._export = gui.add_button("Download", icon=viser.Icon.DOWNLOAD)
            self._save = gui.add_button(
                "Save with the run", icon=viser.Icon.DEVICE_FLOPPY, visible=place.save_folder is not None
            )
        self._open.on_upload(self._on_open)
        self._export.on_click(self._on_export)
        self._save.on_click(self._on_save)

    @property
    def open_button(self) -> viser.GuiUploadButtonHandle:
        """Files that are dropped go through it, too."""
        return self._open

    def _on_open(self, event: viser.GuiEvent) -> None:
        client, file = event.client, taken_file(self._open)
        if client is None:
            return
        notice = client.add_notification("Opening", _plain(file.name), loading=True, with_close_button=False)
        try:
            with failures_told(client, f"Cannot open {_plain(file.name)}"):
                self.open(file.name, file.content)
        finally:
            notice.remove()

    def open(self, name: str, content: bytes) -> None:
        """Add a model from a file's content.

        Raises: InputError.
        """
        if len(self._document.models.names) >= MAX_MODELS:
            raise InputError(f"{MAX_MODELS} models are on show already; remove one")
        gaussians = read_content(name, content)
        if not len(gaussians):
            raise InputError("it holds no Gaussians")
        entry = Entry(self._new_name(name), gaussians, self._place.capture_from_scene.inverse())
        self._document.change(lambda models: models.with_entry(entry))
        self._on_opened(entry.name)

    def _new_name(self, name: str) -> str:
        plain, names = _plain(name), self._document.models.names
        return next(
            label for label in (plain, *(f"{plain} {i}" for i in range(2, MAX_MODELS + 2))) if label not in names
        )

    def _on_export(self, event: viser.GuiEvent) -> None:
        client = event.client
        if client is None:
            return
        notice = client.add_notification("Exporting", self._format.value, loading=True, with_close_button=False)
        try:
            with failures_told(client, "The export failed"), self._turn():
                with TemporaryDirectory(prefix="neural3d-export-") as folder:
                    send_file(client, self.export(Path(folder), "scene"), "neural3d export")
        finally:
            notice.remove()

    def _on_save(self, event: viser.GuiEvent) -> None:
        if event.client is None or self._place.save_folder is None:
            return
        # Who presses again while a file is written must not get its name: it is chosen once it is his turn.
        with failures_told(event.client, "It could not be saved"), self._turn():
            folder = make_folder(self._place.save_folder)
            path = self.export(folder, _free_stem(folder))
            event.client.add_notification("Saved", str(path), auto_close_seconds=8.0)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One export at a time.

        Raises: InputError where others wait already.
        """
        if not self._places.acquire(blocking=False):
            raise InputError(f"{MAX_EXPORTS} exports are under way already; wait until one is done")
        try:
            with self._exporting:
                yield
        finally:
            self._places.release()

    def export(self, folder: Path, stem: str) -> Path:
        """Write what is visible, without what is deleted or cropped; the file.

        Raises: InputError; StorageError.
        """
        models = self._document.models
        if not models.are_alike:
            raise InputError(
                "of the models some were trained with antialiasing or in linear light, and some were not, which a file "
                "says of all it holds; hide some and export them one by one"
            )
        shown = models.merged(with_selection=False)
        if shown is None:
            raise InputError("nothing is visible, so there is nothing to write")
        way, cameras = self._place.capture_from_scene, self._place.cameras
        up_world = (way.rotation @ torch.tensor(self._place.up_world, dtype=torch.float64)).float()
        if self._format.value == MESH and cameras is not None:
            path = folder / f"{stem}.mesh.glb"
            write_surface(path, shown, cameras, capture_from_scene=way, up_world=up_world)
            return path
        chosen = FORMATS.get(self._format.value, FORMATS["ply"])
        path = folder / f"{stem}{chosen.suffixes[0]}"
        scale = 1.0 if self._place.world is None else self._place.world.metres_from_capture.scale
        export_scene(
            path,
            shown,
            chosen,
            capture_from_scene=way,
            up_world=up_world,
            cameras=cameras,
            metres_per_unit=scale,
        )
        return path


def _scaled(place: Similarity, scale: float) -> Similarity:
    """The same object where it has that size already: pages tell what they were told."""
    return place if math.isclose(scale, place.scale, rel_tol=1e-9) else replace(place, scale=scale)


def _plain(name: str) -> str:
    """A name from a page as a label: printable, short, without a folder."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1].split(".")[0]
    return "".join(c for c in base if c.isalnum() or c in "-_ ")[:MAX_NAME].strip() or "file"


def _free_stem(folder: Path) -> str:
    """`edited-001` or the next that is not there in any format."""
    taken = {path.name.split(".")[0] for path in folder.iterdir()}
    return next(stem for stem in (f"edited-{i:03d}" for i in range(1, 10_000)) if stem not in taken)
