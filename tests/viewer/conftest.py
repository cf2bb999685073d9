"""A small scene, and clients that speak viser's protocol: polite ones, and ones that do not."""

import base64
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import pytest
import torch
import viser
from websockets.sync.client import ClientConnection, connect

from neural3d.cameras import Cameras
from neural3d.scene import Photo, Points, Scene, Similarity
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer import Viewer


@pytest.fixture
def gaussians() -> Gaussians:
    """300 small opaque splats on a sphere of radius 1, coloured by direction."""
    directions = torch.nn.functional.normalize(torch.randn(300, 3), dim=1)
    return Gaussians(
        means_world=directions,
        log_scales=torch.full((300, 3), math.log(0.03)),
        quats_wxyz=torch.randn(300, 4),
        logit_opacities=torch.full((300,), 3.0),
        sh=(directions * 0.5 / 0.28209479177387814)[:, None],
    )


@pytest.fixture
def scene() -> Scene:
    """Six cameras on a circle of radius 4 around the origin, 1.5 above it; +z is up."""
    cameras = Cameras(
        torch.stack([_looking_at_origin(4.0 * math.cos(a), 4.0 * math.sin(a), 1.5) for a in torch.arange(6) * 1.0472]),
        torch.full((6, 2), 60.0),
        torch.tensor([[32.0, 24.0]]).repeat(6, 1),
        torch.tensor([[64, 48]]).repeat(6, 1),
    )
    return Scene(
        cameras=cameras,
        photos=tuple(Photo(f"{i}.png", torch.full((48, 64, 3), 40 * i, dtype=torch.uint8)) for i in range(6)),
        train_indices=torch.arange(1, 6),
        test_indices=torch.tensor([0]),
        points=Points(torch.randn(50, 3), torch.randint(0, 255, (50, 3), dtype=torch.uint8)),
        capture_from_scene=Similarity.identity(),
        extent=4.0,
        up_world=torch.tensor([0.0, 0.0, 1.0]),
        has_alpha=False,
        downscale=1.0,
    )


def _looking_at_origin(x: float, y: float, z: float) -> torch.Tensor:
    center = torch.tensor([x, y, z])
    forward = -center / center.norm()
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    camera_from_world = torch.eye(4)
    camera_from_world[:3, :3], camera_from_world[:3, 3] = rotation, -rotation @ center
    return camera_from_world


@dataclass(frozen=True)
class CameraMessage:
    """viser's ViewerCameraMessage, as the page sends it."""

    wxyz: Any = (1.0, 0.0, 0.0, 0.0)
    position: Any = (0.0, 0.0, -4.0)
    fov: Any = 1.0
    near: Any = 0.01
    far: Any = 1000.0
    image_height: Any = 48
    image_width: Any = 64
    look_at: Any = (0.0, 0.0, 0.0)
    up_direction: Any = (0.0, -1.0, 0.0)
    type: Any = "ViewerCameraMessage"

    def encode(self, **changes: Any) -> bytes:
        return msgspec.msgpack.encode(asdict(replace(self, **changes)))


@dataclass(frozen=True)
class Clients:
    """Ways to reach one viewer."""

    viewer: Viewer
    camera: CameraMessage = CameraMessage()

    @property
    def port(self) -> int:
        return self.viewer.server.get_port()

    @property
    def token(self) -> str:
        return self.viewer.server.door.gate.token

    @property
    def live(self) -> int:
        return len(self.viewer.server.door.clients)

    def join(self, *, query: str | None = None, origin: str | None = "", **headers: str) -> ClientConnection:
        """A WebSocket as the page opens it, with the token and from our own origin, unless told otherwise."""
        query = f"?token={self.token}" if query is None else query
        return connect(
            f"ws://127.0.0.1:{self.port}/{query}",
            origin=f"http://127.0.0.1:{self.port}" if origin == "" else origin,
            subprotocols=[f"viser-v{viser.__version__}"],
            additional_headers={name.replace("_", "-"): value for name, value in headers.items()},
            max_size=None,
            compression=None,
        )

    def visit(self) -> ClientConnection:
        """Join and stand somewhere: only then does viser count a client."""
        client = self.join()
        client.send(self.camera.encode())
        return client

    def stall(self) -> socket.socket:
        """Join, and then never read a byte."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.port))
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET /?token={self.token} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: viser-v{viser.__version__}\r\n\r\n".encode()
        )
        return client


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    """A viewer of a training, without a scene, on any free port."""
    with Viewer(port=0) as running:
        yield running


@pytest.fixture
def clients(viewer: Viewer) -> Clients:
    return Clients(viewer)


@pytest.fixture
def clients_of() -> Callable[[Viewer], Clients]:
    return Clients


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until a condition holds; fail when it does not within 20 seconds, or as many as are given."""

    def wait(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"never happened: {what}"
            time.sleep(0.01)

    return wait
