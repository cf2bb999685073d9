"""What the fields of a configuration may hold, and the one line that refuses the rest."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from neural3d.errors import InputError


@dataclass(frozen=True)
class Limit:
    """What a value must be."""

    expected: str
    """Completes "expected ..."."""
    holds: Callable[[Any], bool]

    def or_none(self) -> "Limit":
        """The same, or None."""
        return Limit(f"{self.expected}, or None", lambda value: value is None or self.holds(value))


def whole(low: int, high: int | None = None) -> Limit:
    """An int from `low` to `high`."""
    expected = f"a whole number, {low} or more" if high is None else f"a whole number, {low} to {high}"
    return Limit(expected, lambda value: _is_whole(value) and low <= value and (high is None or value <= high))


def number(low: float | int, high: float | int = math.inf) -> Limit:
    """A finite number from `low` to `high`."""
    expected = f"a number, {low:g} or more" if high == math.inf else f"a number from {low:g} to {high:g}"
    return Limit(expected, lambda value: _is_number(value) and low <= value <= high)


def above(low: float | int, high: float | int = math.inf) -> Limit:
    """A finite number that is more than `low`, and at most `high`."""
    expected = f"a number, more than {low:g}" + ("" if high == math.inf else f" and at most {high:g}")
    return Limit(expected, lambda value: _is_number(value) and low < value <= high)


def between(low: float | int, high: float | int) -> Limit:
    """A number inside, neither end included."""
    return Limit(
        f"a number between {low:g} and {high:g}, neither included",
        lambda value: _is_number(value) and low < value < high,
    )


def one_of(*names: str) -> Limit:
    """One of some words."""
    return Limit(", ".join(names[:-1]) + f" or {names[-1]}", lambda value: isinstance(value, str) and value in names)


def switch() -> Limit:
    """True or False."""
    return Limit("True or False", lambda value: isinstance(value, bool))


OF_RUNS = {
    "steps": whole(1),
    "max_seconds": above(0).or_none(),
    "seed": whole(0, 2**63 - 1),
    "background": one_of("auto", "white", "black", "random"),
    "checkpoint_seconds": number(0),
}
"""Of every training."""
OF_FIELDS = {**OF_RUNS, "rate_start": above(0), "rate_end": above(0)}
OF_MARCHED_FIELDS = {
    **OF_FIELDS,
    "samples": whole(1, 2**24),
    "most_rays": whole(64, 2**20),
    "width": whole(1, 128),
    "occupancy_cells": whole(8, 512),
}
"""Of those that are looked at in the occupied cells of a grid."""


def check_fields(config: object, limits: dict[str, Limit], *, prefix: str = "") -> None:
    """Hold the fields of a configuration to their limits.

    Raises:
        InputError: Names the field, with the prefix before it, what was expected, and what came.
    """
    for name, limit in limits.items():
        value = getattr(config, name)
        if not limit.holds(value):
            raise InputError(f"{prefix}{name}: expected {limit.expected}, got {value!r}")


def check_names(kind: type, content: Mapping[str, Any], *, prefix: str = "") -> None:
    """Hold the names in a file to the fields of a configuration.

    Raises:
        InputError: Names a field that is unknown or missing.
    """
    known = [field.name for field in fields(kind)]
    if wrong := [name for name in content if name not in known]:
        raise InputError(f"{prefix}{wrong[0]}: there is no such setting")
    if missing := [name for name in known if name not in content]:
        raise InputError(f"{prefix}{missing[0]}: missing")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) or _is_whole(value)) and math.isfinite(value)
