"""The page in a real browser: the scene is visible and where it belongs, the buttons work, other pages get nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from browser.small_scene import BLOBS, three_blobs, two_cameras
from neural3d.cameras import Cameras
from neural3d.fields.field import Shaded
from neural3d.fields.rays import Rays
from neural3d.render.fields import field_render_function
from neural3d.render.rendering import Rendering
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.train.observer import Progress
from neural3d.viewer import Viewer, frames, view_field, view_gaussians
from neural3d.viewer.space import View, cameras_from_view
from neural3d.viewer.visit import BY_BROWSER, BY_ENGINE


@pytest.fixture
def blobs() -> Gaussians:
    """Three balls of 200 splats each."""
    return three_blobs()


@pytest.fixture
def scene() -> Scene:
    """Two cameras; the first looks along -x from (4, 0, 0), so +y is on its right."""
    return two_cameras()


def colors_where_they_project(viewer: Viewer, screen: np.ndarray) -> dict[str, np.ndarray]:
    """The colour on the screen at the pixel where the visitor's camera sees each blob's middle."""
    (client,) = viewer.server.get_clients().values()
    # The picture begins in the upper left corner; the panel is beside it.
    camera = client.camera
    width, height = camera.image_width, camera.image_height
    view = View(tuple(camera.wxyz), tuple(camera.position), camera.fov, width, height)
    mine = cameras_from_view(view, height)
    found = {}
    for name, (center, _) in BLOBS.items():
        seen = mine.camera_from_world[0, :3, :3] @ torch.tensor(center) + mine.camera_from_world[0, :3, 3]
        x, y = (seen[:2] / seen[2] * mine.focal_px[0] + mine.principal_px[0]).round().int().tolist()
        assert 0 <= x < width and 0 <= y < height, f"{name} is out of the picture at {x}, {y}"
        found[name] = screen[y, x].astype(int)
    return found


def wait_for_blobs(viewer: Viewer, page, *, are_there: bool = True) -> dict[str, np.ndarray]:
    """Until the blobs are (not) on the screen where they project; a software renderer takes its time."""
    end = time.monotonic() + 60.0
    while True:
        page.wait_for("!!document.querySelector('canvas')")
        found = colors_where_they_project(viewer, page.screenshot()) if viewer.server.get_clients() else {}
        close = [np.abs(found[n] - 255 * np.array(BLOBS[n][1])).max() < 40 for n in found]
        if close and all(is_close == are_there for is_close in close):
            return found
        assert time.monotonic() < end, f"on the screen: {found}"
        time.sleep(0.3)


def assert_up_is_up(screen: np.ndarray) -> None:
    """Blue lies on +z, which is up, and green on +y, which is right for the first camera."""
    red, green, blue = (_middle(screen, color) for _, color in BLOBS.values())
    assert blue[1] < red[1] - 50 and abs(blue[0] - red[0]) < 20
    assert green[0] > red[0] + 50 and abs(green[1] - red[1]) < 20


def _middle(screen: np.ndarray, color: list[float]) -> np.ndarray:
    """The mean pixel (x, y) of what has this colour, left of the panel."""
    is_color = (np.abs(screen[:, :940].astype(int) - 255 * np.array(color)).max(axis=2)) < 30
    rows, columns = np.nonzero(is_color)
    return np.array([columns.mean(), rows.mean()])


@pytest.fixture
def training(scene: Scene, blobs: Gaussians) -> Iterator[Viewer]:
    """A viewer of a training that reports four times a second."""
    done = threading.Event()
    with Viewer(scene, port=0) as viewer:

        def train() -> None:
            for step in range(10_000):
                seconds = step / 4.0
                viewer.on_progress(
                    Progress(
                        step,
                        10_000,
                        step / 10_000,
                        seconds,
                        1000.0 - seconds,
                        20.0 + seconds,
                        0.1,
                        4.0,
                        num_gaussians=600,
                    ),
                    lambda: blobs,
                )
                if done.wait(0.25):
                    return

        thread = threading.Thread(target=train)
        thread.start()
        yield viewer
        done.set()
        thread.join()


def test_the_scene_is_seen_while_it_trains_and_the_buttons_reach_the_training(training: Viewer, page) -> None:
    page.open(training.url)
    wait_for_blobs(training, page)
    assert_up_is_up(page.screenshot())
    text = page.text()
    assert "PSNR" in text and "Time left" in text and "600" in text
    # PSNR and loss; the number of Gaussians never changes here.
    page.wait_for("[...document.querySelectorAll('.uplot canvas')].filter(e => e.offsetParent).length === 2")
    page.click("Pause")
    page.wait_for_button("Resume")
    assert training.requested() == "pause"
    page.click("Resume")
    page.wait_for_button("Pause")
    assert training.requested() == "run"
    page.click("Save a checkpoint")
    page.wait_for("document.body.innerText.includes('A checkpoint is kept')")
    assert training.requested() == "save"
    page.click("Stop and save")
    page.wait_for("document.body.innerText.includes('Stopping')")
    assert training.requested() == "stop"


def test_the_engine_draws_for_those_who_choose_it(blobs: Gaussians, page, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a slow machine pictures are drawn in bands, which only a true renderer can.
    monkeypatch.setattr(frames, "BAND_SECONDS", 600.0)

    def render_fn_from(model: Gaussians) -> Callable[[Cameras], Rendering]:
        def render(cameras: Cameras) -> Rendering:
            width, height = cameras.size_px[0].tolist()
            colors = torch.tensor([1.0, 0.0, 1.0]).expand(1, height, width, 3)
            return Rendering(colors, torch.ones(1, height, width, 1))

        return render

    with view_gaussians(blobs, up_world=(0.0, 0.0, 1.0), port=0, render_fn_from=render_fn_from) as viewer:
        page.open(f"{viewer.url}&fixedDpr=1")
        wait_for_blobs(viewer, page)
        page.choose("Drawn by", BY_ENGINE)
        end = time.monotonic() + 60.0
        found = wait_for_blobs(viewer, page, are_there=False)
        while not all(color[0] > 200 and color[1] < 60 and color[2] > 200 for color in found.values()):
            assert time.monotonic() < end, f"on the screen: {found}"
            found = wait_for_blobs(viewer, page, are_there=False)
        page.choose("Drawn by", BY_BROWSER)
        wait_for_blobs(viewer, page)


class Fog:
    """A field that is grey all over."""

    num_parameters = 1

    def shade(self, rays: Rays) -> Shaded:
        count = len(rays)
        return Shaded(torch.full((count, 3), 0.25), torch.ones(count), torch.ones(count))

    def densities(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(positions))


def test_a_field_is_drawn_by_the_engine_alone(page) -> None:
    around = torch.randn(100, 3)
    with view_field(
        Fog(), render_fn_from=field_render_function, around=around, up_world=(0.0, 0.0, 1.0), port=0
    ) as viewer:
        page.open(f"{viewer.url}&fixedDpr=1")
        page.wait_for("!!document.querySelector('canvas')")
        end = time.monotonic() + 60.0
        while not (np.abs(page.screenshot()[650, 300:900].astype(int) - 64).max() < 4):
            assert time.monotonic() < end, "the field is on the screen"
            time.sleep(0.3)
        assert "Drawn by" not in page.text() and "Files" not in page.text()


def test_without_the_token_there_is_only_a_sentence(page) -> None:
    with Viewer(port=0) as viewer:
        page.open(viewer.url.partition("?")[0])
        page.wait_for("document.body && document.body.innerText.includes('complete address')")
        assert not page.evaluate("document.cookie")


@pytest.fixture
def other_page() -> Iterator[str]:
    """An innocent-looking page on another port of this machine, for which browsers send the viewer's cookie too."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>innocent</p>")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_page_of_the_same_browser_gets_nothing(training: Viewer, page, other_page: str) -> None:
    """The browser holds the viewer's cookie when the other page tries."""
    page.open(training.url)
    page.wait_for("document.body && document.body.innerText.includes('Stop and save')")
    page.open(other_page)
    page.wait_for("document.body && document.body.innerText.includes('innocent')")
    port, before = training.server.get_port(), training.server.door.counts.total()
    attempt = (
        f"new Promise(done => {{ const s = new WebSocket('ws://127.0.0.1:{port}/', ['viser-v1.1.1']);"
        "s.onopen = () => done('open'); s.onerror = () => done('refused'); })"
    )
    assert page.evaluate(attempt) == "refused"
    read = f"fetch('http://127.0.0.1:{port}/', {{credentials: 'include'}}).then(r => r.text()).catch(() => 'refused')"
    assert page.evaluate(read) == "refused"
    framed = (
        f"new Promise(done => {{ const f = document.createElement('iframe'); f.src = 'http://127.0.0.1:{port}/';"
        "f.onload = () => { try { done(f.contentDocument.body.innerText) } catch { done('refused') } };"
        "document.body.append(f); })"
    )
    assert page.evaluate(framed) in ("refused", "")
    assert training.server.door.counts.total() >= before + 3
    assert training.requested() == "run"
