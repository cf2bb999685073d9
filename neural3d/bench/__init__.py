"""Measures this machine: the tables of the README, each with command, machine and date."""

import json as json_format
from pathlib import Path
from typing import Literal

from neural3d.idle_threads import let_idle_threads_sleep

let_idle_threads_sleep()  # as the command line does; before torch comes in below
# ruff: noqa: E402
from neural3d.bench.formats import measure_formats
from neural3d.bench.gpu.pace import measure_device_render, measure_device_step
from neural3d.bench.memory import measure_memory
from neural3d.bench.plot import quality_svg
from neural3d.bench.priors import measure_priors
from neural3d.bench.quality import measure_quality
from neural3d.bench.rendering import measure_render
from neural3d.bench.step import measure_step
from neural3d.bench.tables import Report, markdown_of, priors_rows, text_of
from neural3d.devices import DeviceName, choose_device
from neural3d.errors import InputError
from neural3d.run import finite_json
from neural3d.storage import atomic_write_text

__all__ = [
    "keep",
    "main",
    "measure_formats",
    "measure_memory",
    "measure_priors",
    "measure_quality",
    "measure_render",
    "measure_step",
    "text_of",
]

Table = Literal["step", "render", "quality", "memory", "priors"]


def main(table: Table, json: bool, device: DeviceName | None = None) -> int:
    """Measure and print one table, or one JSON object; returns the exit status.

    Raises:
        InputError: What the table needs is not at hand.
    """
    report = _measured(table, device)
    print(_json_of(report) if json else text_of(report))
    return 0


def _measured(table: Table, asked: DeviceName | None) -> Report:
    """On the device that was asked for; left to itself, where training and rendering would be done.

    Raises: InputError.
    """
    on_devices = {"step": measure_device_step, "render": measure_device_render}
    if table not in on_devices and asked == "cuda":
        raise InputError(f"--device cuda: {table} is measured on the CPU; a GPU has {' and '.join(on_devices)}")
    device = choose_device(asked if table in on_devices else "cpu")
    if device.type != "cpu":
        return on_devices[table](device)
    measures = {
        "step": measure_step,
        "render": measure_render,
        "quality": measure_quality,
        "memory": measure_memory,
        "priors": measure_priors,
    }
    return measures[table]()


def keep(report: Report, folder: Path, name: str | None = None) -> None:
    """Print a table, and write it as NAME.json or TABLE.json into a folder.

    The quality table is also kept as a picture, that of the priors for people.

    Raises:
        StorageError: The folder cannot be written.
    """
    print(text_of(report))
    atomic_write_text(folder / f"{name or report['table']}.json", _json_of(report) + "\n")
    if report["table"] == "quality":
        atomic_write_text(folder / "quality.svg", quality_svg(report))
    if report["table"] == "priors":
        atomic_write_text(folder / "priors.md", markdown_of(priors_rows(report), report))


def _json_of(report: Report) -> str:
    return json_format.dumps(finite_json(report), indent=2, allow_nan=False)
