"""The gate's decisions, one request at a time."""

from pathlib import Path

import pytest

from neural3d.errors import InputError
from neural3d.viewer.gate import Gate, Refused, list_files, new_token, plain_host

GATE = Gate("secret", 7007, frozenset({"/", "/index.html", "/assets/a.js"}))
OPEN_GATE = Gate("secret", 7007, frozenset({"/"}), frozenset({"0.0.0.0", "my-pc"}), any_address=True)
NAMED = frozenset({"my-pc.example"})
PROXY_GATE = Gate("secret", 7007, frozenset({"/"}), frozenset({"127.0.0.1"}) | NAMED, origin_hosts=NAMED)
COOKIE = {"Cookie": "theme=dark; neural3d_token_7007=secret"}
WEBSOCKET = {"Upgrade": "websocket"}
OWN = {"Origin": "http://127.0.0.1:7007"}


def headers(*parts: dict[str, str], host: str = "127.0.0.1:7007") -> list[tuple[str, str]]:
    return [("Host", host), *(pair for part in parts for pair in part.items())]


def status_of(gate: Gate, target: str, request: list[tuple[str, str]]) -> int:
    with pytest.raises(Refused) as refused:
        gate.admit(target, request)
    return refused.value.status.value


@pytest.mark.parametrize("host", ["127.0.0.1:7007", "localhost:7007", "LOCALHOST:9000", "[::1]:7007"])
def test_the_token_in_the_address_opens_the_page_and_is_then_kept_in_the_cookie(host: str) -> None:
    admitted = GATE.admit("/?token=secret", headers(host=host))
    assert admitted.is_first and admitted.is_page and not admitted.is_websocket
    assert GATE.cookie == "neural3d_token_7007=secret; Path=/; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_the_cookie_opens_the_page_and_the_websocket(site: dict[str, str]) -> None:
    assert not GATE.admit("/assets/a.js", headers(COOKIE, site)).is_first
    assert GATE.admit("/", headers(COOKIE, site, WEBSOCKET, OWN)).is_websocket


@pytest.mark.parametrize(
    "target", ["/", "/?token=", "/?token=secre", "/?token=secret2", "/?token=%FF", "/?Token=secret"]
)
def test_without_the_right_token_nothing_opens(target: str) -> None:
    assert status_of(GATE, target, headers()) == 403
    assert status_of(GATE, target, headers(WEBSOCKET, OWN)) == 403


def test_a_wrong_token_in_the_address_is_not_made_good_by_another_or_by_the_cookie() -> None:
    assert status_of(GATE, "/?token=wrong", headers(COOKIE)) == 403
    assert status_of(GATE, "/?token=wrong&token=secret", headers()) == 403


@pytest.mark.parametrize(
    "cookie", ["neural3d_token_7007=wrong", "neural3d_token_7008=secret", "x=neural3d_token_7007=secret", "secret", ""]
)
def test_only_the_cookie_of_this_viewer_counts(cookie: str) -> None:
    assert status_of(GATE, "/", headers({"Cookie": cookie})) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_a_cookie_that_another_page_made_the_browser_send_does_not_count(site: str) -> None:
    """Browsers send the cookies of one port of localhost to every other one; SameSite does not tell them apart."""
    assert status_of(GATE, "/", headers(COOKIE, {"Sec-Fetch-Site": site})) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8888", "http://localhost:7007", "http://127.0.0.1", ""]
)
def test_other_origins_are_refused_even_with_token_and_cookie(origin: str) -> None:
    for kind in ({}, WEBSOCKET):
        assert status_of(GATE, "/?token=secret", headers(COOKIE, kind, {"Origin": origin})) == 403


def test_a_websocket_without_origin_is_refused() -> None:
    assert status_of(GATE, "/?token=secret", headers(WEBSOCKET)) == 403
    assert status_of(GATE, "/?token=secret", headers({"Upgrade": "WebSocket, h2c"})) == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7007", "127.0.0.1.evil.example", "10.0.0.3:7007", "", "["]
)
def test_other_hosts_are_refused_even_with_the_token(host: str) -> None:
    own_origin = {"Origin": f"http://{host}"}
    assert status_of(GATE, "/?token=secret", headers(own_origin, host=host)) == 421


