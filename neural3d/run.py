"""A run's folder: what was asked, what happened, and the complete states to go on from.

```
config.json    the resolved configuration, the seed in it, and the versions that ran
status.json    running, completed, stopped or failed, and why
log.jsonl      one line an interval
metrics.json   the last evaluation
checkpoints/   step-00001000/{state.safetensors,meta.json}, the last two
renders/ exports/
run.lock       held by the process that writes
```
"""

import json
import math
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import Tensor

import neural3d
from neural3d.checkpoints import Checkpoint, latest_checkpoint, save_checkpoint
from neural3d.errors import InputError, said
from neural3d.locks import FileLock
from neural3d.storage import atomic_write_text, clean_temporary, make_folder, remove_folder, storage_errors

FORMAT_VERSION = 1
State = Literal["running", "completed", "stopped", "failed"]

_RESULTS = ("checkpoints", "renders", "exports", "scene.json", "metrics.json", "log.jsonl", "status.json")
"""What --overwrite removes; config.json is replaced, so that a kill on the way leaves a run."""
_LOCK = "run.lock"


class Run:
    """One run's folder. `create` and `resume` hold its lock until `close`; `open` only reads.

    As a context manager it closes itself, and notes in status.json what ended the block: a run that is left by an
    exception never reads "completed".
    """

    def __init__(self, path: Path, lock: FileLock | None) -> None:
        self.path = Path(path)
        self._lock = lock

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any], overwrite: bool = False) -> "Run":
        """Start a run in a new or empty folder, or in place of the run that is there.

        Raises: InputError when the folder holds another run and `overwrite` is False, when it holds anything else, or
            when another process writes there; StorageError when it cannot be written.
        """
        path = Path(path)
        check_target(path, overwrite=overwrite)
        run = cls(path, _lock(make_folder(path)))
        try:
            check_target(path, overwrite=overwrite)
            run._clear()
            run.write_json("config.json", _described(config))
            run.set_status("running")
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def resume(cls, path: str | Path) -> "Run":
        """Go on with a run; log lines behind its last checkpoint are dropped, as those steps come again.

        Raises: InputError when there is no run, when it was written by a newer version, when another process writes
            there, or when no checkpoint of it can be read; StorageError when it cannot be written.
        """
        run = cls.open(path)
        run._lock = _lock(run.path)
        try:
            for folder in (run.path, run.path / "checkpoints"):
                if folder.is_dir():
                    clean_temporary(folder)
            checkpoint = run.latest_checkpoint()
            run._truncate_log(checkpoint.step if checkpoint else 0)
            run.set_status("running")
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Read a run, also one that another process is writing.

        Raises: InputError when there is no run or it was written by a newer version.
        """
        run = cls(Path(path), None)
        config = run.read_json("config.json")
        if config is None:
            raise InputError(
                f"{path}: there is no run in this folder (no config.json); give the --output of a training"
            )
        if config.get("format") != "neural3d run":
            raise InputError(f"{path}/config.json: this is not the config.json of a neural3d run; give another folder")
        if not isinstance(config.get("config"), dict) or not isinstance(config.get("format_version"), int):
            raise InputError(f"{path}/config.json: format_version or config is missing; restore the file")
        if config["format_version"] > FORMAT_VERSION:
            raise InputError(
                f"{path}: the run was written by a newer neural3d ({config.get('neural3d')}); update neural3d"
            )
        return run

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the run was created with."""
        return (self.read_json("config.json") or {})["config"]

    @property
    def status(self) -> dict[str, Any]:
        """`state`, `reason`, `updated`; state "unknown" before the first one is written."""
        return self.read_json("status.json") or {"state": "unknown", "reason": "", "updated": ""}

    def set_status(self, state: State, reason: str = "") -> None:
        """Say where the run stands; `reason` is one line for a person."""
        self.write_json("status.json", {"state": state, "reason": reason, "updated": _now()})

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to log.jsonl; a `step` in it decides what a resumed run keeps."""
        path = self.path / "log.jsonl"
        line = json.dumps(finite_json(dict(record)), allow_nan=False) + "\n"
        with storage_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(line)

    def read_log(self) -> list[dict[str, Any]]:
        """The log's complete lines; a last line that a kill has cut is left out.

        Raises: InputError naming the line that is damaged.
        """
        path = self.path / "log.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [_record(path, number, line) for number, line in enumerate(lines, start=1)]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Keep the last evaluation in metrics.json."""
        self.write_json("metrics.json", metrics)

    def read_metrics(self) -> dict[str, Any] | None:
        """The last evaluation, or None before the first."""
        return self.read_json("metrics.json")

    def save_checkpoint(self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Keep a complete state: named tensors and JSON; the last two stay.

        Raises: StorageError; the earlier checkpoints then still stand.
        """
        save_checkpoint(self.path / "checkpoints", step, dict(tensors), dict(meta))

    def latest_checkpoint(self) -> Checkpoint | None:
        """The highest state that is whole, or None when none was ever kept.

        Raises: InputError when one was written by a newer version, or when none of those that exist is whole.
        """
        return latest_checkpoint(self.path / "checkpoints")

    def folder(self, name: Literal["renders", "exports"]) -> Path:
        """A folder for results, created on first use."""
        return make_folder(self.path / name)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._lock is not None and self.status["state"] == "running":
                self._note_end(kind, error)
        finally:
            self.close()

    def _note_end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is None:
            self.set_status("failed", "the program left the run without saying that it was completed")
        elif issubclass(kind, Exception):
            self.set_status("failed", f"{kind.__name__}: {error}")
        else:
            self.set_status("stopped", f"{kind.__name__}: {error}")

    def _clear(self) -> None:
        clean_temporary(self.path)
        for name in _RESULTS:
            entry = self.path / name
            if entry.is_dir():
                remove_folder(entry)
            else:
                entry.unlink(missing_ok=True)

    def _truncate_log(self, last_step: int) -> None:
        kept = [record for record in self.read_log() if record.get("step", 0) <= last_step]
        atomic_write_text(self.path / "log.jsonl", "".join(json.dumps(record) + "\n" for record in kept))

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the run; numbers that JSON cannot hold become null."""
        atomic_write_text(self.path / name, json.dumps(finite_json(dict(content)), indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a JSON file of the run; None where it is missing.

        Raises: InputError when it is broken.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: broken JSON ({error}); restore it or choose another folder") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected a JSON object; restore it or choose another folder")
        return content


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line {number} is no JSON ({said(error)}); remove it") from error
    if not isinstance(record, dict) or not isinstance(record.get("step", 0), int | float):
        raise InputError(f"{path}: line {number} is no record of a step; remove it")
    return record


def check_target(path: str | Path, *, overwrite: bool) -> None:
    """Refuse an output folder that holds what must not be replaced; ask before work begins.

    Raises: InputError naming the folder and the remedy.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: this is a file; give --output a folder")
    check_parents(path)
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    foreign = {name for name in names if name != _LOCK and not name.startswith(".tmp-")}
    if not foreign:
        return
    if not (path / "config.json").is_file():
        raise InputError(
            f"{path}: the folder is not empty and holds no run, so nothing in it is replaced; choose another"
        )
    method = Run.open(path).config.get("method")
    if not overwrite:
        train = f"neural3d train {method}" if method in ("splat", "nerf") else "neural3d train"
        raise InputError(
            f"{path}: the folder holds another run; continue it with {train} --resume --output {path}, or replace it "
            "with --overwrite"
        )


def check_parents(path: Path) -> None:
    """Refuse a path for results that lies below a file.

    Raises: InputError naming the file.
    """
    if blocking := next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None):
        raise InputError(f"{path}: {blocking} is a file, so nothing can lie below it; give --output another place")


def finite_json(value: Any) -> Any:
    """The same value with None for the numbers that JSON cannot hold (NaN, infinities)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    return value


def _lock(path: Path) -> FileLock:
    lock = FileLock(path / _LOCK)
    if not lock.acquire():
        owner = lock.owner()
        raise InputError(f"{path}: {owner} is writing this run; wait for it or choose another folder")
    return lock


def _described(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": "neural3d run",
        "format_version": FORMAT_VERSION,
        "neural3d": neural3d.__version__,
        "versions": {name: _version(name) for name in ("torch", "numpy", "pillow", "safetensors", "viser")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "created": _now(),
        "config": dict(config),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
