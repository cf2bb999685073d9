"""The server from outside: what gets in, who is dropped, what is left behind."""

import contextlib
import http.client
import itertools
import socket
import struct
import time
from collections.abc import Callable

import msgspec
import pytest
import torch
import viser
import zstandard
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from neural3d.errors import InputError
from neural3d.splats.gaussians import Gaussians
from neural3d.viewer import Viewer
from neural3d.viewer.inbox import PART_BYTES
from neural3d.viewer.server import MAX_CLIENTS, start_server


def get(port: int, target: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("GET", target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def raw_answer(port: int, request: bytes) -> bytes:
    """Whatever comes back for these bytes, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stranger:
        stranger.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := stranger.recv(65536):
                answer += piece
    return answer


def test_the_page_comes_with_the_token_and_then_with_its_cookie(clients) -> None:
    status, headers, body = get(clients.port, f"/?token={clients.token}")
    assert status == 200 and b"<html" in body
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert get(clients.port, "/", Cookie=cookie)[0] == 200
    assert clients.token in headers["Set-Cookie"] and "HttpOnly" in headers["Set-Cookie"]
    with clients.join(query="", Cookie=cookie) as socket_of_page:
        socket_of_page.send(clients.camera.encode())
        assert socket_of_page.recv(timeout=20)


def test_the_page_may_talk_to_nobody_else_and_not_be_framed(clients) -> None:
    headers = get(clients.port, f"/?token={clients.token}")[1]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert f"ws://127.0.0.1:{clients.port} " in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "target",
    ["/../../../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/..\\..\\etc\\passwd"],
)
def test_no_path_leads_out(clients, target: str) -> None:
    for query in ("", f"?token={clients.token}"):
        status, _, body = get(clients.port, target + query)
        assert status in (403, 404)
        assert b"root:" not in body


def test_strangers_are_refused_with_a_short_answer(clients) -> None:
    for status, headers in [
        (403, {}),
        (403, {"Cookie": f"neural3d_token_{clients.port}=guess"}),
        (403, {"Origin": "http://evil.example"}),
        (421, {"Host": f"evil.example:{clients.port}"}),
    ]:
        answer = get(clients.port, "/", **headers)
        assert answer[0] == status
        assert len(answer[2]) < 200 and "Set-Cookie" not in answer[1]


def test_hosts_that_were_named_get_in(clients_of) -> None:
    with Viewer(port=0, allow_hosts=("My-PC.example",)) as viewer:
        clients = clients_of(viewer)
        assert get(clients.port, f"/?token={clients.token}", Host="my-pc.example")[0] == 200
        assert get(clients.port, f"/?token={clients.token}", Host="other.example")[0] == 421
        with clients.join(origin="https://my-pc.example"):
            pass
        with pytest.raises(InvalidStatus, match="403"):
            clients.join(origin="https://other.example")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"allow_hosts": ("http://x",)}, "--allow-host 'http://x'"),
        ({"port": -1}, "--port -1"),
        ({"port": 65536}, "--port 65536"),
        ({"host": "a..b"}, "cannot listen on a..b"),
    ],
)
def test_where_nobody_can_listen_is_named(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start_server(**{"port": 0, **wrong})


@pytest.mark.parametrize("query, origin", [("", ""), ("?token=guess", ""), (None, "http://evil.example"), (None, None)])
def test_websockets_of_strangers_are_refused(clients, query: str | None, origin: str | None) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        clients.join(query=query, origin=origin)
    assert clients.live == 0


def test_a_websocket_with_the_cookie_but_from_another_page_is_refused(clients) -> None:
    cookie = f"neural3d_token_{clients.port}={clients.token}"
    with pytest.raises(InvalidStatus, match="403"):
        clients.join(query="", origin="http://evil.example", Cookie=cookie)
    with pytest.raises(InvalidStatus, match="403"):
        clients.join(query="", origin="http://localhost:8888", Cookie=cookie)


@pytest.mark.parametrize(
    "request_bytes", [b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00", b"GET /\r\n\r\n", b"\r\n\r\n"]
)
def test_what_is_no_request_gets_no_page(clients, request_bytes: bytes) -> None:
    answer = raw_answer(clients.port, request_bytes + b"\r\n\r\n")
    assert b"200 OK" not in answer and b"<html" not in answer


def test_only_the_gated_port_listens(clients) -> None:
    """A second, unguarded port behind the gate would be open to every web page."""
    psutil = pytest.importorskip("psutil")
    listening = {c.laddr.port for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert clients.port in listening
    for port in listening:
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert get(port, "/")[0] != 200


def test_the_33rd_window_is_told_that_the_viewer_is_full(clients, until: Callable) -> None:
    with contextlib.ExitStack() as stack:
        joined = [stack.enter_context(clients.join()) for _ in range(MAX_CLIENTS)]
        with pytest.raises(InvalidStatus, match="503"):
            clients.join()
        status, _, body = get(clients.port, f"/?token={clients.token}")
        assert status == 503 and b"full: 32 windows" in body
        joined[0].close()
        until(lambda: clients.live == MAX_CLIENTS - 1, "the place of a client that left is free")
        stack.enter_context(clients.join())


MALFORMED = {
    "text": "hello",
    "random": b"\x93\x01\x02\xff\x00",
    "unknown type": msgspec.msgpack.encode({"type": "Nope"}),
    "missing field": msgspec.msgpack.encode({"type": "ViewerCameraMessage"}),
    "share request": msgspec.msgpack.encode({"type": "ShareUrlRequest"}),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_malformed_messages_close_the_connection_and_leave_nothing(clients, until: Callable, raw: bytes | str) -> None:
    with clients.visit() as client:
        until(lambda: len(clients.viewer.server.get_clients()) == 1, "the client is known")
        client.send(raw)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                client.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    until(lambda: clients.live == 0 and not clients.viewer.server.get_clients(), "no state is left")
    inner = clients.viewer.server._websock_server
    assert not inner._client_state_from_id and not inner._live_connections
    assert sum(clients.viewer.server.door.counts.values()) == 1


def test_a_frame_larger_than_the_cap_is_refused(clients, until: Callable) -> None:
    with clients.visit() as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.send(b"\0" * 1_000_001)
            while True:
                client.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    until(lambda: clients.live == 0, "the client is gone")


@pytest.mark.parametrize(
    "changes", [{"image_height": 0}, {"image_width": 10**12}, {"wxyz": (float("nan"),) * 4}, {"fov": 4}]
)
def test_cameras_without_sense_reach_nobody_and_harm_nobody(clients, until: Callable, changes: dict) -> None:
    with clients.visit() as client:
        until(lambda: len(clients.viewer.server.get_clients()) == 1, "the client is known")
        (handle,) = clients.viewer.server.get_clients().values()
        client.send(clients.camera.encode(**changes))
        client.send(clients.camera.encode(position=(1.0, 2.0, 3.0)))
        until(lambda: handle.camera.position.tolist() == [1.0, 2.0, 3.0], "the next camera arrives")
        assert (handle.camera.image_height, handle.camera.image_width, handle.camera.fov) == (48, 64, 1.0)
        assert clients.viewer.server.door.counts["message that makes no sense"] == 1


def test_a_flood_is_read_no_faster_than_the_rate(clients, until: Callable) -> None:
    """The rest waits in the sender's own TCP buffer, or is never sent."""
    with clients.visit() as client:
        until(lambda: len(clients.viewer.server.get_clients()) == 1, "the client is known")
        (handle,) = clients.viewer.server.get_clients().values()
        started = time.monotonic()
        for number in range(600):
            client.send(clients.camera.encode(position=(float(number), 0.0, 0.0)))
        until(lambda: handle.camera.position[0] == 599.0, "the last message arrives")
        assert time.monotonic() - started > 1.5  # 600 messages: 200 at once, then 200 a second


def test_a_client_that_takes_nothing_is_dropped_and_stops_nobody(
    gaussians: Gaussians, until: Callable, clients_of: Callable
) -> None:
    many = gaussians[torch.zeros(40_000, dtype=torch.int64)]
    with Viewer(port=0, stall_seconds=3.0) as viewer:
        clients = clients_of(viewer)
        with clients.visit() as reader, contextlib.closing(clients.stall()):
            until(lambda: clients.live == 2, "both are in")
            taken, end = 0, time.monotonic() + 60.0
            for number in itertools.count():
                viewer.show(many.map(lambda tensor: tensor + 0.001 * number))
                with contextlib.suppress(TimeoutError):
                    taken += len(reader.recv(timeout=0.05)) > 1_000_000
                if (clients.live == 1 and taken >= 5) or time.monotonic() > end:
                    break
            assert clients.live == 1 and taken >= 5
            assert viewer.server.door.counts["client that takes nothing"] >= 1
            until(lambda: len(viewer.server._websock_server._live_connections) == 1, "no state is left")


def upload(button: str, transfer: str, *, parts: int = 2) -> bytes:
    fields = {"source_component_uuid": button, "transfer_uuid": transfer, "filename": "a.ply", "mime_type": ""}
    size = {"part_count": parts, "size_bytes": parts * PART_BYTES}
    return msgspec.msgpack.encode({"type": "FileTransferStartUpload", **fields, **size})


def part(button: str, transfer: str, index: int) -> bytes:
    fields = {"source_component_uuid": button, "transfer_uuid": transfer, "part_index": index}
    return msgspec.msgpack.encode({"type": "FileTransferPart", "content": bytes(PART_BYTES), **fields})


def is_closed(client: ClientConnection, seconds: float = 20.0) -> str:
    """Why a client is thrown out, within so many seconds; empty where it is not."""
    end = time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        try:
            while (left := end - time.monotonic()) > 0:
                client.recv(timeout=left)
        except ConnectionClosed as closed:
            return closed.rcvd.reason if closed.rcvd else "no word"
    return ""


def test_a_value_that_cannot_be_told_to_others_closes_nobody(clients, until: Callable) -> None:
    """Viser makes a whole number of it, which it cannot write: every page would be closed, and every one after it."""
    slider = clients.viewer.server.gui.add_slider("Test", 1, 100, 1, 30)
    with clients.visit() as one, clients.visit() as other:
        until(lambda: clients.live == 2, "both are in")
        for value in (1e30, "1" * 30, 40.0):
            update = {"type": "GuiUpdateMessage", "uuid": slider._impl.uuid, "updates": {"value": value}}
            one.send(msgspec.msgpack.encode(update))
        until(lambda: slider.value == 40, "the next value is heard")
        assert not is_closed(other, seconds=0.5) and clients.live == 2


def test_files_come_through_their_buttons_alone(clients, until: Callable) -> None:
    stop = clients.viewer.panel._stop
    with clients.visit() as client:
        client.send(upload(stop._impl.uuid, "t", parts=0))
        assert is_closed(client) == "a file for what takes no files"
    assert stop.value is False or stop.value is None


def test_one_file_too_many_closes_its_sender_alone(clients, until: Callable) -> None:
    button = clients.viewer.controls._files.open_button._impl.uuid
    with clients.visit() as one, clients.visit() as other, clients.visit() as third:
        one.send(upload(button, "one"))
        other.send(upload(button, "other"))
        until(lambda: sum(c.uploads.transfer is not None for c in clients.viewer.server.door.clients) == 2, "two come")
        third.send(upload(button, "third"))
        one.send(clients.camera.encode(position=(1.0, 0.0, 0.0)))
        assert is_closed(third).startswith("too many files")
        places = lambda: [c.camera.position[0] for c in clients.viewer.server.get_clients().values()]  # noqa: E731
        until(lambda: 1.0 in places(), "the others go on")
        assert not is_closed(one, 0.3) and not is_closed(other, 0.3)


def test_a_file_that_does_not_come_makes_way(until: Callable, clients_of: Callable) -> None:
    with Viewer(port=0) as viewer:
        clients, button = clients_of(viewer), viewer.controls._files.open_button._impl.uuid
        with clients.visit() as one, clients.visit() as other, clients.visit() as third:
            one.send(upload(button, "one"))
            other.send(upload(button, "other"))
            door = viewer.server.door
            until(lambda: sum(c.uploads.transfer is not None for c in door.clients) == 2, "two come")
            door.stall_seconds = 0.1
            time.sleep(0.3)
            third.send(upload(button, "third"))
            until(lambda: clients.live == 1, "those that stalled are dropped")
            assert door.counts["file that does not come"] == 2 and not is_closed(third, 0.3)


def test_what_has_come_of_a_file_is_told_to_its_sender_alone(clients, until: Callable) -> None:
    """Pages that are opened later would show an upload that is none of theirs."""
    button = clients.viewer.controls._files.open_button._impl.uuid
    with clients.visit() as one:
        one.send(upload(button, "one"))
        one.send(part(button, "one", 0))
        end, told = time.monotonic() + 20, False
        while not told:
            assert time.monotonic() < end, "he hears of it"
            told = b"FileTransferPartAck" in inner(one.recv(timeout=20))
        kept = clients.viewer.server._websock_server.get_message_buffer().message_from_id.values()
        assert not [message for message in kept if type(message).__name__ == "FileTransferPartAck"]


def inner(raw: bytes) -> bytes:
    """The messages that a page gets, unpacked."""
    size = int.from_bytes(raw[8:16], "little")
    return zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size], max_output_size=10**8)


