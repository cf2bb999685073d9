"""Damaged files for every parser: `python benchmarks/fuzz.py [--seconds 3600] [--only NAME …] [--keep FOLDER]`.

Each parser has its turn of some seconds, again and again, in a process of its own with bounded memory: it must end in a
result or in one line. Whatever else happens is a finding: another exception, a crash, seconds for a small file. Keeps
the table in results/fuzz.json; `--keep` takes the files that did it.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
from damage import DAMAGES, damaged
from fuzz_targets import Target, all_targets
from hypothesis import HealthCheck, Phase, given, seed, settings

from neural3d.bench import keep
from neural3d.bench.machine import provenance

STEP = 50
"""Damaged files between two looks at the clock."""
SLOW_SECONDS = 10.0
"""Of the processor, for one small file."""
MEMORY_BYTES = 6 << 30
"""Beyond what the process holds at its start."""
STUCK_SECONDS = 300.0
DAMAGED_FILE = "damaged"
MAX_TOLD = 2000


class TooSlowError(BaseException):
    """Not an Exception: what parsers catch must not hide it."""


def fuzz(seconds: float, turn_seconds: float, only: list[str], kept: Path | None) -> dict[str, Any]:
    """Turns until the time is over; the report."""
    targets = [target for target in all_targets() if not only or any(word in target.name for word in only)]
    totals: dict[str, dict[str, Any]] = {
        t.name: {"read": 0, "refused": 0, "cpu_seconds": 0.0, "findings": {}} for t in targets
    }
    begun, turn = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        for target in targets:
            if time.monotonic() - begun < seconds:
                _add(totals[target.name], _turn(target, turn, turn_seconds, kept))
        turn += 1
        print(f"turn {turn}: {sum(len(t['findings']) for t in totals.values())} findings", file=sys.stderr, flush=True)
    return {
        "table": "fuzz",
        "seconds": time.monotonic() - begun,
        "turns": turn,
        "rows": [
            {"parser": name, **total, "findings": list(total["findings"].values())} for name, total in totals.items()
        ],
        **provenance(),
    }


def _add(total: dict[str, Any], found: dict[str, Any]) -> None:
    for name in ("read", "refused", "cpu_seconds"):
        total[name] += found[name]
    for key, finding in found["findings"].items():
        known = total["findings"].setdefault(key, {**finding, "count": 0})
        known["count"] += finding["count"]


def _turn(target: Target, number: int, seconds: float, kept: Path | None) -> dict[str, Any]:
    """One turn in a process of its own; what became of it where it did not come back."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_attempts, args=(target, number, seconds, Path(folder), theirs))
        process.start()
        theirs.close()
        found = _answer(ours) if ours.poll(STUCK_SECONDS) else None
        process.kill()
        process.join()
        if found is None and process.exitcode == 1:
            raise RuntimeError(f"{target.name}: {(Path(folder) / 'stderr').read_text()}")
        if found is None:
            how = "hangs" if process.exitcode == -signal.SIGKILL else f"ends the process ({process.exitcode})"
            found = {"read": 0, "refused": 0, "cpu_seconds": 0.0, "findings": {how: {"what": how, "count": 1}}}
        for key in found["findings"] if kept is not None else ():
            _keep_file(Path(folder), kept / f"{target.name}-{number}".replace(" ", "_"), key)
    return found


def _answer(pipe: Any) -> dict[str, Any] | None:
    try:
        return pipe.recv()
    except EOFError:
        return None


def _keep_file(folder: Path, destination: Path, key: str) -> None:
    """The first file that did it; after a crash the last one that was tried."""
    names = [path for path in folder.glob("finding-*") if (path / "key").read_text() == key]
    destination.mkdir(parents=True, exist_ok=True)
    shutil.copytree(names[0] if names else folder, destination, dirs_exist_ok=True)


def _attempts(target: Target, number: int, seconds: float, folder: Path, pipe: Any) -> None:
    """In the child: damage and read until the turn is over."""
    warnings.simplefilter("ignore")
    with (folder / "stderr").open("wb") as quiet:  # libraries in C complain there
        os.dup2(quiet.fileno(), 2)
    torch.set_num_threads(1)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _too_slow)
    (folder / "capture").mkdir()
    path = target.write(folder / "capture")
    content, rebuilt = target.layer(path.read_bytes())
    target.read(path)
    found: dict[str, Any] = {"read": 0, "refused": 0, "findings": defaultdict(lambda: {"count": 0})}
    begun, round_number = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        for damages in _made_up(1_000_003 * number + round_number):
            path.write_bytes(rebuilt(damaged(content, damages)))
            _attempt(target, path, found, folder)
        round_number += 1
    pipe.send({**found, "findings": dict(found["findings"]), "cpu_seconds": time.process_time()})


def _made_up(start: int) -> list[list[tuple]]:
    """Damages by hypothesis."""
    made: list[list[tuple]] = []
    quiet = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

    @seed(start)
    @settings(max_examples=STEP, phases=[Phase.generate], **quiet)
    @given(DAMAGES)
    def note(damages: list[tuple]) -> None:
        made.append(damages)

    note()
    return made


def _attempt(target: Target, path: Path, found: dict[str, Any], folder: Path) -> None:
    signal.setitimer(signal.ITIMER_PROF, SLOW_SECONDS)
    try:
        target.read(path)
        found["read"] += 1
    except target.refusals as refusal:
        if "\n" in str(refusal) or len(str(refusal)) > MAX_TOLD:
            _note(found, f"no line for people: {_where(refusal)}", refusal, path, folder)
        found["refused"] += 1
    except (Exception, TooSlowError) as error:
        _note(found, _where(error), error, path, folder)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _note(found: dict[str, Any], key: str, error: BaseException, path: Path, folder: Path) -> None:
    finding = found["findings"][key]
    finding["count"] += 1
    if "what" not in finding:
        finding |= {"what": key, "said": f"{type(error).__name__}: {error}"[:300]}
        kept = folder / f"finding-{len(found['findings'])}"
        kept.mkdir()
        (kept / "key").write_text(key)
        (kept / "traceback").write_text("".join(traceback.format_exception(error)))
        shutil.copy(path, kept / path.name)


def _where(error: BaseException) -> str:
    """The exception and the last line of ours that it passed."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/neural3d/" in f.filename] or (
        traceback.extract_tb(error.__traceback__)
    )
    return f"{type(error).__name__} at {Path(frames[-1].filename).name}, {frames[-1].name}"


def _too_slow(*_: object) -> None:
    raise TooSlowError(f"more than {SLOW_SECONDS:g} seconds of the processor")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--turn", type=float, default=15, help="seconds of a parser's turn")
    parser.add_argument("--only", nargs="*", default=[], help="parsers whose names have one of these words")
    parser.add_argument("--name", help="keep the table under this name")
    parser.add_argument("--keep", type=Path, help="a folder for the files that were findings")
    options = parser.parse_args()
    keep(
        fuzz(options.seconds, options.turn, options.only, options.keep), Path(__file__).parent / "results", options.name
    )
