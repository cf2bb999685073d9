"""Curves as SVG, for a page of text: quality over training time."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor
from typing import Any

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 48
COLORS = ("#1f6fb4", "#c8501e", "#2f8f4e", "#7d4fa8")
_TEXT = 'font-family="sans-serif" font-size="13" fill="#444"'

Line = tuple[str, Sequence[tuple[float, float]]]


def quality_svg(report: dict[str, Any]) -> str:
    """PSNR of each capture of a quality report over training time: solid plain, dashed colour-corrected."""
    lines, dashes, colors = [], [], []
    for i, (name, points) in enumerate(report["curve"].items()):
        for key, label in (("psnr", "PSNR"), ("psnr_color_corrected", "color-corrected")):
            lines.append((f"{name}, {label}", [(point["seconds"], point[key]) for point in points]))
            dashes.append(key != "psnr")
            colors.append(COLORS[i % len(COLORS)])
    return line_chart(lines, dashes=dashes, colors=colors, x_label="seconds of training", y_label="dB")


def line_chart(
    lines: Sequence[Line], *, dashes: Sequence[bool], colors: Sequence[str], x_label: str, y_label: str
) -> str:
    """An SVG picture of lines through points, with axes, grid and legend."""
    xs, ys = ([point[axis] for _, points in lines for point in points] for axis in (0, 1))
    x_ticks, y_ticks = _ticks(0.0, max(xs)), _ticks(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>')
    for x in x_ticks:
        (left, top), (_, bottom) = place(x, y_ticks[-1]), place(x, y_ticks[0])
        parts.append(_stroke([(left, top), (left, bottom)], "#ddd", 1, False))
        parts.append(f'<text x="{left:.1f}" y="{bottom + 18:.1f}" text-anchor="middle" {_TEXT}>{x:g}</text>')
    for y in y_ticks:
        (left, top), (right, _) = place(x_ticks[0], y), place(x_ticks[-1], y)
        parts.append(_stroke([(left, top), (right, top)], "#ddd", 1, False))
        parts.append(f'<text x="{left - 6:.1f}" y="{top + 4:.1f}" text-anchor="end" {_TEXT}>{y:g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle" {_TEXT}>{escape(x_label)}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 16}" text-anchor="end" {_TEXT}>{escape(y_label)}</text>')
    for i, ((name, points), dash, color) in enumerate(zip(lines, dashes, colors, strict=True)):
        parts.append(_stroke([place(x, y) for x, y in points], color, 2, dash))
        row = float(HEIGHT - BOTTOM - 14 - 18 * (len(lines) - 1 - i))
        parts.append(_stroke([(WIDTH - 270.0, row - 4), (WIDTH - 240.0, row - 4)], color, 2, dash))
        parts.append(f'<text x="{WIDTH - 232}" y="{row}" {_TEXT}>{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _stroke(points: Sequence[tuple[float, float]], color: str, width: int, dash: bool) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = ' stroke-dasharray="6 4"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dashed}/>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, five or so, at least two."""
    span = max(high - low, 1e-9)
    step = next(s for s in _round_numbers() if span / s <= 6)
    first, last = floor(low / step), ceil(high / step)
    return [step * i for i in range(first, max(last, first + 1) + 1)]


def _round_numbers() -> Iterator[float]:
    """0.1, 0.2, 0.5, 1, 2, 5, ..."""
    power = 0.1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
