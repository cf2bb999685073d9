"""The one way files and folders come into being: complete under their final name, or not there at all.

A writer fills a temporary file in the destination's folder; it is flushed to the disk and renamed. A crash, a kill or a
full disk leaves the old file untouched and at most a temporary one, which the next write into that folder removes.
"""

import errno
import hashlib
import itertools
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from neural3d.errors import InputError, StorageError

SPACE_MARGIN = 1.2
"""Free space asked for, relative to the estimate: file systems keep blocks for themselves."""

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_TEMPORARY = re.compile(r"^\.tmp-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-\d+(?P<aside>\.aside)?-(?P<name>.*)$", re.DOTALL)
_SERIAL = itertools.count()
_FOREIGN_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_WINDOWS_DEVICE = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


def atomic_write(path: Path, writer: Callable[[Path], None], *, estimate_bytes: int | None = None) -> None:
    """Create or replace one file by what `writer` writes to the path that it is given.

    That path lies in the same folder and has the same suffix. Missing parent folders are created. When the writer
    raises, `path` is as it was before.

    Raises: StorageError when the folder cannot be written or is too small; whatever else `writer` raises.
    """
    path = Path(path)
    temporary = _prepare(path, estimate_bytes)
    with storage_errors(path, temporary, estimate_bytes):
        writer(temporary)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)


def atomic_write_folder(path: Path, writer: Callable[[Path], None], *, estimate_bytes: int | None = None) -> None:
    """Create or replace one flat folder by the files that `writer` puts into the empty folder that it is given.

    Raises: as `atomic_write`.
    Limits: while an old folder of that name is replaced there is a moment without any; a kill in it leaves the old one
        aside, from where `clean_temporary` brings it back.
    """
    path = Path(path)
    temporary = _prepare(path, estimate_bytes)
    with storage_errors(path, temporary, estimate_bytes):
        temporary.mkdir()
        writer(temporary)
        for file in temporary.iterdir():
            _sync(file)
        _sync(temporary)
        _put_in_place(temporary, path)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a complete folder its name; one that had it goes only once the new one has it."""
    aside = _temporary_path(path, ".aside")
    try:
        if path.exists():
            os.replace(path, aside)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        _settle(aside, path)


def _settle(aside: Path, path: Path) -> None:
    """A folder that was laid aside goes where another has its name by now, and gets its name back where none has."""
    if not aside.exists():
        return
    if path.exists():
        remove_folder(aside)  # renamed first: half of it must not come back
    else:
        os.replace(aside, path)


def atomic_write_text(path: Path, text: str) -> None:
    """Create or replace a UTF-8 text file."""
    data = text.encode()

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    atomic_write(path, write, estimate_bytes=len(data))


@contextmanager
def storage_errors(path: Path, temporary: Path | None = None, estimate_bytes: int | None = None) -> Iterator[None]:
    """Turn the system's errors about `path` into StorageError; remove `temporary` however the block fails."""
    try:
        yield
    except BaseException as error:
        size_bytes = max(estimate_bytes or 0, _size(temporary))
        _discard(temporary)
        cause = _system_error(error, path.parent)
        if cause is None:
            raise
        raise _storage_error(path, cause, size_bytes) from error


def system_error_of_words(error: Exception) -> OSError:
    """What the system said to a library that passes on the words alone."""
    found = [number for number in (*_FULL, *_READ_ONLY) if os.strerror(number) in str(error)]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["it cannot be written"]
    return OSError(found[0], os.strerror(found[0])) if found else OSError(lines[-1][-200:])


