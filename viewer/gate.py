"""Who may talk to the viewer: the one decision that every HTTP request and every WebSocket upgrade passes.

viser asks nobody for a password, an Origin or a Host, so any page of the web could press its buttons through the
visitor's own browser. A request is let in when all of these hold:

- Host names this machine (else a page could reach us under its own name: DNS rebinding);
- Origin, where there is one, is the address the page itself was loaded from, or of a host that was named as ours, for
  proxies that change Host on the way; and a WebSocket always has one;
- it knows the token: `?token=` in the address on the first load, a cookie (HttpOnly, SameSite=Strict) afterwards, since
  neither the page's own requests nor its WebSocket carry the address's query. SameSite ignores the port, so a cookie
  counts only for requests that the browser says come from our own page (Sec-Fetch-Site);
- the path is one of the files the viewer consists of. They are listed beforehand, so no spelling of a path
  leads out of them.
"""

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from neural3d.errors import InputError

RequestHeaders = Sequence[tuple[str, str]]
"""Names and values as they came; a name may come more than once."""

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_PLAIN_PATH = re.compile(r"/(?:[A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]*")


class Refused(Exception):
    """A request that is not let in; `status` and the message are the answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Admitted:
    """A request that is let in."""

    is_websocket: bool
    is_page: bool
    """It loads the page itself."""
    is_first: bool
    """The token came in the address, so the answer has to set the cookie."""


def new_token() -> str:
    """192 random bits, safe in an address."""
    return secrets.token_urlsafe(24)


def plain_host(name: str) -> str:
    """A host name as browsers send it: lower case, international ones in ASCII.

    Raises:
        InputError: It is no name of a host, as with a port or a scheme.
    """
    try:
        plain = name.lower().encode("idna").decode("ascii")
    except UnicodeError:
        plain = ""
    if not _HOST_NAME.fullmatch(plain) and not _is_ip_address(plain):
        raise InputError(f"--allow-host {name!r}: expected a host name without scheme and port, as my-pc.example")
    return plain


def list_files(root: Path) -> frozenset[str]:
    """The paths that may be asked for: every regular file below root, and `/`. Links are left out."""
    files = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    paths = {"/" + path.relative_to(root).as_posix() for path in files if path.is_file() and not path.is_symlink()}
    return frozenset(paths | {"/"} if "/index.html" in paths else paths)


@dataclass(frozen=True)
class Gate:
    """The rules of one viewer."""

    token: str
    port: int
    """Where the viewer listens; part of the cookie's name, because browsers share cookies between ports."""
    paths: frozenset[str]
    hosts: frozenset[str] = LOOPBACK_HOSTS
    """Host names that are us, in lower case, without port."""
    origin_hosts: frozenset[str] = frozenset()
    """Host names whose pages are ours whatever Host says: those that a person has named, never the loopback, where
    every server of this machine has its pages."""
    any_address: bool = False
    """Any IP address is us too: right when bound to more than the loopback, and safe, since no page owns one."""

    @property
    def cookie_name(self) -> str:
        return f"neural3d_token_{self.port}"

    @property
    def cookie(self) -> str:
        """The Set-Cookie header that an admitted first request is answered with."""
        return f"{self.cookie_name}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def admit(self, target: str, headers: RequestHeaders) -> Admitted:
        """Decide on one request.

        Args:
            target: The request line's target, as it came.
            headers: The request's headers.

        Raises:
            Refused: with the status and the words to answer.
        """
        host = _only(headers, "Host")
        self._check_host(host)
        is_websocket = _all(headers, "Upgrade") != []
        self._check_origin(_all(headers, "Origin"), host, required=is_websocket)
        path, _, query = target.partition("?")
        is_first = self._check_token(query, headers)
        if path not in self.paths or not _PLAIN_PATH.fullmatch(path):
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such file.")
        return Admitted(is_websocket, path in ("/", "/index.html"), is_first)

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if name not in self.hosts and not (self.any_address and _is_ip_address(name)):
            message = "This viewer does not answer to that host name; use 127.0.0.1 or start it with --allow-host NAME."
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, message)

    def _check_origin(self, origins: list[str], host: str, *, required: bool) -> None:
        own = {f"http://{host}", f"https://{host}"}
        is_ours = [origin.lower() in own or _origin_name(origin) in self.origin_hosts for origin in origins]
        if (required and not origins) or not all(is_ours):
            raise Refused(HTTPStatus.FORBIDDEN, "Requests from other web pages are refused.")

    def _check_token(self, query: str, headers: RequestHeaders) -> bool:
        """Whether the token came in the address; a token that is given there must be right."""
        given = parse_qs(query, keep_blank_values=True).get("token", [])
        if given and all(self._is_token(token) for token in given):
            return True
        if not given and self._from_own_page(headers) and any(map(self._is_token, self._cookies(headers))):
            return False
        message = "This viewer needs the complete address, with its token, that the program printed when it started."
        raise Refused(HTTPStatus.FORBIDDEN, message)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.token.encode())

    def _cookies(self, headers: RequestHeaders) -> list[str]:
        pairs = [pair.strip().partition("=") for line in _all(headers, "Cookie") for pair in line.split(";")]
        return [value for name, _, value in pairs if name == self.cookie_name]

    @staticmethod
    def _from_own_page(headers: RequestHeaders) -> bool:
        return set(_all(headers, "Sec-Fetch-Site")) <= {"same-origin", "none"}


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin_name(origin: str) -> str:
    """The host name of a page's origin; empty where it is none."""
    scheme, separator, host = origin.lower().partition("://")
    return _host_name(host) if separator and scheme in ("http", "https") else ""


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _all(headers: RequestHeaders, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name.lower()]


def _only(headers: RequestHeaders, name: str) -> str:
    values = _all(headers, name)
    if len(values) != 1:
        raise Refused(HTTPStatus.BAD_REQUEST, f"A request needs exactly one {name} header.")
    return values[0].lower()
