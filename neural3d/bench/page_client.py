"""One client of the viewer that understands what it is sent, for measurements: a page without a browser."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import msgspec
import zstandard
from websockets.sync.client import connect

MAX_MESSAGE_BYTES = 10**8
PATIENCE_SECONDS = 60.0

Message = dict[str, Any]


class PageClient:
    """Speaks viser's protocol as its page does; to be used in a `with`."""

    def __init__(self, url: str) -> None:
        """`url` is the viewer's, with its token."""
        address = urlsplit(url)
        self._socket = connect(
            f"ws://{address.netloc}/?{address.query}",
            origin=f"http://{address.netloc}",
            subprotocols=[f"viser-v{version('viser')}"],
            max_size=None,
            compression=None,
        )
        self._waiting: list[Message] = []

    def __enter__(self) -> "PageClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def stand(self, camera: Message) -> None:
        """Send a camera."""
        self._send({"type": "ViewerCameraMessage", **camera})

    def set(self, uuid: str, value: object) -> None:
        """What the page sends when a control is used."""
        self._send({"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"value": value}})

    def controls(self, *labels: str) -> list[str]:
        """The uuids of the controls with these labels, once they have come."""
        found: dict[str, str] = {}

        def note(message: Message) -> bool:
            label = message.get("props", {}).get("label")
            if label in labels:
                found[label] = message["uuid"]
            return len(found) == len(labels)

        self.wait_for(note)
        return [found[label] for label in labels]

    def picture(self) -> bytes:
        """The next picture that the engine has drawn, a JPEG."""
        return self.wait_for(is_picture)["rgb_data"]

    def wait_for(self, is_wanted: Callable[[Message], bool]) -> Message:
        """The first message of a kind; what comes before it is forgotten.

        Raises: TimeoutError when none comes within a minute.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if is_wanted(message):
                    return message
            self._waiting = _unpacked(self._socket.recv(timeout=end - time.monotonic()))

    def forget(self, seconds: float) -> int:
        """Take in what comes for so long; how many pictures there were."""
        end, pictures = time.monotonic() + seconds, sum(map(is_picture, self._waiting))
        self._waiting = []
        while (left := end - time.monotonic()) > 0:
            try:
                pictures += sum(map(is_picture, _unpacked(self._socket.recv(timeout=left))))
            except TimeoutError:
                return pictures
        return pictures

    def _send(self, message: Message) -> None:
        self._socket.send(msgspec.msgpack.encode(message))


def is_picture(message: Message) -> bool:
    """Whether it is what the engine has drawn."""
    return message["type"] == "BackgroundImageMessage" and message["format"] == "jpeg"


def _unpacked(raw: bytes) -> list[Message]:
    """The messages of one frame: 16 bytes, of which the last 8 say how long the compressed part is."""
    size = int.from_bytes(raw[8:16], "little")
    inner = zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size], max_output_size=MAX_MESSAGE_BYTES)
    return msgspec.msgpack.decode(inner)["messages"]
