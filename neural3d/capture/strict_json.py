"""JSON from strangers: bounded, without duplicate keys, with numbers that are numbers."""

import json
import math
from pathlib import Path
from typing import Any

from neural3d.capture.listing import BadFrame
from neural3d.errors import InputError

MAX_BYTES = 128 * 2**20
"""A capture of 10,000 frames takes about 10 MB; Python objects take ten times the text."""


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. NaN and infinities come through as floats: a bad number spoils its frame, not the capture.

    Raises: InputError for what is not a JSON object, is too large or too deep, or names a key twice.
    """
    text_of_file = _read_text(path)
    try:
        content = json.loads(text_of_file, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: broken JSON at line {error.lineno}: {error.msg}; write the file again") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply; write the file again") from error
    except DuplicateKeyError as error:
        raise InputError(f"{path}: the key {error.args[0]!r} appears twice in one object; keep one") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}; write the file again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__} at the top, expected an object with frames")
    return content


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if content is None:
        raise InputError(f"{path}: {size / 1e6:.0f} MB, at most {MAX_BYTES / 1e6:.0f} MB are read; split the capture")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


class DuplicateKeyError(Exception):
    """A JSON object names a key twice; which value counts is anybody's guess."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        raise DuplicateKeyError(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return content


def number(record: dict[str, Any], key: str, default: float | None = None) -> float:
    """A finite number of a record.

    Raises: BadFrame when it is missing and there is no default, or is something else.
    """
    value = record.get(key, default)
    if value is None:
        raise BadFrame(f"{key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise BadFrame(f"{key} is {_short(value)}, expected a finite number")
    return float(value)


def text(record: dict[str, Any], key: str) -> str:
    """A non-empty string of a record.

    Raises: BadFrame when it is missing or something else.
    """
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise BadFrame(f"{key} is {_short(value)}, expected a path")
    return value


def _is_finite(value: int | float) -> bool:
    # An integer of a thousand digits is valid JSON and no float.
    return abs(value) < 1e300 and math.isfinite(value)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
