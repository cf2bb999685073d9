"""Measures this machine: the tables of the README, each with command, machine and date."""

import json as json_format
from pathlib import Path
from typing import Literal

from neural3d.idle_threads import let_idle_threads_sleep

let_idle_threads_sleep()  # as the command line does; before torch comes in below
# ruff: noqa: E402
from neural3d.bench.formats import measure_formats
from neural3d.bench.memory import measure_memory
from neural3d.bench.plot import quality_svg
from neural3d.bench.quality import measure_quality
from neural3d.bench.rendering import measure_render
from neural3d.bench.step import measure_step
from neural3d.bench.tables import Report, text_of
from neural3d.run import finite_json
from neural3d.storage import atomic_write_text

__all__ = [
    "keep",
    "main",
    "measure_formats",
    "measure_memory",
    "measure_quality",
    "measure_render",
    "measure_step",
    "text_of",
]

Table = Literal["step", "render", "quality", "memory"]


def main(table: Table, json: bool) -> int:
    """Measure and print one table, or one JSON object; returns the exit status.

    Raises:
        InputError: What the table needs is not at hand.
    """
    measures = {"step": measure_step, "render": measure_render, "quality": measure_quality, "memory": measure_memory}
    report = measures[table]()
    print(_json_of(report) if json else text_of(report))
    return 0


def keep(report: Report, folder: Path) -> None:
    """Print a table, and write it as TABLE.json into a folder, the quality table also as a picture.

    Raises:
        StorageError: The folder cannot be written.
    """
    print(text_of(report))
    atomic_write_text(folder / f"{report['table']}.json", _json_of(report) + "\n")
    if report["table"] == "quality":
        atomic_write_text(folder / "quality.svg", quality_svg(report))


def _json_of(report: Report) -> str:
    return json_format.dumps(finite_json(report), indent=2, allow_nan=False)
