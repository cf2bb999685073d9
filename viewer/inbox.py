"""What a client may say: every message from a browser is data from a stranger until it has passed here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import msgspec
from viser import _messages as wire
from viser.infra import _messages as infra

MAX_MESSAGE_BYTES = 1_000_000
MAX_IMAGE_PX = 8192
MIN_QUATERNION_NORM = 1e-6
MAX_COORDINATE = 1e9
MAX_FAR = 1e15
"""Of clipping planes, which lie far beyond the scene."""

MAX_UPLOAD_BYTES = 512_000_000
PART_BYTES = 512 * 1024
"""The parts in which viser's page sends files."""
MAX_WORDS = 1000
"""Characters of a name."""
MAX_TEXT = 20_000
"""Characters that a field may hold: those of a brush's longest stroke."""
MAX_VALUES = 4
"""Numbers that one control may hold."""

_SPOKEN = (
    *(wire.ViewerCameraMessage, wire.GuiUpdateMessage, wire.SceneNodeClickMessage, wire.ScenePointerMessage),
    *(wire.TransformControlsUpdateMessage, wire.TransformControlsDragStartMessage),
    *(wire.TransformControlsDragEndMessage, wire.CommandTriggerMessage),
    *(wire.FileTransferStartUpload, wire.FileTransferPart),
)
"""The messages that our page has a reason to send. Share requests, renders and all else are not among them."""


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
        _check_lengths(msgspec.msgpack.decode(raw))
        message = wire.Message.deserialize(raw)
    except Hostile:
        raise
    except Exception as error:  # any field of any type may come: whatever decoding raises, the sender is at fault
        raise Hostile(f"undecodable message: {type(error).__name__}") from error
    if isinstance(message, wire.GuiUpdateMessage) and set(message.updates) != {"value"}:
        raise Hostile("a control's value is all that a page may change")
    return message


def _check_lengths(content: dict[str, Any]) -> None:
    """Raises: Hostile where it is none that our page sends; ValueError where numbers come in another count.

    viser warns of these with all of what has come, which would be written to the terminal and be remembered for good.
    """
    kind = next((kind for kind in _SPOKEN if kind.__name__ == content["type"]), None)
    if kind is None:
        raise Hostile("a message that the page does not send")
    hints = infra.get_type_hints_cached(kind)
    for name, value in content.items():
        if name in hints and not _has_length(value, hints[name]):
            raise ValueError(f"{name} has another length")


def _has_length(value: object, annotation: Any) -> bool:
    """Whether a value is as long as the tuple that it is to be, and so are those within it."""
    if get_origin(annotation) is not tuple:
        # Of a choice of types only the tuple is of interest.
        tuples = [arg for arg in get_args(annotation) if get_origin(arg) is tuple]
        return not isinstance(value, list) or all(_has_length(value, arg) for arg in tuples)
    if not isinstance(value, list):
        return False
    parts = get_args(annotation)
    parts = parts[:1] * len(value) if parts[1:] == (...,) else parts
    return len(value) == len(parts) and all(map(_has_length, value, parts))


def is_usable(message: wire.Message) -> bool:
    """Whether a well-formed message also makes sense; a hidden browser window honestly reports an image of 0 px."""
    match message:
        case wire.ViewerCameraMessage():
            return _is_camera(message)
        case wire.ScenePointerMessage():
            return _is_pointer(message)
        case wire.TransformControlsUpdateMessage():
            return _is_word(message.name) and _are_numbers(message.position, 3) and _is_rotation(message.wxyz)
        case wire.TransformControlsDragStartMessage() | wire.TransformControlsDragEndMessage():
            return _is_word(message.name)
        case wire.CommandTriggerMessage():
            return _is_word(message.uuid)
        case wire.GuiUpdateMessage():
            return _is_word(message.uuid) and _is_value(message.updates["value"])
    return True


