"""Clients of a viewer, as light as they can be, for measurements: one process of the standard library alone.

Run as a program by `Crowd`: the first line on stdin says whom to visit and with how many, "count" begins to count, and
the end of stdin ends it; what was counted goes to stdout as one JSON object.

Limits: the clients decode nothing and draw nothing, and ask for no exact pictures. Linux, by which a stalled client
learns that it was sent away without reading.
"""

import base64
import json
import os
import random
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

CAMERA_SECONDS = 0.1
"""Between two messages of somebody who turns the scene round."""
VISIT_SECONDS = (0.1, 3.0)
"""How long those stay, by chance, who go without a word."""
RETURN_SECONDS = 1.0
"""After which those that were sent away come again."""
GARBAGE = b"\x82\x85\0\0\0\0\x93\x01\x02\xff\x00"
"""A well-formed frame around bytes that are no message."""


@dataclass(frozen=True)
class Mix:
    """How many clients of each kind."""

    live: int = 0
    """Read everything, and send a camera ten times a second."""
    stalled: int = 0
    """Join and never read; sent away, they come again."""
    flooding: int = 0
    """Send cameras as fast as they are taken."""
    garbage: int = 0
    """Send what is no message, which ends the connection, and come again."""
    vanishing: int = 0
    """Read for a moment and cut the connection off, and come again."""

    @classmethod
    def of(cls, count: int) -> "Mix":
        """An eighth each stalls, floods and sends garbage; the others are live."""
        each = count // 8
        return cls(count - 3 * each, each, each, each)

    @property
    def count(self) -> int:
        return self.live + self.stalled + self.flooding + self.garbage + self.vanishing


