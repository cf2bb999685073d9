"""Messages from strangers."""

import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural3d.viewer.inbox import (
    MAX_UPLOAD_BYTES,
    PART_BYTES,
    Allowance,
    Hostile,
    Uploads,
    is_usable,
    read_message,
)


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
        msgspec.msgpack.encode({"type": "GetRenderResponseMessage", "payload": b"", "render_uuid": "a"}),
    ],
)
def test_what_the_page_never_sends_is_hostile(raw: bytes | str) -> None:
    with pytest.raises(Hostile):
        read_message(raw)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


def said(kind: str, **fields: object) -> bytes:
    return msgspec.msgpack.encode({"type": kind, **fields})


CLICK = {"event_type": "click", "ray_origin": [0, 0, 0], "ray_direction": [0, 0, 1], "screen_pos": [[0.5, 0.5]]}
RECTANGLE = {"event_type": "rect-select", "ray_origin": None, "ray_direction": None, "screen_pos": [[0, 0], [1, 1]]}
MOVED = {"name": "/region", "wxyz": [1, 0, 0, 0], "position": [1, 2, 3], "owner": ""}


@pytest.mark.parametrize("pointer", [CLICK, RECTANGLE])
def test_clicks_and_rectangles_pass(pointer: dict) -> None:
    assert is_usable(read_message(said("ScenePointerMessage", modifier=None, **pointer)))


@pytest.mark.parametrize(
    "changes",
    [
        {"event_type": "double"},
        {"event_type": None},
        {"screen_pos": []},
        {"screen_pos": [[0.5, 0.5], [1, 1]]},
        {"screen_pos": [[0.5]]},
        {"screen_pos": [[math.nan, 0.5]]},
        {"screen_pos": [[7.0, 0.5]]},
        {"ray_origin": [math.inf, 0, 0]},
        {"ray_direction": [0, 0, 0]},
        {"ray_direction": None},
    ],
)
def test_clicks_that_make_no_sense_are_not_used(changes: dict) -> None:
    try:
        message = read_message(said("ScenePointerMessage", modifier=None, **CLICK | changes))
    except Hostile:
        return
    assert not is_usable(message)


def test_a_gizmo_that_moves_passes() -> None:
    assert is_usable(read_message(said("TransformControlsUpdateMessage", **MOVED)))
    assert is_usable(read_message(said("TransformControlsDragEndMessage", name="/region", owner="")))
    assert is_usable(read_message(said("CommandTriggerMessage", uuid="a")))


@pytest.mark.parametrize(
    "changes",
    [{"wxyz": [0, 0, 0, 0]}, {"position": [math.nan, 0, 0]}, {"position": [1e12, 0, 0]}, {"name": "x" * 2000}],
)
def test_gizmos_that_make_no_sense_are_not_used(changes: dict) -> None:
    assert not is_usable(read_message(said("TransformControlsUpdateMessage", **MOVED | changes)))


def test_a_camera_of_a_very_large_scene_passes() -> None:
    assert is_usable(read_message(camera(position=[4e5, 0, 0], near=1.2e3, far=1.2e9)))


@pytest.mark.parametrize("value", [True, "ply", 1, -0.5, [1.0, 2.0, 3.0], [255, 0, 0], "1 " + "0.5000,0.5000 " * 512])
def test_what_controls_hold_passes(value: object) -> None:
    assert is_usable(read_message(said("GuiUpdateMessage", uuid="a", updates={"value": value})))


@pytest.mark.parametrize(
    "value",
    [
        None,
        1e30,
        2**62,
        math.nan,
        -math.inf,
        [1e30],
        [1] * 5,
        ["a"],
        {"a": 1},
        "x" * 30_000,
        b"x",
        "1" * 30,
        "1e400",
        "nan",
    ],
)
def test_what_no_control_holds_is_not_used(value: object) -> None:
    assert not is_usable(read_message(said("GuiUpdateMessage", uuid="a", updates={"value": value})))


@pytest.mark.parametrize("wxyz", ["x" * 5000, [1.0] * 5000, [], None, 1.0, {"a": 1}])
def test_numbers_in_another_count_are_hostile_and_nothing_warns_of_them(wxyz: object) -> None:
    """A warning would show on the training's terminal what a stranger wrote, and never be forgotten."""
    with pytest.raises(Hostile):
        read_message(camera(wxyz=wxyz))


def test_what_the_page_does_not_send_is_not_even_read() -> None:
    with pytest.raises(Hostile, match="does not send"):
        read_message(said("SetCameraPositionMessage", position="x" * 5000, initial=False))


def start(size: int, **changes: object) -> bytes:
    fields = {"source_component_uuid": "a", "transfer_uuid": "t", "filename": "f.ply", "mime_type": ""}
    fields |= {"size_bytes": size, "part_count": -(-size // PART_BYTES)}
    return said("FileTransferStartUpload", **fields | changes)


def part(index: int, content: bytes, transfer: str = "t") -> bytes:
    return said(
        "FileTransferPart", source_component_uuid="a", transfer_uuid=transfer, part_index=index, content=content
    )


def test_a_file_comes_as_it_was_announced_and_then_another() -> None:
    uploads = Uploads()
    for _ in range(2):
        uploads.note(read_message(start(PART_BYTES + 3)), 0.0)
        assert uploads.transfer == "t"
        uploads.note(read_message(part(1, b"abc")), 0.0)
        uploads.note(read_message(part(0, bytes(PART_BYTES))), 0.0)
        assert uploads.transfer is None
    uploads.note(read_message(start(0)), 0.0)
    assert uploads.transfer is None


@pytest.mark.parametrize(
    "messages",
    [
        [start(MAX_UPLOAD_BYTES + 1)],
        [start(-1)],
        [start(10, part_count=5)],
        [start(10, part_count=10**9)],
        [start(10, filename="x" * 2000)],
        [start(10, size_bytes=[10])],
        [start(10), start(10)],
        [part(0, b"a")],
        [start(10), part(0, b"a", transfer="other")],
        [start(10), part(1, b"a")],
        [start(10), part(0, bytes(11))],
        [start(2 * PART_BYTES), part(0, bytes(PART_BYTES + 1))],
        [start(2 * PART_BYTES), part(0, b"a"), part(0, b"a")],
        [start(10), part(0, "text")],
    ],
)
def test_files_that_come_otherwise_are_hostile(messages: list[bytes]) -> None:
    uploads = Uploads()
    with pytest.raises(Hostile):
        for raw in messages:
            uploads.note(read_message(raw), 0.0)
