"""Renders as video that players and editors show in the right colours: H.264, HEVC, ProRes."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

import imageio_ffmpeg
import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from neural3d.errors import InputError, StorageError
from neural3d.render.images import to_uint8
from neural3d.storage import atomic_write

Pixels = Shaped[np.ndarray, "_H _W _C"]
"""Of 8 or 16 bits a channel."""
_BT709 = ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv")
_FILTER = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format="
"""Without it ffmpeg converts with the matrix of standard definition, and colours shift by several codes."""
_TAGS = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
"""Newer ffmpegs take what a file says of primaries and transfer curve from the frames, not from `_BT709`."""

CodecName = Literal["h264", "hevc", "prores422hq", "prores4444"]


@dataclass(frozen=True)
class Codec:
    """How frames become a video."""

    suffixes: tuple[str, ...]
    """Of files that may hold it; the first is the usual one."""
    bits: Literal[8, 16]
    """Of the frames that ffmpeg is given: the least that loses nothing."""
    pixels: str
    """As ffmpeg calls them, without alpha."""
    options: tuple[str, ...]
    pixels_with_alpha: str | None = None
    least_px: int = 1
    """Side of the smallest picture."""


CODECS: dict[CodecName, Codec] = {
    "h264": Codec((".mp4", ".mov"), 8, "yuv420p", ("-c:v", "libx264", "-preset", "medium", "-crf", "16")),
    "hevc": Codec(
        (".mp4", ".mov"),
        16,
        "yuv420p10le",
        ("-c:v", "libx265", "-preset", "medium", "-crf", "16", "-tag:v", "hvc1", "-x265-params", "log-level=error"),
        least_px=64,  # x265 damages its own memory on pictures smaller than one of its blocks
    ),
    "prores422hq": Codec((".mov",), 16, "yuv422p10le", ("-c:v", "prores_ks", "-profile:v", "3", "-vendor", "apl0")),
    "prores4444": Codec(
        (".mov",),
        16,
        "yuv444p10le",
        ("-c:v", "prores_ks", "-profile:v", "4", "-vendor", "apl0"),
        pixels_with_alpha="yuva444p10le",
    ),
}
"""HEVC has 10 bits and the tag that Apple's players ask for; ProRes 4444 keeps straight alpha."""


def write_mp4(path: str | Path, frames: Iterable[Float[Tensor, "H W 3"]], *, fps: float = 30.0) -> int:
    """Encode display sRGB frames of one size as H.264, BT.709; returns their number.

    Raises: as `write_video`.
    """
    return write_video(path, frames, fps=fps, codec="h264")


def write_video(
    path: str | Path, frames: Iterable[Float[Tensor, "H W C"]], *, fps: float = 30.0, codec: CodecName = "h264"
) -> int:
    """Encode display sRGB frames of one size, with straight alpha where they have 4 channels; returns their number.

    Frames of an odd width or height get their last column or row twice, as most codecs want even ones.

    Raises: ValueError when there is no frame, one has another size, or the codec has no alpha; InputError when they
        are too small for the codec; StorageError.
    """
    chosen = CODECS[codec]
    pixels = (_even(_quantised(frame, chosen.bits)) for frame in frames)
    first = next(pixels, None)
    if first is None:
        raise ValueError("frames: there is none, so there is no video to write")
    if first.shape[2] not in (3, 4) or (first.shape[2] == 4 and chosen.pixels_with_alpha is None):
        raise ValueError(f"frames: {first.shape[2]} channels; {codec} takes 3")
    if min(first.shape[:2]) < chosen.least_px:
        size, least = f"{first.shape[1]}x{first.shape[0]}", f"{chosen.least_px}x{chosen.least_px}"
        raise InputError(f"frames: {size} pixels; {codec} takes {least} at least: render larger, or take h264")
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count
        count = _encode(temporary, _command(temporary, first, fps, chosen), first, pixels)

    atomic_write(Path(path), write)
    return count


def _quantised(frame: Float[Tensor, "H W C"], bits: int) -> np.ndarray:
    if bits == 8:
        return to_uint8(frame)
    return (frame.detach().cpu().clamp(0, 1).double() * 65535 + 0.5).floor().numpy().astype("<u2")


def _encode(path: Path, command: list[str], first: Pixels, rest: Iterable[Pixels]) -> int:
    """Feed the frames to ffmpeg; its complaint is the error's text."""
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


def _feed(process: subprocess.Popen, first: Pixels, rest: Iterable[Pixels]) -> int:
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


def _chain(first: Pixels, rest: Iterable[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest


def _command(path: Path, first: Pixels, fps: float, codec: Codec) -> list[str]:
    height, width, channels = first.shape
    kind = {3: "rgb", 4: "rgba"}[channels] + {8: "24", 16: f"{16 * channels}le"}[codec.bits]
    raw = ["-f", "rawvideo", "-pix_fmt", kind, "-s", f"{width}x{height}", "-r", str(_rate(fps)), "-i", "-"]
    pixels = codec.pixels if channels == 3 else codec.pixels_with_alpha
    coded = [*codec.options, "-vf", f"{_FILTER}{pixels},{_TAGS}", *_BT709, "-movflags", "+faststart"]
    container = "mp4" if path.suffix.lower() == ".mp4" else "mov"
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, "-an", *coded, "-f", container, str(path)]


def _rate(fps: float) -> Fraction:
    """Broadcast's rates are so many thousand 1001ths; what is slower than a frame a second needs finer ones."""
    return Fraction(fps).limit_denominator(1001 if fps >= 1 else 1_000_000)


def _even(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
