"""The panel's pages and the keys, put together; what is on them is in the modules of their names."""

from typing import Protocol, runtime_checkable

import viser

from neural3d.render.model import Model
from neural3d.render.rendering import RenderFn
from neural3d.scene import Scene
from neural3d.viewer.clouds import Clouds
from neural3d.viewer.display import Drawing
from neural3d.viewer.document import Document
from neural3d.viewer.editing import EditPanel
from neural3d.viewer.files import FilesPanel, ModelsPanel, Place
from neural3d.viewer.guide import Shortcut, accept_drops, add_help, add_shortcuts
from neural3d.viewer.narrow import fold_panel
from neural3d.viewer.path_panel import PathPanel
from neural3d.viewer.place import PlacePanel
from neural3d.viewer.pointer import Pointer
from neural3d.viewer.server import GuardedServer
from neural3d.viewer.shooting import RenderPanel, Studio
from neural3d.viewer.space import frustum_scale
from neural3d.viewer.visit import Visit


@runtime_checkable
class Host(Protocol):
    """What the pages know of the viewer."""

    server: GuardedServer
    scene: Scene | None
    document: Document
    clouds: Clouds
    visits: dict[int, Visit]

    @property
    def frame_share(self) -> float:
        """The part of the time that drawing may take."""

    def drawing(self, *, with_selection: bool = True) -> Drawing | None:
        """What is on show, and what draws it."""


class Controls:
    """All that visitors share: View, Edit, Path, Files and Help. A radiance field has nothing to edit or to export."""

    def __init__(self, host: Host, place: Place, *, is_field: bool) -> None:
        self._host = host
        server, gui = host.server, host.server.gui
        self._pointer = Pointer(server.scene)
        self._edit: EditPanel | None = None
        self._models: ModelsPanel | None = None
        self._files: FilesPanel | None = None
        tabs = gui.add_tab_group()
        self.view_tab = tabs.add_tab("View")
        with self.view_tab:
            frame = place.up_world, place.capture_from_scene, place.world
            self._place = PlacePanel(server, host.document, self._pointer, *frame)
        if not is_field:
            with tabs.add_tab("Edit"):
                self._edit = EditPanel(server, host.document, self._pointer)
        with tabs.add_tab("Path"):
            size = 0.08 * place.extent if host.scene is None else 1.5 * frustum_scale(host.scene)
            self._path = PathPanel(server, place.capture_from_scene, size)
            server.take_files(self._path.load_button)
            studio = Studio(self._path.move, self._model, self._background, lambda: host.frame_share)
            self._render = RenderPanel(server, studio, place.capture_from_scene)
        if not is_field:
            with tabs.add_tab("Files"):
                self._models = ModelsPanel(server, host.document, host.clouds, place.extent)
                self._files = FilesPanel(server, host.document, place, self._models.choose)
                server.take_files(self._files.open_button)
        shortcuts = self._shortcuts()
        add_shortcuts(gui, shortcuts)
        with tabs.add_tab("Help"):
            add_help(gui, shortcuts)

    def welcome(self, client: viser.ClientHandle) -> None:
        """Somebody has come."""
        fold_panel(client)
        if self._edit is not None:
            self._edit.welcome(client)
        if self._files is not None:
            accept_drops(client, self._files.open_button._impl.uuid)

    def refresh(self) -> None:
        """The models have changed."""
        if self._edit is not None:
            self._edit.refresh()
        if self._models is not None:
            self._models.refresh()

    def close(self) -> None:
        """End what runs."""
        self._render.close()

    def _shortcuts(self) -> tuple[Shortcut, ...]:
        found = [
            Shortcut("H", "reset the view", self._reset_view),
            Shortcut("K", "add a key frame", self._path.add),
            Shortcut("escape", "put the tool away", lambda _: self._pointer.release()),
        ]
        edit = self._edit
        if edit is not None:
            found += [
                Shortcut("delete", "delete what is selected", edit.delete),
                Shortcut("Z", "undo", lambda _: edit.undo(), "cmd/ctrl"),
            ]
        return tuple(found)

    def _reset_view(self, client: viser.ClientHandle) -> None:
        if client.client_id in self._host.visits:
            self._host.visits[client.client_id].reset_view()

    def _model(self) -> tuple[Model, RenderFn] | None:
        drawing = self._host.drawing(with_selection=False)
        return None if drawing is None or drawing.model is None else (drawing.model, drawing.render_fn)

    def _background(self, client_id: int) -> tuple[float, float, float]:
        visit = self._host.visits.get(client_id)
        return (1.0, 1.0, 1.0) if visit is None else visit.display().background
