"""A lock that the system gives back when its holder dies."""

import os
import sys
from pathlib import Path

from neural3d.storage import make_folder, storage_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """Exclusive between processes (and between objects of one process) on a file that stays.

    Limits: only as good as the file system's locks; some network shares have none.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False when somebody else holds it.

        Raises: StorageError when its file cannot be written.
        """
        make_folder(self._path.parent)
        with storage_errors(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            if not _try_lock(descriptor):
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            try:
                os.truncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()}".encode())
            except OSError:
                self.release()
                raise
        return True

    def owner(self) -> str:
        """What the last holder wrote about itself."""
        try:
            return self._path.read_text(encoding="utf-8", errors="replace") or "unknown"
        except OSError:
            return "unknown"  # Windows does not let others read a locked file.

    def release(self) -> None:
        """Give the lock back; the file stays, as removing it would let two processes hold two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
