"""JSON from strangers: bounded, without duplicate keys, with numbers that are numbers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from neural3d.capture.listing import BadFrame
from neural3d.errors import InputError, said

MAX_BYTES = 128 * 2**20
"""A capture of 10,000 frames takes about 10 MB; Python objects take ten times the text."""


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. NaN and infinities come through as floats: a bad number spoils its frame, not the capture.

    Raises: InputError for what is not a JSON object, is too large or too deep, or names a key twice.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__} at the top, expected an object with frames")
    return content


def load_json_list(path: Path) -> list[Any]:
    """Read a JSON list.

    Raises: InputError as `load_json` does.
    """
    content = _load(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: holds a {type(content).__name__} at the top, expected a list")
    return content


def _load(path: Path) -> Any:
    text_of_file = _read_text(path)
    try:
        return json.loads(text_of_file, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: broken JSON at line {error.lineno}: {error.msg}; write the file again") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply; write the file again") from error
    except DuplicateKeyError as error:
        raise InputError(f"{path}: the key {error.args[0]!r} appears twice in one object; keep one") from error
    except ValueError as error:
        raise InputError(f"{path}: {said(error)}; write the file again") from error


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


def vector(record: dict[str, Any], key: str, count: int) -> Float64[np.ndarray, "{count}"]:
    """A list of finite numbers of a record; numbers as text count, too, as Meshroom writes them.

    Raises: BadFrame when it is missing or something else.
    """
    value = record.get(key)
    if not isinstance(value, list) or len(value) != count:
        raise BadFrame(f"{key} is {_short(value)}, expected {count} numbers")
    try:
        numbers = np.array([float(entry) for entry in value], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFrame(f"{key} is {_short(value)}, expected {count} numbers") from error
    if not np.isfinite(numbers).all():
        raise BadFrame(f"{key} is {_short(value)}, expected finite numbers")
    return numbers


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