def _is_value(value: object) -> bool:
    """Of a control: viser tells it to all other pages, and a number that it cannot write would close them."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and _is_no_large_number(value)
    if isinstance(value, list | tuple):
        return len(value) <= MAX_VALUES and _are_numbers(value, len(value))
    return isinstance(value, bool) or _are_numbers((value,), 1)


def _is_no_large_number(text: str) -> bool:
    """Of a text: viser makes a number of it for a control that holds one."""
    try:
        return abs(float(text)) <= MAX_COORDINATE
    except ValueError:
        return True


def _is_pointer(pointer: wire.ScenePointerMessage) -> bool:
    corners = {"click": 1, "rect-select": 2}.get(pointer.event_type) if _is_word(pointer.event_type) else None
    places = pointer.screen_pos
    if corners is None or not isinstance(places, Sequence) or len(places) != corners:
        return False
    is_on_screen = all(_are_numbers(place, 2) and all(-1 <= part <= 2 for part in place) for place in places)
    if pointer.event_type == "rect-select":
        return is_on_screen
    rays = (pointer.ray_origin, pointer.ray_direction)
    return is_on_screen and all(_are_numbers(ray, 3) for ray in rays) and math.hypot(*rays[1]) > MIN_QUATERNION_NORM


def _is_rotation(wxyz: object) -> bool:
    return _are_numbers(wxyz, 4) and math.hypot(*wxyz) > MIN_QUATERNION_NORM


def _is_word(word: object) -> bool:
    return isinstance(word, str) and len(word) <= MAX_WORDS


def _is_camera(camera: wire.ViewerCameraMessage) -> bool:
    vectors = ((camera.wxyz, 4), (camera.position, 3), (camera.look_at, 3), (camera.up_direction, 3))
    return (
        all(_are_numbers(vector, length) for vector, length in vectors)
        and _are_numbers((camera.fov,), 1)
        and all(type(plane) in (int, float) and 0 <= plane <= MAX_FAR for plane in (camera.near, camera.far))
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


@dataclass
class Uploads:
    """The files that one client sends: one at a time, as large as it says, and in the parts that viser's page makes."""

    transfer: str | None = None
    """The one that is under way."""
    heard_at: float = -math.inf
    """When something of it came, in seconds of a clock that only rises."""
    _missing: set[int] = field(default_factory=set, init=False)
    _left: int = field(default=0, init=False)

    def note(self, message: wire.Message, now: float) -> None:
        """Take note of a part, or of a file that begins.

        Raises:
            Hostile: The file is too large, or it does not come as it was announced.
        """
        if isinstance(message, wire.FileTransferStartUpload):
            self._begin(message)
        elif isinstance(message, wire.FileTransferPart):
            self._take(message)
        else:
            return
        self.heard_at = now

    def _begin(self, start: wire.FileTransferStartUpload) -> None:
        words = (start.source_component_uuid, start.transfer_uuid, start.filename, start.mime_type)
        counts = (start.part_count, start.size_bytes)
        if not all(map(_is_word, words)) or not all(type(count) is int for count in counts):
            raise Hostile("a file without name or size")
        if self.transfer is not None:
            raise Hostile("a second file before the first was complete")
        if not 0 <= start.size_bytes <= MAX_UPLOAD_BYTES:
            raise Hostile(f"a file of more than {MAX_UPLOAD_BYTES // 10**6} MB")
        if start.part_count != -(-start.size_bytes // PART_BYTES):
            raise Hostile("a file in parts that do not fit its size")
        self.transfer = start.transfer_uuid if start.part_count else None
        self._missing, self._left = set(range(start.part_count)), start.size_bytes

    def _take(self, part: wire.FileTransferPart) -> None:
        is_ours = part.transfer_uuid == self.transfer and type(part.part_index) is int
        if not is_ours or part.part_index not in self._missing or not isinstance(part.content, bytes):
            raise Hostile("a part of no file that was announced")
        self._left -= len(part.content)
        self._missing.remove(part.part_index)
        if len(part.content) > PART_BYTES or self._left < 0:
            raise Hostile("more of a file than was announced")
        if not self._missing:
            self.transfer = None
