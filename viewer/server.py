"""viser's server behind our gate: one listening socket, and nothing reaches viser that the gate has not let in.

viser offers no place for a check, and a guarded proxy before an unguarded viser would leave a second port open that any
web page can reach. So viser's own start-up code runs unchanged, with one name in it bound to ours: the `serve` that
opens the socket. The copy is private to the viewer; other users of viser in the process see nothing of it.

Limits: tied to how viser 1.1 starts; a viser that starts otherwise fails in `start_server` and never listens
unguarded.
"""

import asyncio
import contextlib
import errno
import http.client
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import rich
import viser
import websockets
from viser import _messages as wire
from viser import infra
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError
from websockets.http11 import Request, Response

from neural3d.errors import InputError
from neural3d.viewer.buffers import Buffer
from neural3d.viewer.gate import LOOPBACK_HOSTS, Admitted, Gate, Refused, list_files, new_token, plain_host
from neural3d.viewer.inbox import MAX_MESSAGE_BYTES, Allowance, Hostile, Uploads, is_usable, read_message

CLIENT_FILES = Path(viser.__file__).parent / "client" / "build"
MAX_CLIENTS = 32
MAX_CONNECTIONS = 128
MAX_UPLOADS = 2
"""Files that may be under way at once, of all clients."""
STALL_SECONDS = 20.0
PORTS_TO_TRY = 100
_OTHER_PORTS_MAY_BE_FREE = {errno.EADDRINUSE, errno.EACCES}

_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    # The page is one file with inline scripts, workers and WebAssembly; what it may not do is talk to anyone else.
    "Content-Security-Policy": (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob: ws://{host} "
        "wss://{host}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}

log = logging.getLogger("neural3d.viewer")


@dataclass
class Door:
    """The gate, and who came through it."""

    gate: Gate
    max_clients: int = MAX_CLIENTS
    stall_seconds: float = STALL_SECONDS
    """A client that takes not one byte for so long while something waits for it is dropped."""
    clients: set["GuardedConnection"] = field(default_factory=set)
    """Live WebSocket connections."""
    connections: int = 0
    """Live TCP connections, those that have not said anything yet included."""
    silent: set["GuardedConnection"] = field(default_factory=set)
    """These: browsers open connections that they may need later."""
    takes_files: set[str] = field(default_factory=set)
    """What viser calls the buttons that files may be sent through."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was turned away, by reason, since the start."""

    def turn_away(self, reason: str) -> None:
        """Count what was refused, and log it: the first of a kind, then each time the count has doubled."""
        self.counts[reason] += 1
        if self.counts[reason].bit_count() == 1:
            log.info("viewer: refused %d times: %s", self.counts[reason], reason)

    def check_upload(self, sender: "GuardedConnection", start: wire.FileTransferStartUpload) -> None:
        """Let a file in that begins; where there are too many, those whose files no longer come are dropped for it.

        Raises: Hostile where it is for no button that takes files, or more files are under way than memory is meant
            for.
        """
        if start.source_component_uuid not in self.takes_files:
            raise Hostile("a file for what takes no files")
        others = [client for client in self.clients if client is not sender and client.uploads.transfer is not None]
        if len(others) < MAX_UPLOADS:
            return
        now = time.monotonic()
        stalled = [client for client in others if now - client.uploads.heard_at > self.stall_seconds]
        for client in stalled:
            self.turn_away("file that does not come")
            client.transport.abort()
        if not stalled:
            raise Hostile("too many files at once; send it again later")

    def check(self, connection: "GuardedConnection", request: Request) -> Admitted:
        """Let a request in or raise `Refused`; an admitted WebSocket takes one of the places."""
        self.silent.discard(connection)
        try:
            admitted = self.gate.admit(request.path, list(request.headers.raw_items()))
            if (admitted.is_websocket or admitted.is_page) and len(self.clients) >= self.max_clients:
                message = f"This viewer is full: {self.max_clients} windows are looking at it. Close one and reload."
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, message)
        except Refused as refused:
            self.turn_away(f"{refused.status.value} {refused}")
            raise
        if admitted.is_websocket:
            self.clients.add(connection)
        return admitted


