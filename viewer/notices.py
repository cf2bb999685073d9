"""What visitors are told of what they asked for: that it failed, or the file that it has become."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import viser

from neural3d.errors import InputError, StorageError

MAX_DOWNLOAD_BYTES = 1_000_000_000
_CHUNK_BYTES = 64 * 1024
"""viser packs 128 of these at once, and hears nobody meanwhile."""


@contextmanager
def failures_told(client: viser.ClientHandle, title: str) -> Iterator[None]:
    """Tell a visitor when what he asked for fails; what neither he nor the disk is at fault for is raised as well."""
    try:
        yield
    except (InputError, StorageError, OSError) as error:
        client.add_notification(title, str(error), color="red")
    except Exception as error:
        client.add_notification(title, f"{type(error).__name__}: {error}", color="red")
        raise


def send_file(client: viser.ClientHandle, path: Path, instead: str) -> None:
    """Let a visitor's browser save a file; what it says where it is too large names the command to use `instead`.

    Raises: InputError when it is too large to go through the page; OSError.
    """
    size = path.stat().st_size
    if size > MAX_DOWNLOAD_BYTES:
        raise InputError(f"the file has {size / 1e9:.1f} GB; use {instead}")
    client.send_file_download(path.name, path.read_bytes(), _CHUNK_BYTES, save_immediately=True)
