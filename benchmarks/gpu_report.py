"""What a check of a GPU has found: one JSON file, to which every part adds its own entry, and one table for people."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpu_plan import CAPTURES, TRAINERS, Options, parts_of
from gpu_plan import STEPS as CHECK_STEPS

from neural3d.storage import atomic_write_text

COMMAND = "make gpu-check"
NOT_MEASURED = "not measured"
Status = Literal["passed", "failed", "skipped", "timed out"]
EQUAL_DB = 0.1
"""Within this many dB of each other two trainings are equally good."""
TRAINER_NAMES = {
    "native": "neural3d",
    "native-exact": "neural3d, waiting for each step's number of pairs",
    "gsplat": "neural3d's trainer with `--backend gsplat`",
    "gsplat-default": "gsplat, DefaultStrategy",
    "gsplat-mcmc": "gsplat, MCMCStrategy",
}


@dataclass(frozen=True)
class PartRecord:
    """One part of a check."""

    name: str
    status: Status
    seconds: float
    date: str
    command: str
    machine: dict[str, Any]
    """GPU, driver, versions, commit: nothing is quoted without."""
    result: dict[str, Any] | None
    """What it measured or counted."""
    complaint: str | None
    """The last lines of a part that did not pass, or why it was skipped."""


Records = dict[str, PartRecord]


def read_records(path: Path) -> Records:
    """The parts by name; none where there is no file yet."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: PartRecord(name=name, **entry) for name, entry in content["parts"].items()}


def add_record(path: Path, record: PartRecord) -> Records:
    """Write a record into the file, in the place of an earlier one of its name; returns all.

    Raises: StorageError.
    """
    records = read_records(path) | {record.name: record}
    parts = {name: {k: v for k, v in vars(one).items() if k != "name"} for name, one in sorted(records.items())}
    atomic_write_text(path, json.dumps({"table": "gpu_check", "parts": parts}, indent=1, allow_nan=False) + "\n")
    return records


def markdown(records: Records) -> str:
    """Every number with its part; what there is no measurement of says so."""
    sections = [
        _head(records),
        _training(records),
        _frames(records),
        _operators(records),
        _determinism(records),
        _aims(records),
        _parts(records),
    ]
    return "\n\n".join(sections) + "\n"


def _head(records: Records) -> str:
    lines = ["# A GPU, beside gsplat", ""]
    machines = {
        json.dumps(r.machine, sort_keys=True): r for r in records.values() if r.status == "passed" and r.machine["gpu"]
    }
    if not machines:
        lines.append(
            f"Nothing was measured yet: no GPU was at hand. `{COMMAND}` measures it, see [README.md](../README.md)."
        )
    for record in machines.values():
        facts = {key: value for key, value in record.machine.items() if value is not None}
        lines.append(
            f"Measured {record.date[:10]}: " + ", ".join(f"{key} {value}" for key, value in facts.items()) + "  "
        )
    return "\n".join(lines)


def _training(records: Records) -> str:
    header = [
        "capture",
        "trainer",
        "steps/s",
        "seconds",
        "PSNR",
        "corrected",
        "SSIM",
        "Gaussians",
        "GPU memory",
        "to quality",
    ]
    rows = []
    for capture in CAPTURES:
        target = target_psnr(records, capture)
        for trainer in TRAINERS:
            rows.append(
                [
                    capture,
                    TRAINER_NAMES[trainer],
                    *_training_cells(_result(records, f"train/{capture}/{trainer}"), target),
                ]
            )
    note = (
        "PSNR in dB on held-out photos; *corrected*: after a colour correction of each. *To quality*: seconds until\n"
        f"the PSNR was that of the worst trainer of a capture in the end, less {EQUAL_DB} dB. gsplat trains here\n"
        "by the loop of its example, written anew around its strategies with its learning rates; its photos lie on\n"
        "the GPU already, and its loss is our fused one."
    )
    return _table("Training", header, rows) + "\n\n" + note


def _training_cells(result: dict[str, Any] | None, target: float | None) -> list[str]:
    if result is None:
        return [NOT_MEASURED] + [""] * 7
    reached = None if target is None else seconds_to(result["curve"], target)
    memory = result["peak_memory_mib"]
    return [
        f"{result['steps_per_second']:.1f}",
        f"{result['seconds']:.1f}",
        f"{result['psnr']:.2f}",
        f"{result['psnr_color_corrected']:.2f}",
        f"{result['ssim']:.4f}",
        f"{result['num_gaussians']:,}",
        "" if memory is None else f"{memory:.0f} MiB",
        "" if reached is None else f"{reached:.1f} s",
    ]


def target_psnr(records: Records, capture: str) -> float | None:
    """What each trainer of a capture has reached in the end, less what counts as equal; None without any."""
    found = [_result(records, f"train/{capture}/{trainer}") for trainer in TRAINERS]
    reached = [result["psnr"] for result in found if result is not None]
    return min(reached) - EQUAL_DB if reached else None


