"""Build, test, sanitize, train and time on a machine with a GPU: `python benchmarks/gpu_check.py STEP`; see README.md.

Each step is a few parts, each a process of its own. What a part finds is written at once into results/gpu_check.json
and results/gpu_check.md, so a step can be stopped and called again: it goes on with the parts that have not passed on
this machine at this commit. A part that fails is reported and stops no other.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_plan import MINUTE, ROOT, STEPS, Options, Part, parts_of
from gpu_report import PartRecord, add_record, markdown, read_records

from neural3d.storage import atomic_write_text

WORK = ROOT / "build" / "gpu_check"
LEAST_S = 45.0
"""That must be left of a call's time for another part to begin."""
TAIL_LINES = 25


def run_step(step: str, options: Options, *, results: Path, minutes: float, again: bool = False) -> int:
    """Run the parts of a step that have not passed yet; returns how many of them are still not."""
    WORK.mkdir(parents=True, exist_ok=True)
    end, machine = time.monotonic() + minutes * MINUTE, machine_facts()
    parts = parts_of(step, options, output=WORK)
    earlier = read_records(results / "gpu_check.json").values()
    passed = {record.name for record in earlier if record.status == "passed" and record.machine == machine}
    due = [part for part in parts if again or part.name not in passed]
    for index, part in enumerate(due):
        left_s = end - time.monotonic()
        if index > 0 and left_s < LEAST_S and part.missing is None:
            print(f"gpu_check: {len(due) - index} parts are left; call `{step}` again", flush=True)
            break
        write(run_part(part, left_s, machine), results)
    records = read_records(results / "gpu_check.json")
    return sum(part.name not in records or records[part.name].status in ("failed", "timed out") for part in parts)


def run_part(part: Part, left_s: float, machine: dict[str, Any]) -> PartRecord:
    """Run one part, no longer than its limit and what is left of the call."""
    print(f"gpu_check: {part.name} ...", flush=True)
    begun = time.monotonic()
    status, result, complaint = "skipped", None, part.missing
    if part.missing is None:
        status, said = _run(part, min(part.limit_s, max(left_s, LEAST_S)))
        result = _result(part, said)
        if status == "passed" and part.answers != "nothing" and result is None:
            status, said = "failed", f"{said}\nit ended well, but left no result"
        complaint = None if status == "passed" else "\n".join(said.splitlines()[-TAIL_LINES:])
    seconds = time.monotonic() - begun
    print(f"gpu_check: {part.name}: {status} after {seconds:.0f} s", flush=True)
    if complaint is not None:
        print("    " + complaint.replace("\n", "\n    "), flush=True)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return PartRecord(part.name, status, seconds, date, shlex.join(part.command), machine, result, complaint)


def write(record: PartRecord, results: Path) -> None:
    """Keep a record, and the table of all."""
    records = add_record(results / "gpu_check.json", record)
    atomic_write_text(results / "gpu_check.md", markdown(records))


def _run(part: Part, limit_s: float) -> tuple[str, str]:
    """Status and all that was said; the process and what it started are ended when the time is over."""
    log = WORK / f"{part.name.replace('/', '-')}.log"
    if part.answers == "json":
        Path(part.command[part.command.index("--output") + 1]).unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command,
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | part.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return "timed out", f"{_said(log)}\nit had {limit_s:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return "passed" if process.returncode == 0 else "failed", _said(log)


def _said(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").rstrip()


def _result(part: Part, said: str) -> dict[str, Any] | None:
    if part.answers == "json":
        target = Path(part.command[part.command.index("--output") + 1])
        return json.loads(target.read_text(encoding="utf-8")) if target.exists() else None
    if part.answers == "pytest":
        counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", "".join(said.splitlines()[-3:]))
        return {kind: int(number) for number, kind in counts} or None
    return None


def machine_facts() -> dict[str, Any]:
    """Where it was measured; None for what there is not."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    gpu = _first_line(query)
    return {
        "gpu": None if gpu is None else " ".join(gpu.split()),
        "nvcc": _match(_first_line(["nvcc", "--version"], -1), r"cuda_(\d+\.\d+)"),
        "processor": _match(
            Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else None, r"model name\s*: (.+)"
        ),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "gsplat")},
        "commit": os.environ.get("NEURAL3D_COMMIT")
        or _first_line(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]),
    }


def _first_line(command: list[str], index: int = 0) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    answer = subprocess.run(command, capture_output=True, text=True)
    lines = answer.stdout.strip().splitlines()
    return lines[index] if answer.returncode == 0 and lines else None


def _match(text: str | None, pattern: str) -> str | None:
    found = None if text is None else re.search(pattern, text)
    return None if found is None else found[1].strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> int:
    """Run a step, or all; 0 only where every part of it has passed or could not run here at all."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that it ends the part that runs
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=[*STEPS, "all", "table"], help="table: only write the table of what was found")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a dry run without a GPU")
    parser.add_argument("--minutes", type=float, default=7.5, help="that a step may take; call it again for the rest")
    parser.add_argument("--again", action="store_true", help="repeat what has passed, too")
    parser.add_argument("--training-steps", type=int, default=Options.training_steps, help="of each training")
    parser.add_argument("--downscale", type=float, help="of the captures")
    parser.add_argument("--results", type=Path, help="folder to write into, instead of results/; a dry run has its own")
    given = parser.parse_args()
    kept = ROOT / "benchmarks" / "results" if given.device == "cuda" else WORK / "dry"
    results = kept if given.results is None else given.results
    options = Options(given.device, given.training_steps, given.downscale)
    steps = STEPS if given.step == "all" else () if given.step == "table" else (given.step,)
    results.mkdir(parents=True, exist_ok=True)
    open_parts = 0
    for step in steps:
        open_parts += run_step(step, options, results=results, minutes=given.minutes, again=given.again)
    atomic_write_text(results / "gpu_check.md", markdown(read_records(results / "gpu_check.json")))
    print(markdown(read_records(results / "gpu_check.json")))
    return min(1, open_parts)


if __name__ == "__main__":
    sys.exit(main())
