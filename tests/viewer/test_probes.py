"""Twelve ways in that a stranger's page or a neighbour would try, against the viewer of a training that goes on."""

import contextlib
import http.client
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from neural3d.scene import Scene
from neural3d.train.config import SplatConfig
from neural3d.train.observer import Progress, Request
from neural3d.train.splats import train_splats
from neural3d.viewer import Viewer, server


class Watched:
    """A training with a viewer, which counts its steps and ends when it is told to."""

    def __init__(self, scene: Scene, viewer: Viewer) -> None:
        self.viewer, self.steps, self.is_over = viewer, 0, False
        config = SplatConfig(steps=10**6, max_seconds=600.0)
        self._thread = threading.Thread(target=train_splats, args=(scene, config), kwargs={"observers": [viewer, self]})
        self._thread.start()

    def on_progress(self, progress: Progress, snapshot: Callable) -> None:
        """Nothing to show."""

    def requested(self) -> Request:
        self.steps += 1
        return "stop" if self.is_over else "run"

    def end(self) -> None:
        self.is_over = True
        self._thread.join()


@pytest.fixture
def training(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Among the page's own files lies a link to a secret."""
    (tmp_path / "secret.txt").write_text("root: secret")
    shutil.copytree(server.CLIENT_FILES, tmp_path / "page")
    (tmp_path / "page" / "link.txt").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr(server, "CLIENT_FILES", tmp_path / "page")
    with Viewer(scene, port=0) as viewer:
        watched = Watched(scene, viewer)
        yield watched
        watched.end()


class Stranger:
    """Tries one thing after another; each method says whether it was refused."""

    def __init__(self, clients) -> None:
        self._clients, self._door = clients, clients.viewer.server.door

    def page(self, target: str, *, token: bool = True, **headers: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._clients.port, timeout=20)
        with contextlib.closing(connection):
            target = f"{target}?token={self._clients.token}" if token else target
            connection.putrequest("GET", target, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
        return answer.status in (403, 404, 421) and b"<html" not in body and b"root:" not in body

    def socket(self, **request: str | None) -> bool:
        try:
            self._clients.join(**request).close()
        except InvalidStatus as refused:
            return refused.response.status_code == 403
        return False

    def thrown_out_for(self, raw: bytes, code: int, reason: str) -> bool:
        """Whether the connection that says this is closed, and why."""
        with self._clients.visit() as visitor:
            try:
                visitor.send(raw)
                while True:
                    visitor.recv(timeout=20)
            except ConnectionClosed as closed:
                return closed.rcvd is not None and closed.rcvd.code == code and reason in closed.rcvd.reason

    def unheard(self, until: Callable, *cameras: bytes) -> bool:
        """Whether none of these cameras reaches the viewer, while the one after them does."""
        seen = self._clients.viewer.server.get_clients
        before, known = self._door.counts["message that makes no sense"], set(seen())
        with self._clients.visit() as visitor:
            until(lambda: bool(set(seen()) - known), "the visitor is known")
            (number,) = set(seen()) - known
            for camera in cameras:
                visitor.send(camera)
            visitor.send(self._clients.camera.encode(position=(1.0, 2.0, 3.0)))
            until(lambda: seen()[number].camera.position.tolist() == [1.0, 2.0, 3.0], "the right one arrives")
            is_as_it_was = seen()[number].camera.image_height == self._clients.camera.image_height
        return is_as_it_was and self._door.counts["message that makes no sense"] == before + len(cameras)


def test_twelve_of_twelve_are_refused_while_the_training_goes_on(
    training: Watched, clients_of: Callable, until: Callable
) -> None:
    clients = clients_of(training.viewer)
    stranger, camera = Stranger(clients), clients.camera
    words = {"source_component_uuid": "a", "transfer_uuid": "b", "filename": "../../x.py", "mime_type": "text/plain"}
    upload = {"type": "FileTransferStartUpload", **words, "part_count": 8192, "size_bytes": 2**32}
    probes: dict[str, Callable[[], bool]] = {
        "no token": lambda: stranger.page("/", token=False),
        "another page's request": lambda: stranger.page("/", Origin="http://evil.example"),
        "another name for this machine": lambda: stranger.page("/", Host=f"evil.example:{clients.port}"),
        "/../": lambda: stranger.page("/../../../../../../etc/passwd"),
        "%2e%2e": lambda: stranger.page("/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        "//": lambda: stranger.page("//etc/passwd"),
        "backslashes": lambda: stranger.page("/..\\..\\..\\etc\\passwd"),
        "a link": lambda: stranger.page("/link.txt"),
        "a socket without the token": lambda: stranger.socket(query=""),
        "an upload of 4 GB to another folder": lambda: stranger.thrown_out_for(
            msgspec.msgpack.encode(upload), 1008, "a file of more than"
        ),
        "cameras that are no numbers or have no size": lambda: stranger.unheard(
            until, camera.encode(position=(float("nan"),) * 3), camera.encode(image_height=0)
        ),
        "a message of 51 MB": lambda: stranger.thrown_out_for(b"\0" * 51_000_000, 1009, ""),
    }
    until(lambda: training.steps > 5, "the training has begun", seconds=60.0)
    assert stranger.page("/index.html") is False, "who has the token gets the page: a probe can tell"
    refused = {}
    for name, probe in probes.items():
        before = training.steps
        refused[name] = probe()
        until(lambda before=before: training.steps > before + 2, f"it goes on after: {name}", seconds=60.0)
    assert refused == dict.fromkeys(probes, True) and len(refused) == 12
    assert training.viewer.errors == 0 and training.viewer.requested() == "run"
