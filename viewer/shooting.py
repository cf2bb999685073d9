"""The render of a camera path into a file, on a thread of its own, with its progress, for whoever asks for it."""

import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import torch
import viser
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.errors import InputError, StorageError
from neural3d.render.exr import ExrFrame, write_exr
from neural3d.render.exr_files import require_openexr
from neural3d.render.images import write_png
from neural3d.render.model import Model
from neural3d.render.rendering import RenderFn
from neural3d.render.video import write_video
from neural3d.scene import Similarity
from neural3d.viewer.keyframes import cameras_of_keyframes
from neural3d.viewer.notices import failures_told, send_file
from neural3d.viewer.path_panel import Move
from neural3d.viewer.values import choice, numbers

Form = Literal["Video (MP4)", "EXR frames", "PNG frames"]
FORMS: tuple[Form, ...] = get_args(Form)
MAX_SIZE_PX = 4096
RATHER = "neural3d render, or render less"


class Cancelled(Exception):
    """Somebody has stopped the render."""


@dataclass(frozen=True)
class Shot:
    """What is rendered, and how."""

    model: Model
    render_fn: RenderFn
    """Over black."""
    cameras: Cameras
    fps: float
    form: Form
    background: tuple[float, float, float]
    capture_from_scene: Similarity


def shoot(shot: Shot, folder: Path, tell: Callable[[int], None]) -> Path:
    """Render into a folder; the one file that it becomes: a video, or a ZIP of frames.

    `tell` is called before each frame with its number, and may raise to end it.

    Raises: what `tell` raises; InputError where OpenEXR is missing; StorageError.
    """
    if shot.form == "Video (MP4)":
        write_video(folder / "path.mp4", _frames(shot, tell), fps=shot.fps)
        return folder / "path.mp4"
    suffix = "exr" if shot.form == "EXR frames" else "png"
    if suffix == "exr":
        require_openexr(folder / "path.exr")
    archive = folder / f"path_{suffix}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for frame, path in _pictures(shot, folder, suffix, tell):
            packed.write(path, f"path.{frame:04d}.{suffix}")
            path.unlink()
    return archive


def _frames(shot: Shot, tell: Callable[[int], None]) -> Iterator[Float[Tensor, "H W 3"]]:
    background = torch.tensor(shot.background)
    for i in range(len(shot.cameras)):
        tell(i)
        seen = shot.render_fn(shot.cameras[i])
        yield (seen.colors[0].cpu() + (1 - seen.alphas[0].cpu()) * background).clamp(0, 1)


def _pictures(shot: Shot, folder: Path, suffix: str, tell: Callable[[int], None]) -> Iterator[tuple[int, Path]]:
    if suffix == "png":
        for i, image in enumerate(_frames(shot, tell)):
            write_png(folder / "frame.png", image)
            yield i + 1, folder / "frame.png"
        return
    for i in range(len(shot.cameras)):
        tell(i)
        following = shot.cameras[i + 1] if i + 1 < len(shot.cameras) else None
        frame = ExrFrame(shot.cameras[i], following, i + 1, shot.fps)
        write_exr(folder / "frame.exr", shot.model, frame, capture_from_scene=shot.capture_from_scene)
        yield i + 1, folder / "frame.exr"


@dataclass(frozen=True)
class Studio:
    """Where the panel gets what it renders from."""

    move: Callable[[], Move | None]
    model: Callable[[], tuple[Model, RenderFn] | None]
    """What is on show, without marks."""
    background_for: Callable[[int], tuple[float, float, float]]
    """Of a visitor."""
    share: Callable[[], float]
    """The part of the time that rendering may take; the rest belongs to training."""


