"""The splats as the browser draws them: one node a model, each where its model stands."""

import viser

from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.models import Entry, Models
from neural3d.viewer.splats import MAX_SPLATS, splats_from_gaussians

FOLDER = "/splats"
"""The node above them all: who hides it sees none."""


class Clouds:
    """The nodes, kept as the models change."""

    def __init__(self, server: viser.ViserServer, max_splats: int = MAX_SPLATS) -> None:
        self._server, self._max_splats = server, max_splats
        self._handles: dict[str, viser.GaussianSplatHandle] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def show(self, models: Models) -> None:
        """Bring the page up to date."""
        shown = models.shown()
        for name in set(self._handles) - {entry.name for entry, model in shown if len(model)}:
            self._handles.pop(name).remove()
        for entry, model in shown:
            if len(model):
                self._show(entry, model, self._max_splats // len(shown))

    def move(self, entry: Entry) -> None:
        """Put one where its model stands, without sending it again."""
        if entry.name in self._handles:
            handle = self._handles[entry.name]
            handle.wxyz, handle.position = entry.wxyz, entry.position

    def _show(self, entry: Entry, model: Gaussians, limit: int) -> None:
        cloud = splats_from_gaussians(model, limit)
        values = (cloud.centers, cloud.covariances, cloud.rgbs, cloud.opacities)
        scale = entry.world_from_model.scale / cloud.buffer_from_scene
        if entry.name not in self._handles:
            place = {"wxyz": entry.wxyz, "position": entry.position}
            self._handles[entry.name] = self._server.scene.add_gaussian_splats(
                f"{FOLDER}/{entry.name}", *values, scale=scale, **place
            )
            return
        handle = self._handles[entry.name]
        with self._server.atomic():
            handle.set_gaussians(*values)
            handle.scale, handle.wxyz, handle.position = scale, entry.wxyz, entry.position