class GuardedConnection(ServerConnection):
    """A connection that reads only sensible messages, at a bounded rate, and gives up on clients that take nothing."""

    door: Door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._allowance, self.uploads = Allowance(), Uploads()
        self.door.connections += 1
        self.door.silent.add(self)
        if self.door.connections > MAX_CONNECTIONS:
            self.door.turn_away("too many connections")
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.connections -= 1
        self.door.clients.discard(self)
        self.door.silent.discard(self)
        super().connection_lost(exc)

    async def recv(self, decode: bool | None = None) -> bytes:
        """The next message that viser may see; waits while the client exceeds its rate, which TCP passes on to it."""
        while True:
            raw = await super().recv(decode)
            await asyncio.sleep(self._allowance.wait_seconds(time.monotonic()))
            try:
                message = read_message(raw)
                self._note_upload(message)
                if is_usable(message):
                    return raw
            except Hostile as hostile:
                self.door.turn_away(str(hostile))
                await self.close(1008, str(hostile)[:100])
                raise ConnectionClosedError(None, None) from hostile
            self.door.turn_away("message that makes no sense")

    def _note_upload(self, message: infra.Message) -> None:
        """Raises: Hostile; what is refused is not under way, though closing takes its time."""
        try:
            self.uploads.note(message, time.monotonic())
            if isinstance(message, wire.FileTransferStartUpload):
                self.door.check_upload(self, message)
        except Hostile:
            self.uploads = Uploads()
            raise

    async def send(self, message: Any, text: bool | None = None) -> None:
        """Send, and drop the client when for `stall_seconds` not one byte has left towards it."""
        sending = asyncio.ensure_future(super().send(message, text))
        try:
            while not sending.done():
                waiting = self.transport.get_write_buffer_size()
                await asyncio.wait([sending], timeout=self.door.stall_seconds)
                if not sending.done() and self.transport.get_write_buffer_size() >= waiting > 0:
                    self.door.turn_away("client that takes nothing")
                    self.transport.abort()
            sending.result()
        finally:
            sending.cancel()


def _guarded(door: Door, next_step: Callable[..., Response | None]) -> Callable[..., Response | None]:
    """The request handler: the gate first, then viser's own."""

    def process_request(connection: GuardedConnection, request: Request) -> Response | None:
        try:
            admitted = door.check(connection, request)
        except Refused as refused:
            return _respond(refused.status, f"{refused}\n")
        response = next_step(connection, request)
        if response is not None:
            _add_headers(response.headers, request.headers["Host"])
            if admitted.is_first:
                response.headers["Set-Cookie"] = door.gate.cookie
        return response

    return process_request