def test_a_client_that_vanishes_leaves_nothing(clients, until: Callable) -> None:
    for _ in range(5):
        vanishing = clients.stall()
        until(lambda: clients.live == 1, "it is in")
        vanishing.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        vanishing.close()
        until(lambda: clients.live == 0, "it is out")
    assert clients.viewer.server.door.connections == 0


def test_it_ends_with_connections_that_nobody_has_used(clients_of: Callable, until: Callable) -> None:
    """Browsers open them ahead; the server would wait ten seconds for what they say."""
    with Viewer(port=0) as viewer:
        door, thread = viewer.server.door, viewer.server._websock_server._server_thread
        with socket.create_connection(("127.0.0.1", clients_of(viewer).port)):
            until(lambda: len(door.silent) == 1, "it is there")
            viewer.close()
            assert not thread.is_alive() and not door.silent and door.connections == 0


def test_viewers_take_different_ports_and_no_token_opens_another(clients_of: Callable) -> None:
    with Viewer(port=0) as first, Viewer(port=0) as second:
        one, two = clients_of(first), clients_of(second)
        assert one.port != two.port and one.token != two.token
        assert get(two.port, f"/?token={one.token}")[0] == 403


def test_a_port_that_is_taken_is_passed_over(clients_of: Callable) -> None:
    with Viewer(port=0) as first:
        taken = clients_of(first).port
        with Viewer(port=taken) as second:
            assert clients_of(second).port in range(taken + 1, taken + 100)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(InputError, match="192.0.2.1.*--host"):
        start_server("192.0.2.1", 7007)


def test_other_users_of_viser_are_untouched() -> None:
    """The gate is bound to our server, not patched into viser."""
    with Viewer(port=0):
        server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
        try:
            assert get(server.get_port(), "/")[0] == 200
        finally:
            server.stop()


def test_sharing_through_a_relay_is_refused(clients) -> None:
    with pytest.raises(RuntimeError, match="ssh -L"):
        clients.viewer.server.request_share_url()