class RenderPanel:
    """One render at a time; the file goes to whoever has asked for it, and stays until the next for all."""

    def __init__(self, server: viser.ViserServer, studio: Studio, capture_from_scene: Similarity) -> None:
        self._server, self._studio, self._capture_from_scene = server, studio, capture_from_scene
        self._folder = TemporaryDirectory(prefix="neural3d-render-")
        self._result: Path | None = None
        self._thread: threading.Thread | None = None
        self._cancel, self._starting = threading.Event(), threading.Lock()
        gui = server.gui
        with gui.add_folder("Render"):
            self._size = gui.add_vector2("Size", (1280, 720), min=(16, 16), max=(MAX_SIZE_PX,) * 2, step=2)
            self._form = gui.add_dropdown("As", FORMS, initial_value=FORMS[0])
            self._start = gui.add_button("Render", icon=viser.Icon.MOVIE)
            self._bar = gui.add_progress_bar(0.0, visible=False)
            self._status = gui.add_markdown("", visible=False)
            self._stop = gui.add_button("Cancel", icon=viser.Icon.X, visible=False)
            self._again = gui.add_button("Download again", icon=viser.Icon.DOWNLOAD, visible=False)
        self._start.on_click(self._on_start)
        self._stop.on_click(self._on_stop)
        self._again.on_click(self._on_again)

    def close(self) -> None:
        """End a render that runs, and remove its files."""
        self._cancel.set()
        if self._thread is not None:
            self._thread.join(timeout=10.0)
        self._folder.cleanup()

    def _on_start(self, event: viser.GuiEvent) -> None:
        with self._starting:
            if event.client is not None and (self._thread is None or not self._thread.is_alive()):
                self._begin(event.client)

    def _begin(self, client: viser.ClientHandle) -> None:
        move, shown = self._studio.move(), self._studio.model()
        if move is None or shown is None:
            client.add_notification("Nothing to render", "Add key frames first.", auto_close_seconds=5.0)
            return
        width, height = (int(side) for side in numbers(self._size.value, 16.0, float(MAX_SIZE_PX), (1280.0, 720.0)))
        background = self._studio.background_for(client.client_id)
        cameras = cameras_of_keyframes(move.keys, (width, height))
        form = choice(self._form.value, FORMS, FORMS[0])
        shot = Shot(*shown, cameras, move.fps, form, background, self._capture_from_scene)
        self._cancel.clear()
        self._thread = threading.Thread(target=self._render, args=(shot, client), name="neural3d-render", daemon=True)
        self._show_running(True)
        self._thread.start()

    async def _on_stop(self, _: viser.GuiEvent) -> None:
        self._cancel.set()

    def _on_again(self, event: viser.GuiEvent) -> None:
        if event.client is None or self._result is None:
            return
        with failures_told(event.client, "It could not be downloaded"):
            send_file(event.client, self._result, RATHER)

    def _show_running(self, is_running: bool) -> None:
        self._bar.visible = self._stop.visible = self._status.visible = is_running
        self._again.visible = not is_running and self._result is not None
        self._bar.value = 0.0
        self._start.visible = not is_running

    def _render(self, shot: Shot, client: viser.ClientHandle) -> None:
        folder = Path(self._folder.name)
        self._result = None
        for leftover in folder.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            result = shoot(shot, folder, self._teller(len(shot.cameras)))
            send_file(client, result, RATHER)
            self._result = result
        except Cancelled:
            client.add_notification("Cancelled", "The render was stopped.", auto_close_seconds=4.0)
        except (InputError, StorageError, ValueError, RuntimeError, OSError) as error:
            client.add_notification("The render failed", str(error), color="red")
        finally:
            self._show_running(False)

    def _teller(self, total: int) -> Callable[[int], None]:
        began = before = time.monotonic()

        def tell(done: int) -> None:
            nonlocal before
            spent = time.monotonic() - before
            if self._cancel.wait(spent * (1 / self._studio.share() - 1)):
                raise Cancelled
            before = time.monotonic()
            self._bar.value = 100 * done / total
            left = (before - began) / done * (total - done) if done else 0.0
            self._status.content = f"Frame **{done + 1}** of {total}" + (f" · {left:.0f} s left" if done else "")

        return tell