def _respond(status: HTTPStatus, text: str) -> Response:
    body = text.encode()
    headers = Headers({"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))})
    headers["Connection"] = "close"
    _add_headers(headers, "")
    return Response(status.value, status.phrase, headers, body)


def _add_headers(headers: Headers, host: str) -> None:
    for name, value in _SECURITY_HEADERS.items():
        headers[name] = value.format(host=host)


class _GuardedWebsockServer(infra.WebsockServer):
    """viser's WebSocket server, listening on a socket of ours behind the door."""

    def __init__(self, door: Door, listening: socket.socket, **settings: Any) -> None:
        super().__init__(**settings)
        self.door, self._listening = door, listening
        self.sender_of: Callable[[str], int | None] = lambda _: None
        """viser's number of the client that sends this file."""

    def queue_message(self, message: infra.Message) -> None:
        """To all pages; but what has come of a file concerns its sender, and no page that is opened later."""
        if not isinstance(message, wire.FileTransferPartAck):
            super().queue_message(message)
            return
        state = self._client_state_from_id.get(self.sender_of(message.transfer_uuid))
        if state is not None:
            state.message_buffer.push(message)

    def _background_worker(self, ready_sem: threading.Semaphore) -> None:
        names = {"websockets": self._websockets(), "AsyncMessageBuffer": Buffer}
        start = _rebound(infra.WebsockServer._background_worker, **names)
        try:
            start(self, ready_sem)
        finally:
            ready_sem.release()  # a failed start must not leave the constructor waiting

    def _websockets(self) -> SimpleNamespace:
        """What viser's start-up may see of `websockets`: our way to listen, and no other."""
        listen = SimpleNamespace(server=SimpleNamespace(serve=self._serve, ServerConnection=ServerConnection))
        rest = {name: getattr(websockets, name) for name in ("exceptions", "datastructures")}
        return SimpleNamespace(asyncio=listen, **rest)

    def _serve(self, handler: Any, _host: str, _port: int, *, process_request: Any, **settings: Any) -> serve:
        asyncio.get_running_loop().set_exception_handler(_note_failed_handler)
        settings |= {
            "max_size": MAX_MESSAGE_BYTES,
            "create_connection": type("Connection", (GuardedConnection,), {"door": self.door}),
            "logger": logging.getLogger("neural3d.viewer.connections"),
        }
        return serve(handler, sock=self._listening, process_request=_guarded(self.door, process_request), **settings)


def _note_failed_handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A message that one of viser's handlers choked on concerns nobody but its sender."""
    log.info("viewer: %s: %r", context.get("message"), context.get("exception"))


def _rebound(function: FunctionType, **names: object) -> FunctionType:
    """The same code, seeing other objects under these global names."""
    code, scope = function.__code__, {**function.__globals__, **names}
    copy = FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class GuardedServer(viser.ViserServer):
    """A `viser.ViserServer` behind a gate."""

    def __init__(self, door: Door, listening: socket.socket, label: str) -> None:
        def build(**settings: Any) -> infra.WebsockServer:
            # The folder that the gate has listed, and no other.
            return _GuardedWebsockServer(door, listening, **{**settings, "http_server_root": CLIENT_FILES})

        host, port = listening.getsockname()[:2]
        start = _rebound(viser.ViserServer.__init__, infra=SimpleNamespace(**{**vars(infra), "WebsockServer": build}))
        self.door = door
        with _quiet():
            start(self, host=host, port=port, label=label, verbose=False)
        self._websock_server.sender_of = self._sender_of

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Refuse: sharing would lead strangers through a relay past the gate."""
        raise RuntimeError("the viewer is not shared through relays; reach it through ssh -L instead")

    def take_files(self, button: viser.GuiUploadButtonHandle) -> None:
        """Let files come through this button; they come through no other control."""
        self.door.takes_files.add(button._impl.uuid)

    def _sender_of(self, transfer_uuid: str) -> int | None:
        state = self.gui._current_file_upload_states.get(transfer_uuid)
        return None if state is None else state["client_id"]

    def stop(self) -> None:
        """Stop listening and drop every client."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self.get_event_loop().call_soon_threadsafe(self._hang_up_on_the_silent)
        with _quiet():
            super().stop()

    def _hang_up_on_the_silent(self) -> None:
        """Nobody is waiting for these, but the server would, until they have said nothing for ten seconds."""
        for connection in tuple(self.door.silent):
            connection.transport.abort()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what viser prints: its address, which misses the token, and its end."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def start_server(
    host: str = "127.0.0.1",
    port: int = 7007,
    *,
    label: str = "neural3d",
    allow_hosts: tuple[str, ...] = (),
    max_clients: int = MAX_CLIENTS,
    stall_seconds: float = STALL_SECONDS,
    token: str | None = None,
) -> GuardedServer:
    """Listen on the first free port from `port` on (0: any), and answer only to those who know the token.

    It is a new one, unless that of a page before is given.

    Raises:
        InputError: the address is not one of this machine's, none of the next 100 ports is free, or a name in
            `allow_hosts` is none.
    """
    named = frozenset(map(plain_host, allow_hosts))
    listening = _listen(host, port)
    is_loopback = host in LOOPBACK_HOSTS
    hosts = LOOPBACK_HOSTS | named | {host.lower()}
    hosts = hosts if is_loopback else hosts | {socket.gethostname().lower()}
    gate = Gate(
        token=token or new_token(),
        port=listening.getsockname()[1],
        paths=list_files(CLIENT_FILES),
        hosts=hosts,
        origin_hosts=named - LOOPBACK_HOSTS,
        any_address=not is_loopback,
    )
    server = GuardedServer(Door(gate, max_clients, stall_seconds), listening, label)
    _verify_guard(server)
    return server


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not host:
        raise InputError("--host: it is empty, which means every network; write 0.0.0.0 where that is meant")
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port}: expected 0 (any) to 65535")
    tried = [port + offset for offset in range(PORTS_TO_TRY) if port + offset < 2**16] if port else [0]
    for candidate in tried:
        try:
            return socket.create_server((host, candidate), family=family)
        except (OSError, UnicodeError) as error:
            failure = error
            if getattr(error, "errno", None) not in _OTHER_PORTS_MAY_BE_FREE:
                break
    where = f"{host}, ports {tried[0]} to {tried[-1]}"
    raise InputError(f"viewer: cannot listen on {where}: {failure}; choose --host and --port")


def _verify_guard(server: GuardedServer) -> None:
    """Ask for the page without the token, as a stranger would; a viewer that answers must not go on."""
    host = server.get_host()
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    stranger = http.client.HTTPConnection(reachable, server.get_port(), timeout=10)
    try:
        stranger.request("GET", "/")
        status = stranger.getresponse().status
    finally:
        stranger.close()
    server.door.counts.clear()
    if status not in (HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST):
        server.stop()
        raise RuntimeError(
            f"viewer: the gate let a stranger in (HTTP {status}); viser {viser.__version__} is not known"
        )
