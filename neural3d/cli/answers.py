"""What commands print on stdout, and the lines that say how far they are."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from neural3d.cli.progress import clock, say
from neural3d.run import finite_json

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 2.0


def answer(content: dict[str, Any], as_json: bool) -> None:
    """Print what was asked for on stdout: one JSON object, or a line a value.

    It is there at once, in pipes and files too: a command with a viewer goes on afterwards.
    """
    if as_json:
        print(json.dumps(finite_json(content), allow_nan=False), flush=True)
        return
    width = max(map(len, content))
    for name, value in content.items():
        if isinstance(value, list):
            for i, entry in enumerate(value):
                print(f"{name if i == 0 else '':{width}}  {_for_people(entry)}")
        else:
            print(f"{name:{width}}  {_for_people(value)}")
    sys.stdout.flush()


def _for_people(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_for_people(entry)}" for name, entry in value.items())
    if value is None:
        return "not measured"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, with a line now and then that says how many are done and how long the rest will take."""
    start = spoken = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - spoken > _SECONDS_BETWEEN_LINES:
            spoken = now
            left = (now - start) / (done + 1) * (total - done - 1)
            say(f"{what}: {done + 1} of {total}, {clock(left)} left")
