"""A page for the time in which poses are found: cameras and points as far as they stand.

The training's page takes its place.
"""

import numpy as np
import viser

from neural3d.capture.ingest.snapshots import Snapshot
from neural3d.viewer.panel import BRAND_COLOR
from neural3d.viewer.server import start_server
from neural3d.viewer.space import fov_from_cameras, view_without_scene, wxyz_from_cameras
from neural3d.viewer.stage import MAX_FRUSTUMS, MAX_POINTS, TRAIN_COLOR, set_up_direction, show_initial_view

CAMERA_SIZE, POINT_SIZE = 0.04, 0.006
"""In the cameras' radius."""
_NOTHING = "Poses of the cameras are being found. They are shown here as soon as the first ones stand."


class PosePreview:
    """A page that shows what there is of a model; `url` holds its token."""

    def __init__(self, *, port: int = 7007, allow_hosts: tuple[str, ...] = ()) -> None:
        """Start listening on the loopback, on the first free port.

        Raises:
            InputError: No port is free, or a name in `allow_hosts` is none.
        """
        self.server = start_server("127.0.0.1", port, allow_hosts=allow_hosts)
        self.port, self.token = self.server.get_port(), self.server.door.gate.token
        """Kept beyond the end: the page that follows takes them over, so that open windows go on."""
        self.seen: str | None = None
        """The snapshot that is shown."""
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=BRAND_COLOR)
        gui.main_panel.dock_right()
        self._text = gui.add_markdown(_NOTHING)
        self._is_faced = self._is_closed = False
        self._drawn: dict[str, viser.SceneNodeHandle] = {}

    @property
    def url(self) -> str:
        """The address to open, with its token."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def tell(self, line: str) -> None:
        """Say how far it is."""
        self._text.content = f"{_NOTHING}\n\n**{line}**" if self.seen is None else f"**{line}**"

    def show(self, snapshot: Snapshot) -> None:
        """Draw the cameras and the points in place of those before."""
        self.seen = snapshot.name
        set_up_direction(self.server, snapshot.up_world.double().numpy())
        centers = snapshot.cameras.centers_world.double().numpy()
        with self.server.atomic():
            drawn = self._draw_cameras(snapshot, centers)
            if snapshot.points is not None:
                drawn["/points"] = self._draw_points(snapshot)
            for name in set(self._drawn) - set(drawn):
                self._drawn[name].remove()
        self._drawn = drawn
        if not self._is_faced:
            self._face(snapshot, centers)

    def _draw_cameras(self, snapshot: Snapshot, centers: np.ndarray) -> dict[str, viser.SceneNodeHandle]:
        count = len(centers)
        wxyz, fov = wxyz_from_cameras(snapshot.cameras), fov_from_cameras(snapshot.cameras)
        aspects = (snapshot.cameras.size_px[:, 0] / snapshot.cameras.size_px[:, 1]).tolist()
        drawn: dict[str, viser.SceneNodeHandle] = {}
        for place, index in enumerate(np.unique(np.linspace(0, count - 1, min(MAX_FRUSTUMS, count)).astype(int))):
            name = f"/cameras/{place:05d}"
            drawn[name] = self.server.scene.add_camera_frustum(
                name,
                fov=float(fov[index]),
                aspect=aspects[index],
                scale=CAMERA_SIZE,
                thickness=1.2,
                thickness_units="screen",
                color=TRAIN_COLOR,
                wxyz=wxyz[index],
                position=centers[index],
            )
        return drawn

    def _draw_points(self, snapshot: Snapshot) -> viser.SceneNodeHandle:
        step = -(-len(snapshot.points.means_world) // MAX_POINTS)
        return self.server.scene.add_point_cloud(
            "/points",
            points=snapshot.points.means_world[::step].numpy(),
            colors=snapshot.points.colors[::step].numpy(),
            point_size=POINT_SIZE,
            point_shape="circle",
            precision="float32",
        )

    def _face(self, snapshot: Snapshot, centers: np.ndarray) -> None:
        """Where visitors start; those who are there already are taken there once."""
        self._is_faced = True
        points = () if snapshot.points is None else (snapshot.points.means_world.double().numpy(),)
        view = view_without_scene(np.concatenate([centers, *points]), snapshot.up_world.double().numpy())
        show_initial_view(self.server, view, 1.0)
        for client in self.server.get_clients().values():
            client.camera.position, client.camera.look_at = view.position, view.look_at

    def close(self) -> None:
        """Stop listening; a second time does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self.server.stop()
