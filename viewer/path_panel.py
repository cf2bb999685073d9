"""The page Path: key frames, the move through them, a preview, and the render of it with its progress."""

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import viser

from neural3d.errors import InputError
from neural3d.render.camera_files import load_camera_path, load_keyframes, save_camera_path
from neural3d.scene import Similarity
from neural3d.viewer.keyframes import (
    MAX_KEYS,
    Keyframe,
    cameras_of_keyframes,
    keyframe_of_view,
    keyframes_of_cameras,
    path_through,
    thinned,
)
from neural3d.viewer.notices import failures_told, send_file
from neural3d.viewer.values import number, taken_file
from neural3d.viewer.visit import view_of_client

PATH = "/path"
PATH_COLOR = (36, 113, 163)
MAX_SECONDS, MAX_FPS = 600.0, 120.0
MAX_PATH_FILE_BYTES = 4_000_000
KEYS_OF_A_FILE = 24
"""Of a path that comes without key frames."""
PREVIEW_FPS = 24.0


@dataclass(frozen=True)
class Move:
    """A path with its time."""

    keys: tuple[Keyframe, ...]
    """One a frame."""
    fps: float
    keyframes: tuple[Keyframe, ...]
    """Those that it goes through."""


class PathPanel:
    """Key frames that all visitors share."""

    def __init__(self, server: viser.ViserServer, capture_from_scene: Similarity, size: float) -> None:
        """`size` is how long a key frame's frustum is, in the scene."""
        self._server, self._capture_from_scene, self._frustum_size = server, capture_from_scene, size
        self._keys: tuple[Keyframe, ...] = ()
        self._handles: list[viser.CameraFrustumHandle] = []
        self._line: viser.LineSegmentsHandle | None = None
        self._preview_stop: threading.Event | None = None
        gui = server.gui
        self._status = gui.add_markdown("Fly to a view and add it as a key frame; two make a path.")
        self._add = gui.add_button("Add key frame", icon=viser.Icon.CAMERA_PLUS, hint="Of where you stand. Key: K")
        with gui.add_folder("Key frame", visible=False) as self._key_folder:
            self._chosen = gui.add_slider("Number", 1, 2, 1, 1)
            self._fov = gui.add_slider("Angle of view", 5.0, 150.0, 0.5, 50.0, hint="Vertical, in degrees.")
            self._go = gui.add_button_group("Key", ("Go there", "Set to view", "Delete"))
        with gui.add_folder("Move"):
            self._seconds = gui.add_number("Seconds", 5.0, min=0.1, max=MAX_SECONDS, step=0.5)
            self._fps = gui.add_number("Frames a second", 24.0, min=1.0, max=MAX_FPS, step=1.0)
            self._loop = gui.add_checkbox("Loop", False)
            self._preview = gui.add_button("Preview", icon=viser.Icon.PLAYER_PLAY, disabled=True)
        with gui.add_folder("Path as a file", expand_by_default=False):
            self._save = gui.add_button("Save", icon=viser.Icon.DOWNLOAD, disabled=True)
            self._load = gui.add_upload_button("Load", icon=viser.Icon.UPLOAD, mime_type=".json")
        self._listen()

    def _listen(self) -> None:
        self._add.on_click(self._on_add)
        self._chosen.on_update(self._on_chosen)
        self._fov.on_update(self._on_fov)
        self._go.on_click(self._on_key)
        for control in (self._loop, self._seconds):
            control.on_update(self._on_timing)
        self._preview.on_click(self._on_preview)
        self._save.on_click(self._on_save)
        self._load.on_upload(self._on_load)

    @property
    def load_button(self) -> viser.GuiUploadButtonHandle:
        """What paths come through."""
        return self._load

    @property
    def keys(self) -> tuple[Keyframe, ...]:
        """The key frames."""
        return self._keys

    def move(self) -> Move | None:
        """The path as it stands; None without a key frame."""
        if not self._keys:
            return None
        fps = number(self._fps.value, 1.0, MAX_FPS, 24.0)
        count = max(1, round(fps * number(self._seconds.value, 0.1, MAX_SECONDS, 5.0)))
        return Move(path_through(self._keys, count, is_loop=self._loop.value is True), fps, self._keys)

    def add(self, client: viser.ClientHandle) -> None:
        """A key frame of where this visitor stands, behind the chosen one."""
        if len(self._keys) >= MAX_KEYS:
            client.add_notification("Full", f"A path has {MAX_KEYS} key frames at most.", auto_close_seconds=5.0)
            return
        at = self._index() + 1 if self._keys else 0
        key = keyframe_of_view(view_of_client(client.camera))
        self._set((*self._keys[:at], key, *self._keys[at:]), chosen=at)

    def _index(self) -> int:
        return int(number(self._chosen.value, 1.0, float(max(1, len(self._keys))), 1.0)) - 1

    def _set(self, keys: tuple[Keyframe, ...], chosen: int) -> None:
        self._keys = keys
        self._key_folder.visible = bool(keys)
        self._chosen.max = max(2, len(keys))
        self._chosen.value = max(1, min(chosen + 1, len(keys)))
        self._preview.disabled = len(keys) < 2
        self._save.disabled = not keys
        if keys:
            self._fov.value = float(np.degrees(keys[self._index()].fov_rad))
        self._status.content = f"**{len(keys)}** key frame{'s' * (len(keys) != 1)}"
        self._draw()

    def _draw(self) -> None:
        for handle in self._handles:
            handle.remove()
        if self._line is not None:
            self._line.remove()
            self._line = None
        scene = self._server.scene
        self._handles = [
            scene.add_camera_frustum(
                f"{PATH}/key{i:03d}",
                key.fov_rad,
                16 / 9,
                scale=self._frustum_size,
                color=PATH_COLOR,
                wxyz=key.wxyz,
                position=key.position,
                thickness=2.0,
                thickness_units="screen",
            )
            for i, key in enumerate(self._keys)
        ]
        if len(self._keys) > 1:
            move = path_through(self._keys, 24 * len(self._keys), is_loop=self._loop.value is True)
            places = np.array([key.position for key in move], dtype=np.float32)
            pieces = np.stack([places[:-1], places[1:]], axis=1)
            self._line = scene.add_line_segments(
                f"{PATH}/line", pieces, PATH_COLOR, thickness=2.0, thickness_units="screen"
            )

    async def _on_add(self, event: viser.GuiEvent) -> None:
        if event.client is not None:
            self.add(event.client)

    async def _on_chosen(self, _: viser.GuiEvent) -> None:
        if self._keys:
            self._fov.value = float(np.degrees(self._keys[self._index()].fov_rad))

    async def _on_fov(self, event: viser.GuiEvent) -> None:
        if not self._keys or event.client is None:  # told by the slider of a page, not by ourselves
            return
        angle = float(np.radians(number(self._fov.value, 5.0, 150.0, 50.0)))
        at = self._index()
        self._keys = (*self._keys[:at], replace(self._keys[at], fov_rad=angle), *self._keys[at + 1 :])
        self._draw()

    async def _on_key(self, event: viser.GuiEvent) -> None:
        if not self._keys or event.client is None:
            return
        at = self._index()
        if self._go.value == "Go there":
            stand(event.client, self._keys[at])
        elif self._go.value == "Delete":
            self._set((*self._keys[:at], *self._keys[at + 1 :]), chosen=max(0, at - 1))
        else:
            key = keyframe_of_view(view_of_client(event.client.camera))
            self._set((*self._keys[:at], key, *self._keys[at + 1 :]), chosen=at)

    async def _on_timing(self, _: viser.GuiEvent) -> None:
        self._draw()

    def _on_preview(self, event: viser.GuiEvent) -> None:
        """Fly the visitor's camera along the path; a second press stops it."""
        move = self.move()
        if self._preview_stop is not None:
            self._preview_stop.set()
            return
        if move is None or event.client is None:
            return
        self._preview_stop = threading.Event()
        self._preview.label, self._preview.icon = "Stop", viser.Icon.PLAYER_STOP
        try:
            self._fly(event.client, move, self._preview_stop)
        finally:
            self._preview_stop = None
            self._preview.label, self._preview.icon = "Preview", viser.Icon.PLAYER_PLAY

    def _fly(self, client: viser.ClientHandle, move: Move, stop: threading.Event) -> None:
        began, seconds = time.monotonic(), len(move.keys) / move.fps
        while (now := time.monotonic() - began) < seconds and client.client_id in self._server.get_clients():
            stand(client, move.keys[min(int(now * move.fps), len(move.keys) - 1)])
            if stop.wait(1 / PREVIEW_FPS):
                return
        stand(client, move.keys[-1])

    def _on_save(self, event: viser.GuiEvent) -> None:
        move = self.move()
        if move is None or event.client is None:
            return
        with TemporaryDirectory(prefix="neural3d-path-") as folder:
            path = Path(folder) / "camera_path.json"
            size = (1280, 720)
            save_camera_path(
                path,
                cameras_of_keyframes(move.keys, size),
                capture_from_scene=self._capture_from_scene,
                fps=move.fps,
                keyframes=cameras_of_keyframes(move.keyframes, size),
            )
            send_file(event.client, path, "fewer key frames")

    def _on_load(self, event: viser.GuiEvent) -> None:
        content = taken_file(self._load).content
        if event.client is not None:
            with failures_told(event.client, "This path cannot be read"):
                self._set(self._read(content), chosen=0)

    def _read(self, content: bytes) -> tuple[Keyframe, ...]:
        if len(content) > MAX_PATH_FILE_BYTES:
            raise InputError(f"the file has {len(content):,} bytes, at most {MAX_PATH_FILE_BYTES:,} are read")
        with TemporaryDirectory(prefix="neural3d-path-") as folder:
            path = Path(folder) / "camera_path.json"
            path.write_bytes(content)
            where = {"scene_from_capture": self._capture_from_scene.inverse(), "size_px": (1280, 720)}
            try:
                found = load_keyframes(path, **where)
                if found is None:
                    move = load_camera_path(path, **where)
                    return thinned(keyframes_of_cameras(move.cameras), KEYS_OF_A_FILE)
            except InputError as error:
                raise InputError(str(error).replace(f"{folder}/", "")) from error
            return thinned(keyframes_of_cameras(found), MAX_KEYS)


def stand(client: viser.ClientHandle, key: Keyframe) -> None:
    """Put a visitor's camera there."""
    with client.atomic():
        client.camera.wxyz, client.camera.position = np.array(key.wxyz), np.array(key.position)
        client.camera.fov = key.fov_rad
