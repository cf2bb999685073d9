"""Complete states on disk: a folder of one safetensors file and one JSON file that vouches for it.

Nothing here loads pickles. A checkpoint is written beside its final name, flushed, read back, and renamed; the latest
one is the highest whose hashes agree, so neither a kill nor a bad disk is ever continued from.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from neural3d.errors import InputError, StorageError, said
from neural3d.storage import atomic_write_folder, make_folder, remove_folder

FORMAT_VERSION = 1
KEPT = 2

_STATE, _META = "state.safetensors", "meta.json"
_NAME = re.compile(r"^step-(\d{8,})$")


@dataclass(frozen=True)
class Checkpoint:
    """A state to go on from."""

    step: int
    """Steps done when it was written."""
    tensors: dict[str, Tensor]
    """On the CPU, in the dtypes that were saved."""
    meta: dict[str, Any]
    skipped: tuple[str, ...] = ()
    """Higher checkpoints that are damaged, one line each."""


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Path:
    """Write `folder/step-<step>` and keep only the last two; `meta` is anything that JSON holds exactly.

    Raises: StorageError when it cannot be written whole; ValueError for a NaN in `meta`.
    """
    path = make_folder(folder) / f"step-{step:08d}"
    owned = {name: _owned(tensor) for name, tensor in tensors.items()}
    plain_meta = json.loads(json.dumps(meta, allow_nan=False))

    def write(temporary: Path) -> None:
        save_file(owned, temporary / _STATE)
        files = {_STATE: _sha256(temporary / _STATE)}
        content = {"format_version": FORMAT_VERSION, "step": step, "files": files, "meta": plain_meta}
        content["sha256"] = _sha256_of_json(content)
        (temporary / _META).write_text(json.dumps(content), encoding="utf-8")
        _verify(temporary, owned)

    atomic_write_folder(path, write, estimate_bytes=sum(tensor.nbytes for tensor in owned.values()) + 65536)
    _prune(folder)
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The highest checkpoint that is whole, or None when there is none at all.

    Raises: InputError when the highest one is of a newer format, or when there are some and none is whole.
    """
    skipped: list[str] = []
    for path in reversed(_checkpoints(folder)):
        try:
            content = _read_meta(path)
            return Checkpoint(content["step"], _read_tensors(path, content), content["meta"], tuple(skipped))
        except _DamagedError as error:
            skipped.append(f"{path}: {error}")
    if skipped:
        raise InputError(f"{folder}: no checkpoint is whole ({'; '.join(skipped)}); start again with --overwrite")
    return None


class _DamagedError(Exception):
    """This checkpoint is not what was written."""


def _checkpoints(folder: Path) -> list[Path]:
    found = [entry for entry in folder.iterdir() if _NAME.match(entry.name)] if folder.is_dir() else []
    return sorted(found, key=lambda entry: int(entry.name.removeprefix("step-")))


def _prune(folder: Path) -> None:
    for path in _checkpoints(folder)[:-KEPT]:
        remove_folder(path)


def _owned(tensor: Tensor) -> Tensor:
    """The values as safetensors wants them: dense, on the CPU, alone in their memory."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _verify(path: Path, tensors: dict[str, Tensor]) -> None:
    """Open what was written before it takes the place of anything; the values are not held twice."""
    try:
        _read_meta(path)
        with safe_open(path / _STATE, framework="pt", device="cpu") as file:
            written = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (_DamagedError, OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot write {path}: the checkpoint does not read back ({error}); check the disk"
        ) from error
    if written != {name: tuple(tensor.shape) for name, tensor in tensors.items()}:
        raise StorageError(f"cannot write {path}: the checkpoint reads back with other tensors; check the disk")


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / _META).read_text(encoding="utf-8"))
        found, claimed = content.get("format_version", 0), content.pop("sha256", None)
        is_newer = found > FORMAT_VERSION
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _DamagedError(f"{_META} cannot be read ({said(error)})") from error
    if is_newer:
        versions = f"checkpoint format {found}, this one reads up to {FORMAT_VERSION}"
        raise InputError(f"{path}: written by a newer neural3d ({versions}); update neural3d")
    if claimed != _sha256_of_json(content):
        raise _DamagedError(f"{_META} was changed after it was written")
    return content


def _read_tensors(path: Path, content: dict[str, Any]) -> dict[str, Tensor]:
    try:
        if _sha256(path / _STATE) != content["files"][_STATE]:
            raise _DamagedError(f"{_STATE} was changed after it was written")
        with safe_open(path / _STATE, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise _DamagedError(f"{_STATE} cannot be read ({said(error)})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_json(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
