"""A headless Chromium, driven through its DevTools protocol."""

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--ignore-gpu-blocklist --window-size=1280,800 --hide-scrollbars --remote-debugging-port=0"
).split()
_ABOUT_SPEED = re.compile(r"GL Driver Message \(OpenGL, Performance")
"""What a driver in software says of screenshots, when the machine is busy."""
_TRIES, _PATIENCE_S = 4, 8.0
"""How often something is clicked, and how long a list may take to open each time."""
_TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"
"""Until what moves has been drawn elsewhere, however slowly this machine draws."""


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection, session: str, numbers: Iterator[int]) -> None:
        self._socket, self._session, self._numbers = socket, session, numbers
        self.console: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        number = next(self._numbers)
        self._socket.send(
            json.dumps({"id": number, "method": method, "params": parameters, "sessionId": self._session})
        )
        while True:
            answer = json.loads(self._socket.recv(timeout=60.0))
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                said = json.dumps(answer["params"])
                if not _ABOUT_SPEED.search(said):
                    self.console.append(said)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Log.enable")
        self.call("Runtime.enable")
        self.call("Page.enable")
        self.call("Page.navigate", url=url)

    def wait_for(self, expression: str, seconds: float = 60.0) -> Any:
        """Until an expression is true; its value. `document.body` may be null while a page loads."""
        end = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < end, f"never true: {expression}; the page says {self.text()!r}, {self.console}"
            time.sleep(0.1)
        return value

    def text(self) -> str:
        return self.evaluate("document.body ? document.body.innerText : ''")

    def click(self, label: str) -> None:
        """Click the button that bears this text."""
        self._click_on(_button(label))

    def wait_for_button(self, label: str) -> None:
        """Until there is a button that bears this text."""
        self.wait_for(f"!!{_button(label)}")

    def click_option(self, label: str) -> None:
        """Click an entry of the list that has opened."""
        options = "[...document.querySelectorAll('[role=option]')]"
        self._click_on(f"{options}.find(e => e.innerText.trim() === {label!r} && e.offsetParent)")

    def _click_on(self, find: str) -> None:
        """Click the middle of an element, as a mouse does, once it can be clicked and lies still, scrolled into sight.

        What the server has enabled or shown a moment ago is not so on the page yet, and what appears moves the rest:
        where something else got the click in the end, it is clicked again.
        """
        for _ in range(_TRIES):
            self.wait_for(f"(e => !!e && !e.disabled)({find})")
            self.evaluate(f"{find}.scrollIntoViewIfNeeded()")
            around, box = f"(r => [r.x + r.width / 2, r.y + r.height / 2])({find}.getBoundingClientRect())", None
            while box != (box := self.evaluate(around)):
                self.evaluate(_TWO_FRAMES)
            listen = "e.addEventListener('click', () => { window.wasClicked = true; }, { once: true, capture: true })"
            self.evaluate(f"(e => {{ window.wasClicked = false; {listen}; }})({find})")
            self.click_at(*box)
            if self.evaluate("window.wasClicked"):
                return
        raise AssertionError(f"something else got every click: {find}; the page says {self.text()!r}")

    def click_at(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_tab(self, label: str) -> None:
        """Turn to a page of the panel."""
        self._click_on(f"[...document.querySelectorAll('[role=tab], button')].find({_bears(label)})")

    def choose(self, label: str, option: str) -> None:
        """Choose from the list beside a label."""
        is_open = "[...document.querySelectorAll('[role=option]')].some(e => e.offsetParent)"
        field = f"{_beside(label)}?.querySelector('input')"
        for _ in range(_TRIES):
            # On a busy machine a part of the page that unfolds may still move away under the mouse: click once more.
            self._click_on(field)
            if self._comes_true(is_open):
                self.click_option(option)
            if self._comes_true(f"(e => !!e && e.value === {option!r})({field})"):
                break
        # While the list fades away, a click on the field would only close it once more.
        self.wait_for(f"!{is_open}")

    def _comes_true(self, expression: str) -> bool:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            if self.evaluate(expression):
                return True
            time.sleep(0.05)
        return False

    def tick(self, label: str) -> None:
        """Tick the box beside a label, or take the tick away."""
        self._click_on(f"{_beside(label)}?.querySelector('input[type=checkbox]')")

    def type_into(self, label: str, value: str) -> None:
        """Put a value into the field beside a label, as typing does."""
        field = f"{_beside(label)}?.querySelector('input:not([type=hidden])')"
        self.wait_for(f"!!{field}")
        self.evaluate(
            "(e => { Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')"
            f".set.call(e, {value!r}); e.dispatchEvent(new Event('input', {{ bubbles: true }})); }})({field})"
        )

    def give_file(self, field: str, path: Path) -> None:
        """Choose a file in the field with this id, as the system's window does."""
        self.wait_for(f"!!document.getElementById({field!r})")
        found = self.call("Runtime.evaluate", expression=f"document.getElementById({field!r})")
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def open_folder(self, label: str) -> None:
        """Unfold a part of a page, or fold it."""
        self._click_on(f"[...document.querySelectorAll('div')].filter({_bears(label)}).pop()")
        time.sleep(0.5)  # what is in it lies where it will be before it can be clicked

    def press_key(self, key: str) -> None:
        """A letter, with the mouse on the picture and no field in focus."""
        self.evaluate("document.activeElement && document.activeElement.blur()")
        code = {"key": key, "code": f"Key{key.upper()}", "windowsVirtualKeyCode": ord(key.upper())}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=key, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button held."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        steps = [start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), end]
        kinds = ["mousePressed", "mouseMoved", "mouseMoved"]
        for kind, (x, y) in zip(kinds, steps, strict=True):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def screenshot(self) -> np.ndarray:
        """What is on the screen, H W 3 of uint8."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _bears(label: str) -> str:
    return f"e => e.innerText.trim() === {label!r} && e.offsetParent"


def _beside(label: str) -> str:
    """The row of the control with this label: the nearest element around the label that holds an input, too."""
    labels = f"[...document.querySelectorAll('label, div, span')].filter({_bears(label)}).pop()"
    return f"(e => {{ while (e && !e.querySelector('input')) e = e.parentElement; return e; }})({labels})"


def _button(label: str) -> str:
    return f"[...document.querySelectorAll('button')].find(e => e.innerText.trim() === {label!r})"


@contextmanager
def opened_browser() -> Iterator[Page]:
    """A fresh tab in a fresh browser; there must be one."""
    profile = tempfile.mkdtemp(prefix="neural3d-chromium-")
    with open(Path(profile) / "stderr.txt", "w") as errors:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        with connect(_devtools_address(profile), max_size=None, compression=None) as socket:
            numbers = itertools.count(1)
            yield Page(socket, _new_tab(socket, numbers), numbers)
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(profile, ignore_errors=True)


def _devtools_address(profile: str) -> str:
    """Chromium writes the port it took, and the path of its socket, into its profile."""
    file, end = Path(profile) / "DevToolsActivePort", time.monotonic() + 60.0
    while not (file.is_file() and len(lines := file.read_text().splitlines()) == 2):
        assert time.monotonic() < end, (Path(profile) / "stderr.txt").read_text()
        time.sleep(0.05)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _new_tab(socket: ClientConnection, numbers: Iterator[int]) -> str:
    target = _call(socket, next(numbers), "Target.createTarget", url="about:blank")["targetId"]
    return _call(socket, next(numbers), "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]


def _call(socket: ClientConnection, number: int, method: str, **parameters: Any) -> dict[str, Any]:
    socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
    while (answer := json.loads(socket.recv(timeout=60.0))).get("id") != number:
        pass
    return answer["result"]
