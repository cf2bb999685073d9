"""Messages from strangers."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural3d.viewer.inbox import Allowance, Hostile, is_usable, read_message


def camera(**changes: object) -> bytes:
    fields = {
        "type": "ViewerCameraMessage",
        "wxyz": [1.0, 0, 0, 0],
        "position": [0, 0, 0],
        "fov": 1.0,
        "near": 0.01,
        "far": 1000,
        "image_height": 480,
        "image_width": 640,
        "look_at": [0, 0, 1],
        "up_direction": [0, -1, 0],
    }
    return msgspec.msgpack.encode(fields | changes)


def test_a_real_camera_passes() -> None:
    message = read_message(camera())
    assert is_usable(message)
    assert message.image_width == 640


@pytest.mark.parametrize(
    "field, value",
    [
        ("wxyz", [math.nan, 0.0, 0.0, 0.0]),
        ("wxyz", [0.0, 0.0, 0.0, 0.0]),
        ("wxyz", [1e-9, 0.0, 0.0, 0.0]),
        ("wxyz", [1.0, 0.0, 0.0]),
        ("wxyz", "abcd"),
        ("position", [math.inf, 0.0, 0.0]),
        ("position", [1e300, 0.0, 0.0]),
        ("position", ["one", 0.0, 0.0]),
        ("look_at", [0.0, math.nan, 0.0]),
        ("up_direction", [0.0, -math.inf, 0.0]),
        ("fov", 0.0),
        ("fov", -1.0),
        ("fov", math.pi),
        ("fov", math.nan),
        ("near", math.nan),
        ("far", math.inf),
        ("image_height", 0),
        ("image_width", -5),
        ("image_width", 8193),
        ("image_width", 10**12),
        ("image_height", "many"),
        ("image_height", None),
    ],
)
def test_cameras_that_make_no_sense_are_not_used(field: str, value: object) -> None:
    try:
        message = read_message(camera(**{field: value}))
    except Hostile:
        return
    assert not is_usable(message)


@pytest.mark.parametrize(
    "raw",
    [
        "text",
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"type": "NoSuchMessage"}),
        msgspec.msgpack.encode({"type": ["GuiUpdateMessage"]}),
        msgspec.msgpack.encode({"type": "ViewerCameraMessage", "fov": 1.0}),
        msgspec.msgpack.encode({"uuid": "a"}),
        camera(extra=1),
        msgspec.msgpack.encode({"type": "ShareUrlRequest"}),
        msgspec.msgpack.encode({"type": "RunJavascriptMessage", "source": "alert(1)"}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "a", "updates": {"update_cb": []}}),
        msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": "a", "updates": {"value": 1, "is_button": True}}),
        msgspec.msgpack.encode(
            {
                "type": "FileTransferStartUpload",
                "source_component_uuid": "a",
                "transfer_uuid": "b",
                "filename": "c",
                "mime_type": "d",
                "part_count": 1,
                "size_bytes": 1,
            }
        ),
    ],
)
def test_what_the_page_never_sends_is_hostile(raw: bytes | str) -> None:
    with pytest.raises(Hostile):
        read_message(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        read_message(raw)
    except Hostile:
        pass


def test_a_flood_is_slowed_to_the_rate_and_a_pause_is_forgiven() -> None:
    allowance = Allowance(per_second=10.0, burst=5.0)
    assert [allowance.wait_seconds(100.0) for _ in range(5)] == [0.0] * 5
    assert allowance.wait_seconds(100.0) == pytest.approx(0.1)
    assert allowance.wait_seconds(100.0) == pytest.approx(0.2)
    assert allowance.wait_seconds(200.0) == 0.0