class Crowd:
    """A mix of clients in a process of their own, from when it is entered until `leave`."""

    def __init__(self, url: str, protocol: str, mix: Mix) -> None:
        """`url` is the viewer's, with its token; `protocol` the WebSocket's subprotocol."""
        order = {"url": url, "protocol": protocol, "mix": vars(mix)}
        command = [sys.executable, "-I", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._tell(json.dumps(order))

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def count(self) -> None:
        """Begin to count."""
        self._tell("count")

    def leave(self) -> dict[str, Any]:
        """End; what was counted: `seconds`, `cpu_seconds`, `received_bytes`, `joined`, `ended`."""
        answer, _ = self._process.communicate()
        return json.loads(answer)

    def _tell(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


@dataclass
class _Client:
    kind: str
    connection: socket.socket | None = None
    next_s: float = 0.0
    """When it does something next."""
    rest: bytes = b""
    """Of a frame that was not taken whole."""
    is_done: bool = False
    """Has sent its garbage."""


@dataclass
class _Room:
    """All clients, and what is counted of them."""

    host: str
    port: int
    hello: bytes
    camera: bytes
    clients: list[_Client]
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    counts: Counter[str] = field(default_factory=Counter)
    buffer: bytearray = field(default_factory=lambda: bytearray(1 << 20))

    def act(self, client: _Client, now: float) -> None:
        """What a client does of its own accord, when it is its time."""
        client.next_s = now + CAMERA_SECONDS
        if client.connection is None:
            self.join(client, now)
            if client.kind == "vanishing":
                client.next_s = now + random.uniform(*VISIT_SECONDS)
        elif client.kind == "live":
            self.send(client, self.camera, now)
        elif client.kind == "garbage" and not client.is_done:
            self.send(client, GARBAGE, now)
            client.is_done = True
        elif client.kind == "garbage":
            self.lose(client, now)
        elif client.kind == "vanishing":
            # Closed without waiting for what is under way: the other side hears of a reset.
            client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.lose(client, now)

    def join(self, client: _Client, now: float) -> None:
        """Ask for a WebSocket; the answer is read, or not, with all else that comes."""
        client.connection = socket.socket()
        client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        if client.kind == "stalled":
            client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connection.settimeout(10.0)
        try:
            client.connection.connect((self.host, self.port))
            client.connection.sendall(self.hello + self.camera)
        except OSError:
            client.connection.close()
            client.connection, client.next_s = None, now + RETURN_SECONDS
            return
        client.connection.setblocking(False)
        self.counts["joined"] += 1
        writes = selectors.EVENT_WRITE if client.kind == "flooding" else 0
        reads = 0 if client.kind == "stalled" else selectors.EVENT_READ
        if reads or writes:
            self.selector.register(client.connection, reads | writes, client)

    def send(self, client: _Client, data: bytes, now: float) -> None:
        """As much as is taken at once; the rest of a frame comes before the next one."""
        self.counts["held_back"] += bool(client.rest)
        client.rest = client.rest or data
        try:
            client.rest = client.rest[client.connection.send(client.rest) :]
        except BlockingIOError:
            return
        except OSError:
            self.lose(client, now)

    def receive(self, client: _Client, now: float) -> None:
        try:
            size = client.connection.recv_into(self.buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        self.counts["received_bytes"] += size
        if size == 0:
            self.lose(client, now)

    def lose(self, client: _Client, now: float) -> None:
        """It was sent away or has done its harm, and comes again a little later."""
        if client.kind != "stalled":
            self.selector.unregister(client.connection)
        client.connection.close()
        client.connection, client.rest, client.is_done, client.next_s = None, b"", False, now + RETURN_SECONDS
        self.counts["ended"] += 1

    def look_after_stalled(self, client: _Client, now: float) -> None:
        """Whether it was sent away, without reading: a look at the socket's state."""
        state = client.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        if state[0] != 1:  # TCP_ESTABLISHED
            self.lose(client, now)


def _room(order: dict[str, Any]) -> _Room:
    address = urlsplit(order["url"])
    token, host = parse_qs(address.query)["token"][0], f"{address.hostname}:{address.port}"
    key = base64.b64encode(os.urandom(16)).decode()
    hello = (
        f"GET /?token={token} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {order['protocol']}\r\n\r\n"
    )
    clients = [_Client(kind) for kind, count in order["mix"].items() for _ in range(count)]
    return _Room(address.hostname, address.port, hello.encode(), _frame(_camera()), clients)


def _frame(payload: bytes) -> bytes:
    """A binary WebSocket frame as clients send it, under a mask of zeros."""
    return b"\x82\xfe" + struct.pack(">H", len(payload)) + b"\0\0\0\0" + payload


def _camera() -> bytes:
    """The ViewerCameraMessage in MessagePack."""
    message = {
        "type": "ViewerCameraMessage",
        "wxyz": (1.0, 0.0, 0.0, 0.0),
        "position": (0.0, 0.0, -4.0),
        "fov": 1.0,
        "near": 0.01,
        "far": 1000.0,
        "image_height": 480,
        "image_width": 640,
        "look_at": (0.0, 0.0, 0.0),
        "up_direction": (0.0, -1.0, 0.0),
    }
    return _packed(message)


def _packed(value: Any) -> bytes:
    """MessagePack, as far as a camera needs it."""
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(_packed(part) for pair in value.items() for part in pair)
    if isinstance(value, tuple):
        return bytes([0x90 | len(value)]) + b"".join(map(_packed, value))
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    return b"\xcb" + struct.pack(">d", value) if isinstance(value, float) else b"\xcd" + struct.pack(">H", value)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _live(room: _Room) -> tuple[float, float]:
    """Until stdin ends; the time and the processor's time since "count"."""
    room.selector.register(sys.stdin, selectors.EVENT_READ, None)
    began, cpu = time.monotonic(), _cpu_seconds()
    while True:
        now = time.monotonic()
        for client in room.clients:
            if client.next_s <= now:
                room.act(client, now)
            if client.kind == "stalled" and client.connection is not None:
                room.look_after_stalled(client, now)
        for key, events in room.selector.select(timeout=0.05):
            if key.data is None:
                if not os.read(sys.stdin.fileno(), 4096):
                    return time.monotonic() - began, _cpu_seconds() - cpu
                began, cpu = time.monotonic(), _cpu_seconds()
                room.counts.clear()
                continue
            if events & selectors.EVENT_WRITE:
                room.send(key.data, room.camera, now)
            if events & selectors.EVENT_READ and key.data.connection is not None:
                room.receive(key.data, now)


if __name__ == "__main__":
    room = _room(json.loads(sys.stdin.buffer.raw.readline()))
    seconds, cpu_seconds = _live(room)
    counted = {"seconds": seconds, "cpu_seconds": cpu_seconds, **dict.fromkeys(("received_bytes", "joined"), 0)}
    print(json.dumps(counted | {"ended": 0, "held_back": 0} | room.counts))