def seconds_to(curve: list[dict[str, Any]], psnr: float) -> float | None:
    """When a curve first reaches a PSNR, linear between its points; None where it never does."""
    before = None
    for point in curve:
        if point["psnr"] >= psnr:
            if before is None or point["psnr"] == before["psnr"]:
                return point["seconds"]
            share = (psnr - before["psnr"]) / (point["psnr"] - before["psnr"])
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def _frames(records: Records) -> str:
    result = _result(records, "bench/frames")
    header = ["scene", "neural3d", "gsplat", "times", "mean difference of a pixel"]
    if result is None:
        return _table("Rendering", header, [["200,000 Gaussians at 1920x1080", NOT_MEASURED, NOT_MEASURED, "", ""]])
    ours, theirs = (result["fps"][name] for name in ("native", "gsplat"))
    row = [result["scene"], f"{ours:.0f} frames/s", f"{theirs:.0f} frames/s", f"{ours / theirs:.2f}"]
    return _table("Rendering", header, [[*row, f"{result['mean_difference']:.1e}"]])


def _operators(records: Records) -> str:
    ours, theirs, whole = (_result(records, f"bench/{name}") for name in ("operators", "gsplat-operators", "gradients"))
    header = ["scene", "stage", "neural3d", "gsplat"]
    rows = [
        [scene, stage, _ms(taken), _ms((theirs or {}).get(scene, {}).get(stage))] for scene, stage, taken in _flat(ours)
    ]
    rows += [
        [scene, "photo to gradient", _ms(taken["native"]), _ms(taken["gsplat"])]
        for scene, taken in (whole or {}).items()
    ]
    return _table("Operators, milliseconds", header, rows or [["", "all", NOT_MEASURED, NOT_MEASURED]])


def _flat(result: dict[str, Any] | None) -> list[tuple[str, str, float]]:
    return [(scene, stage, taken) for scene, stages in (result or {}).items() for stage, taken in stages.items()]


def _ms(taken: float | None) -> str:
    return "" if taken is None else f"{taken:.3f}"


def _determinism(records: Records) -> str:
    """What adding in a fixed order costs."""
    header = ["gradient", "in a fixed order", "by atomics", "times", "two runs apart, by atomics"]
    rows = []
    for name, found in (_result(records, "bench/determinism") or {}).items():
        ordered, unordered = found["ordered"], found["unordered"]
        ours = _ms(ordered["ms"]) + ("" if ordered["apart"] == 0 else f" (NOT DETERMINISTIC: {ordered['apart']:.1e})")
        times = f"{ordered['ms'] / unordered['ms']:.2f}"
        rows.append([name, ours, _ms(unordered["ms"]), times, f"{unordered['apart']:.1e}"])
    return _table("What determinism costs, milliseconds", header, rows or [["all", NOT_MEASURED, NOT_MEASURED, "", ""]])


def _aims(records: Records) -> str:
    """Whether what is aimed at is reached."""
    rows = []
    for capture in CAPTURES:
        ours = _result(records, f"train/{capture}/native")
        for other, factor in (("gsplat", 2.0), ("gsplat-default", 1.5), ("gsplat-mcmc", 1.5)):
            theirs = _result(records, f"train/{capture}/{other}")
            rows.append(
                [
                    f"{capture}: steps/s by those of {TRAINER_NAMES[other]}",
                    f"{factor:g}",
                    *_verdict(ours, theirs, factor),
                ]
            )
    frames = _result(records, "bench/frames")
    times = None if frames is None else frames["fps"]["native"] / frames["fps"]["gsplat"]
    rows.append(
        ["frames/s by gsplat's", "2", *([NOT_MEASURED, ""] if times is None else [f"{times:.2f}", _yes(times >= 2)])]
    )
    return _table("Aims", ["what", "at least", "found", "reached, at equal PSNR and no more memory"], rows)


def _verdict(ours: dict[str, Any] | None, theirs: dict[str, Any] | None, factor: float) -> list[str]:
    if ours is None or theirs is None:
        return [NOT_MEASURED, ""]
    times, behind_db = ours["steps_per_second"] / theirs["steps_per_second"], theirs["psnr"] - ours["psnr"]
    sizes = (ours["peak_memory_mib"], theirs["peak_memory_mib"])
    fits = None in sizes or sizes[0] <= sizes[1]
    reasons = [f"PSNR {behind_db:.2f} dB lower"] if behind_db > EQUAL_DB else []
    reasons += [] if fits else [f"{sizes[0] / sizes[1]:.2f} times the memory"]
    return [f"{times:.2f}", _yes(times >= factor and not reasons) + (f" ({', '.join(reasons)})" if reasons else "")]


def _yes(reached: bool) -> str:
    return "yes" if reached else "NO"


def _parts(records: Records) -> str:
    names = [part.name for step in CHECK_STEPS for part in parts_of(step, Options(), output=Path())]
    rows = []
    for name in names:
        record = records.get(name)
        cells = ["not run", "", ""] if record is None else [record.status, f"{record.seconds:.0f} s", _remark(record)]
        rows.append([name, *cells])
    return _table("Parts", ["part", "", "took", "remark"], rows)


def _remark(record: PartRecord) -> str:
    """Counts of tests, or the last thing that a part said."""
    if record.complaint:
        return record.complaint.splitlines()[-1][:120].replace("|", "\\|")
    counts = (
        record.result
        if record.result and set(record.result) <= {"passed", "failed", "skipped", "error", "errors"}
        else {}
    )
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())


def _result(records: Records, name: str) -> dict[str, Any] | None:
    record = records.get(name)
    return None if record is None or record.status != "passed" else record.result


def _table(title: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"## {title}", "", *lines])
