"""Renders as MP4 that every player shows in the right colours."""

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import imageio_ffmpeg
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from neural3d.errors import StorageError
from neural3d.render.images import to_uint8
from neural3d.storage import atomic_write

_BT709 = ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv")
_FILTER = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv420p"
"""Without it ffmpeg converts with the matrix of standard definition, and colours shift by several codes."""


def write_mp4(path: str | Path, frames: Iterable[Float[Tensor, "H W 3"]], *, fps: float = 30.0) -> int:
    """Encode display sRGB frames of one size as H.264, BT.709; returns their number.

    Frames of an odd width or height get their last column or row twice, as the format wants even ones.

    Raises: ValueError when there is no frame or one has another size; StorageError.
    """
    pixels = (_even(to_uint8(frame)) for frame in frames)
    first = next(pixels, None)
    if first is None:
        raise ValueError("frames: there is none, so there is no video to write")
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        count = _encode(temporary, first, pixels, fps)

    atomic_write(Path(path), write)
    return count


def _encode(
    path: Path, first: UInt8[np.ndarray, "H W 3"], rest: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float
) -> int:
    """Feed the frames to ffmpeg; its complaint is the error's text."""
    command = _command(path, first.shape[1], first.shape[0], fps)
    # Not beside the video, whose disk may be the one that is full.
    with TemporaryFile() as log:
        process = _start(command, log)
        try:
            count = _feed(process, first, rest)
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(BrokenPipeError):  # its buffer, where ffmpeg ended before us
                process.stdin.close()
            status = process.wait()
        if status != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise StorageError(f"cannot write {path}: ffmpeg failed ({' '.join(lines[-3:])})")
    return count


def _start(command: list[str], errors: IO[bytes]) -> subprocess.Popen:
    """In a session of its own: Ctrl-C is for us to answer, not for ffmpeg."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
    )


def _feed(
    process: subprocess.Popen, first: UInt8[np.ndarray, "H W 3"], rest: Iterable[UInt8[np.ndarray, "H W 3"]]
) -> int:
    count = 0
    try:
        for frame in _chain(first, rest):
            if frame.shape != first.shape:
                raise ValueError(f"frames: frame {count} is {frame.shape[1]}x{frame.shape[0]}, the first is not")
            process.stdin.write(frame.tobytes())
            count += 1
    except BrokenPipeError:
        # ffmpeg has ended by itself; its status and its last words say why.
        return count
    return count


def _chain(
    first: UInt8[np.ndarray, "H W 3"], rest: Iterable[UInt8[np.ndarray, "H W 3"]]
) -> Iterable[UInt8[np.ndarray, "H W 3"]]:
    yield first
    yield from rest


def _command(path: Path, width: int, height: int, fps: float) -> list[str]:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
    coded = ["-c:v", "libx264", "-preset", "medium", "-crf", "16", "-vf", _FILTER, *_BT709, "-movflags", "+faststart"]
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, "-an", *coded, "-f", "mp4", str(path)]


def _even(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
