"""A brush that paints along a drag: the page gathers the stroke, which viser itself has no gesture for."""

import json
import math
from collections.abc import Callable

import viser
from viser import _messages as wire

MAX_POINTS = 512
"""Of a stroke."""
Stroke = tuple[tuple[float, float], ...]
"""Places in parts of the window's width and height."""

SCRIPT = """
(() => {
  window.neural3dBrush = STATE;
  if (window.neural3dBrushIsThere) return;
  window.neural3dBrushIsThere = true;
  let points = null, painted = null, strokes = 0;
  const style = document.head.appendChild(document.createElement('style'));
  const field = () => {
    const brush = window.neural3dBrush;
    if (!brush) return null;
    const row = `.mantine-Flex-root:not(:has(.mantine-Flex-root)):has(label[for="${brush.field}"])`;
    style.textContent = `${row} { display: none; }`;
    return document.querySelector(`${row} input`);
  };
  new MutationObserver(field).observe(document.body, { childList: true, subtree: true });
  const place = (canvas, e) => {
    const box = canvas.getBoundingClientRect();
    return [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height];
  };
  const layer = canvas => {
    const box = canvas.getBoundingClientRect(), over = document.createElement('canvas');
    over.width = box.width; over.height = box.height;
    over.style.cssText =
      `position:fixed;left:${box.left}px;top:${box.top}px;pointer-events:none;opacity:0.4;z-index:5`;
    return document.body.appendChild(over);
  };
  const paint = () => {
    const pen = painted.getContext('2d'), [width, height] = [painted.width, painted.height];
    pen.clearRect(0, 0, width, height);
    pen.lineWidth = 2 * window.neural3dBrush.radius;
    pen.lineCap = pen.lineJoin = 'round';
    pen.strokeStyle = '#f09614';
    pen.beginPath();
    pen.moveTo(points[0][0] * width, points[0][1] * height);
    for (const [x, y] of points) pen.lineTo(x * width, y * height);
    pen.stroke();
  };
  const end = () => { painted.remove(); points = painted = null; };
  const taken = e => { e.stopImmediatePropagation(); e.preventDefault(); };
  addEventListener('pointerdown', e => {
    const canvas = e.target;
    if (points || e.button !== 0 || !canvas.dataset || !canvas.dataset.engine || !field()) return;
    taken(e);
    points = [place(canvas, e)];
    points.canvas = canvas; points.pointer = e.pointerId;
    painted = layer(canvas);
    paint();
  }, true);
  addEventListener('pointermove', e => {
    if (!points || e.pointerId !== points.pointer) return;
    taken(e);
    const [x, y] = place(points.canvas, e), [u, v] = points[points.length - 1];
    const far = Math.hypot((x - u) * painted.width, (y - v) * painted.height) > 2;
    if (far && points.length < MAX_POINTS) { points.push([x, y]); paint(); }
  }, true);
  addEventListener('pointerup', e => {
    if (!points || e.pointerId !== points.pointer) return;
    taken(e);
    const input = field(), stroke = points.map(([x, y]) => `${x.toFixed(4)},${y.toFixed(4)}`).join(' ');
    end();
    if (!input) return;
    // React hears of a value only that was set past its own setter.
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, `${++strokes} ${stroke}`);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }, true);
  addEventListener('pointercancel', e => { if (points && e.pointerId === points.pointer) end(); }, true);
})();
""".replace("MAX_POINTS", str(MAX_POINTS))
"""Sent by the server; a stroke comes back as the value of a hidden field, as all else that a page says."""


class Brush:
    """The tool on all visitors' pages."""

    def __init__(self, server: viser.ViserServer, on_stroke: Callable[[viser.ClientHandle, Stroke], None]) -> None:
        """`on_stroke` hears who has painted, and where."""
        self._server, self._on_stroke = server, on_stroke
        self._radius_px: float | None = None
        self._told = ""
        self._field = server.gui.add_text("Stroke", "", visible=False)
        self._field.on_update(self._on_text)

    def take_up(self, radius_px: float | None) -> None:
        """Paint with this radius from now on; None: put it away."""
        self._radius_px = radius_px
        self._field.visible = radius_px is not None
        for client in self._server.get_clients().values():
            self.welcome(client)

    def welcome(self, client: viser.ClientHandle) -> None:
        """Tell a visitor's page what the brush is like."""
        state = None if self._radius_px is None else {"radius": self._radius_px, "field": self._field._impl.uuid}
        client._websock_connection.queue_message(wire.RunJavascriptMessage(SCRIPT.replace("STATE", json.dumps(state))))

    def _on_text(self, event: viser.GuiEvent) -> None:
        text, before = self._field.value, self._told
        self._told = text
        # Pages tell the value of a field more than once.
        stroke = stroke_of(text) if text != before else ()
        if event.client is not None and self._radius_px is not None and stroke:
            self._on_stroke(event.client, stroke)


def stroke_of(text: object) -> Stroke:
    """The places that a page has sent, after a number that makes strokes differ; none where it is no stroke."""
    words = text.split(" ") if isinstance(text, str) and len(text) <= 20 * MAX_POINTS else []
    try:
        places = [tuple(float(part) for part in word.split(",")) for word in words[1:]]
    except ValueError:
        return ()
    are_places = all(len(place) == 2 and all(math.isfinite(p) and -1 <= p <= 2 for p in place) for place in places)
    return tuple(places) if are_places and len(places) <= MAX_POINTS else ()