def test_beyond_the_loopback_addresses_and_own_names_are_us_but_no_other_name() -> None:
    for host in ("10.0.0.3:7007", "my-pc:7007", "[fe80::1]:7007"):
        assert OPEN_GATE.admit("/?token=secret", headers(host=host)).is_page
    assert status_of(OPEN_GATE, "/?token=secret", headers(host="evil.example:7007")) == 421
    assert status_of(OPEN_GATE, "/", headers(host="10.0.0.3:7007")) == 403


@pytest.mark.parametrize("host", ["my-pc.example", "MY-PC.example:8443", "127.0.0.1:7007"])
@pytest.mark.parametrize("origin", ["https://my-pc.example", "http://My-PC.example:8080"])
def test_a_host_that_was_named_is_us_whether_or_not_its_proxy_changes_host(host: str, origin: str) -> None:
    request = headers(WEBSOCKET, COOKIE, {"Origin": origin}, host=host)
    assert PROXY_GATE.admit("/", request).is_websocket
    assert status_of(PROXY_GATE, "/", headers(WEBSOCKET, {"Origin": origin}, host=host)) == 403, "not without the token"
    assert status_of(GATE, "/?token=secret", headers(WEBSOCKET, {"Origin": origin})) == 403


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "https://my-pc.example.evil.example", "https://evil.my-pc.example", "ftp://my-pc.example",
     "my-pc.example", "null", "", "https://evil.example/my-pc.example", "https://evil.example#@my-pc.example",
     "http://localhost:7007"],
)  # fmt: skip
def test_naming_a_host_opens_to_no_other(origin: str) -> None:
    assert status_of(PROXY_GATE, "/?token=secret", headers(WEBSOCKET, COOKIE, {"Origin": origin})) == 403


def test_host_names_are_taken_as_browsers_send_them() -> None:
    names = {"My-PC.Example": "my-pc.example", "10.0.0.3": "10.0.0.3", "fe80::1": "fe80::1", "a_b": "a_b",
             "bücher.example": "xn--bcher-kva.example"}  # fmt: skip
    assert {name: plain_host(name) for name in names} == names


@pytest.mark.parametrize(
    "name", ["", "*", "http://my-pc", "my-pc:7007", "my-pc/", "my pc", "*.example", "a..b", ".", "a@b", "x" * 64, "\n"]
)
def test_what_is_no_host_name_is_named(name: str) -> None:
    with pytest.raises(InputError, match="--allow-host .*: expected a host name without scheme and port"):
        plain_host(name)


def test_exactly_one_host_header() -> None:
    assert status_of(GATE, "/?token=secret", headers({"host": "localhost:7007"})) == 400
    assert status_of(GATE, "/?token=secret", []) == 400


TRAVERSALS = [
    "/../../../etc/passwd",
    "/..",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%2e%2e%2fetc/passwd",
    "//etc/passwd",
    "/assets//a.js",
    "/./index.html",
    "/assets/../index.html",
    "\\..\\..\\etc\\passwd",
    "/..\\..\\etc/passwd",
    "/%5c..%5cetc",
    "/index.html%00.js",
    "/%69ndex.html",
    "/index.html/",
    "/INDEX.HTML",
    "/assets",
    "/assets/",
    "index.html",
    "http://127.0.0.1:7007/",
    "*",
    "",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_only_listed_paths_in_their_plain_spelling_are_served(path: str) -> None:
    assert status_of(GATE, f"{path}?token=secret", headers()) == 404


def test_links_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "root" / "assets").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    for name in ("index.html", "assets/a.js"):
        (tmp_path / "root" / name).write_text("ours")
    (tmp_path / "root" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "root" / "folder").symlink_to(tmp_path)
    assert list_files(tmp_path / "root") == {"/", "/index.html", "/assets/a.js"}


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) * 6 >= 128 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)
