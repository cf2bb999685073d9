"""What a client may say: every message from a browser is data from a stranger until it has passed here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from viser import _messages as wire

MAX_MESSAGE_BYTES = 1_000_000
MAX_IMAGE_PX = 8192
MIN_QUATERNION_NORM = 1e-6
MAX_COORDINATE = 1e9

_SPOKEN = (wire.ViewerCameraMessage, wire.GuiUpdateMessage, wire.SceneNodeClickMessage)
"""The messages that our page has a reason to send. Uploads, share requests and all else are not among them."""


class Hostile(Exception):
    """Bytes that viser's own page never sends; the connection that sent them is closed."""


def read_message(raw: bytes | str) -> wire.Message:
    """Decode one message.

    Raises:
        Hostile: it is no message, is none that our page sends, or reaches past what the page may change.
    """
    if isinstance(raw, str):
        raise Hostile("text frame")
    try:
        message = wire.Message.deserialize(raw)
    except Exception as error:  # any field of any type may come: whatever decoding raises, the sender is at fault
        raise Hostile(f"undecodable message: {type(error).__name__}") from error
    if not isinstance(message, _SPOKEN):
        raise Hostile(f"unexpected message: {type(message).__name__}")
    if isinstance(message, wire.GuiUpdateMessage) and set(message.updates) != {"value"}:
        raise Hostile("a control's value is all that a page may change")
    return message


def is_usable(message: wire.Message) -> bool:
    """Whether a well-formed message also makes sense; a hidden browser window honestly reports an image of 0 px."""
    return not isinstance(message, wire.ViewerCameraMessage) or _is_camera(message)


def _is_camera(camera: wire.ViewerCameraMessage) -> bool:
    vectors = ((camera.wxyz, 4), (camera.position, 3), (camera.look_at, 3), (camera.up_direction, 3))
    return (
        all(_are_numbers(vector, length) for vector, length in vectors)
        and _are_numbers((camera.fov, camera.near, camera.far), 3)
        and math.hypot(*camera.wxyz) > MIN_QUATERNION_NORM
        and 0.0 < camera.fov < math.pi
        and all(_is_size(size) for size in (camera.image_width, camera.image_height))
    )


def _are_numbers(values: object, length: int) -> bool:
    return (
        isinstance(values, Sequence)
        and len(values) == length
        and all(type(value) in (int, float) and abs(value) <= MAX_COORDINATE for value in values)
    )


def _is_size(size: object) -> bool:
    return type(size) in (int, float) and float(size).is_integer() and 1 <= size <= MAX_IMAGE_PX


@dataclass
class Allowance:
    """A bucket of tokens: how many messages a client may send at once, and how many a second after that."""

    per_second: float = 200.0
    burst: float = 200.0
    _left: float = field(default=0.0, init=False)
    _at: float = field(default=-math.inf, init=False)

    def wait_seconds(self, now: float) -> float:
        """Take one message at time `now` (seconds, of a clock that only rises); how long to wait before the next."""
        self._left = min(self.burst, self._left + (now - self._at) * self.per_second) - 1.0
        self._at = now
        return max(0.0, -self._left / self.per_second)