def remove_names(folder: Path, names: Iterable[str]) -> None:
    """Remove files and folders of these names from a folder, in this order; what else lies there stays.

    Raises: StorageError.
    """
    for name in names:
        path = folder / name
        with storage_errors(path):
            if path.is_dir() and not path.is_symlink():
                remove_folder(path)
            else:
                path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Delete a folder so that a kill on the way leaves no half-deleted folder under its name."""
    doomed = _temporary_path(path)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def make_folder(path: Path) -> Path:
    """The folder, created with its parents where it is missing.

    Raises: StorageError when it cannot be created.
    """
    path = Path(path)
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def clean_temporary(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder, and bring back what they were about to replace.

    Limits: processes are told apart by machine name and number; a reused number keeps its leftovers alive.
    """
    for entry in folder.iterdir():
        match = _TEMPORARY.match(entry.name)
        if match is None or match["host"] != _HOST or _is_alive(int(match["pid"])):
            continue
        if match["aside"]:
            _settle(entry, folder / match["name"])
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def safe_join(root: Path, relative: str) -> Path:
    """`root / relative` for a path that came from a file.

    Backslashes count as separators, as Windows programs write them.

    Raises: InputError when the path is absolute, leaves `root` (by `..` or through a link), names a device, starts with
        `~`, or holds a NUL.
    """
    root = Path(root)
    parts = PureWindowsPath(relative).parts
    is_plain = bool(parts) and not PureWindowsPath(relative).anchor and relative[0] != "~" and "\0" not in relative
    if not is_plain or any(part == ".." or _WINDOWS_DEVICE.match(part) for part in parts):
        raise InputError(f"{root}: the path {relative!r} is refused; use a plain path inside that folder")
    joined = root.joinpath(*parts)
    if not joined.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{root}: {relative!r} leads outside through a link; put the real file inside that folder")
    return joined


def _prepare(path: Path, estimate_bytes: int | None) -> Path:
    """Make the folder, tidy it, check that it may be written and has space, and name the temporary path."""
    folder = make_folder(path.parent)
    with storage_errors(path, None, estimate_bytes):
        if not os.access(folder, os.W_OK):  # libraries that write by themselves say this in words of their own, or not
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        clean_temporary(folder)
        needed = int(SPACE_MARGIN * (estimate_bytes or 0))
        if shutil.disk_usage(folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _temporary_path(path)


def _temporary_path(path: Path, kind: str = "") -> Path:
    return path.with_name(f".tmp-{_HOST}-{os.getpid()}-{next(_SERIAL)}{kind}-{path.name}")


def _system_error(error: BaseException, folder: Path) -> OSError | None:
    """The system's complaint about this folder behind an exception, or None when it is about something else."""
    # Libraries that write by themselves (safetensors, ffmpeg) say so in their own exception types.
    number = _FOREIGN_ERROR.search(str(error))
    if number is not None or "No space left on device" in str(error):
        code = int(number[1]) if number else errno.ENOSPC
        return OSError(code, os.strerror(code))
    if not isinstance(error, OSError) or isinstance(error, StorageError):
        return None
    is_elsewhere = error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(folder)
    return None if is_elsewhere else error


def _storage_error(path: Path, error: OSError, size_bytes: int) -> StorageError:
    folder = path.parent
    if error.errno in _FULL:
        free = shutil.disk_usage(_existing(folder)).free
        known = int(SPACE_MARGIN * size_bytes)
        needed, least = max(known, free + 1), "" if known > free else "at least "  # videos are as large as they become
        missing = f"{least}{_shown(needed)} needed, {_shown(free)} free, {least}{_shown(needed - free)} missing"
        return StorageError(
            f"cannot write {path}: disk full in {folder} ({missing}); free space or choose another folder"
        )
    if error.errno in _READ_ONLY:
        return StorageError(f"cannot write {path}: {folder} is read-only for you; choose another folder")
    return StorageError(f"cannot write {path}: {error.strerror or error}")


def _shown(num_bytes: int) -> str:
    """As people read it, never 0 for what is not."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{-(-num_bytes // 1000)} kB"


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def _size(path: Path | None) -> int:
    if path is None or not path.exists():
        return 0
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def _discard(path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():  # disks that are read-only refuse to remove even what is not there
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # Windows has no handle for a folder's entries; its rename is journaled.
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_alive_windows(pid: int) -> bool:
    """Ask for a handle: signal 0 would end the process there."""
    import ctypes

    query_limited_information, still_active = 0x1000, 259
    handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid)
    if not handle:
        return False
    status = ctypes.c_ulong()
    ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(status))
    ctypes.windll.kernel32.CloseHandle(handle)
    return status.value == still_active
