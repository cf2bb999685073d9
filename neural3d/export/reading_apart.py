"""Splat files from strangers: read in a process of its own, with limits on memory and time.

Run as `python -m neural3d.export.reading_apart IN OUT`, it reads the one and leaves the other: safetensors.

Limits: the limit on memory holds where the system knows one (Linux); elsewhere only that on time does.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from neural3d.errors import InputError
from neural3d.export.formats import FORMATS, read_splats
from neural3d.splats.gaussians import Gaussians

MAX_FILE_BYTES = 512_000_000
MEMORY_BYTES = 6 * 2**30
"""Of addresses, of which torch itself takes a part."""
TIMEOUT_SECONDS = 120.0
READABLE = tuple(
    sorted({suffix for entry in FORMATS.values() if entry.name != "html" for suffix in entry.suffixes} | {".gltf"})
)
"""Suffixes of files that can be opened."""
_REFUSED = 3


def read_content(name: str, content: bytes, *, timeout_s: float = TIMEOUT_SECONDS) -> Gaussians:
    """The Gaussians of a file that somebody has sent; of its name only the suffix counts.

    Raises: InputError in the words of the format's reader, or when it takes too much.
    """
    suffix = max((s for s in READABLE if name.lower().endswith(s)), key=len, default=None)
    if suffix is None:
        raise InputError(f"not a splat file that this program knows ({', '.join(READABLE)})")
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"it has {len(content):,} bytes, at most {MAX_FILE_BYTES:,} are read")
    with TemporaryDirectory(prefix="neural3d-open-") as folder:
        source, result = Path(folder) / f"file{suffix}", Path(folder) / "gaussians.safetensors"
        source.write_bytes(content)
        _read_apart(source, result, timeout_s)
        with safe_open(result, framework="pt") as file:
            antialiased = file.metadata()["antialiased"] == "1"
        return Gaussians(**load_file(result), antialiased=antialiased)


def _read_apart(source: Path, result: Path, timeout_s: float) -> None:
    command = [sys.executable, "-m", "neural3d.export.reading_apart", str(source), str(result)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"it takes longer than {timeout_s:g} seconds to read; open it with neural3d view") from error
    if done.returncode == _REFUSED:
        raise InputError(done.stderr.decode(errors="replace").strip().replace(f"{source}: ", ""))
    if done.returncode != 0 or not result.is_file():
        raise InputError("it takes more memory than a page may ask for; open it with neural3d view")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows knows no such limit
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main(source: str, result: str) -> int:
    """Read the one file and write the other; 3 where it is refused, with the reason on stderr."""
    _limit_memory()
    try:
        gaussians = read_splats(source)
    except InputError as error:
        print(error, file=sys.stderr)
        return _REFUSED
    tensors = {name: tensor.contiguous() for name, tensor in gaussians.tensors().items()}
    save_file(tensors, result, metadata={"antialiased": "1" if gaussians.antialiased else "0"})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
