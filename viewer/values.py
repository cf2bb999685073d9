"""What controls of the page say, made sure of: a page may send any number and any word."""

import math
from collections.abc import Sequence
from typing import TypeVar

import viser

Choice = TypeVar("Choice", bound=str)


def number(value: object, low: float, high: float, otherwise: float) -> float:
    """A finite number within the limits; `otherwise` where it is none."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return otherwise
    return min(max(float(value), low), high)


def numbers(values: object, low: float, high: float, otherwise: tuple[float, ...]) -> tuple[float, ...]:
    """As many of them as there are in `otherwise`, each within the limits."""
    given = values if isinstance(values, Sequence) and len(values) == len(otherwise) else otherwise
    return tuple(number(value, low, high, usual) for value, usual in zip(given, otherwise, strict=True))


def choice(value: object, choices: Sequence[Choice], otherwise: Choice) -> Choice:
    """One of the choices; `otherwise` where it is none."""
    return next((option for option in choices if option == value), otherwise)


def taken_file(button: viser.GuiUploadButtonHandle) -> viser.UploadedFile:
    """What was sent through a button, which forgets it: viser would keep its bytes until the next."""
    file = button.value
    button._impl.value = viser.UploadedFile("", b"")
    return file


def color(value: object) -> tuple[float, float, float]:
    """Display sRGB in [0, 1] of what a colour picker says."""
    red, green, blue = (part / 255.0 for part in numbers(value, 0.0, 255.0, (255.0, 255.0, 255.0)))
    return red, green, blue
