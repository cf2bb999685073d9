"""Frames of a video that structure from motion can use: spread by motion, the sharpest of each stretch.

ffmpeg (the program that imageio-ffmpeg brings) decodes, turns upright, and maps HDR to display colour.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int, UInt8

from neural3d.capture.photo_quality import sharpness
from neural3d.errors import InputError

PROBE_SIDE_PX = 320
"""Frames are judged at this size; the chosen ones are decoded once more in full."""
MAX_SHIFT = 0.35
"""Of the frame, in one step: beyond it two frames share too little to tell how far the camera moved."""
SHARE_PER_FRAME = 0.06
"""Of the frame's width that the picture may move between two chosen frames, where there are frames enough."""
_HDR_CURVES = ("arib-std-b67", "smpte2084")


@dataclass(frozen=True)
class VideoFacts:
    """What ffmpeg says of a video's first picture stream."""

    width: int
    """Upright."""
    height: int
    seconds: float | None
    is_hdr: bool


@dataclass(frozen=True)
class FrameScores:
    """Each frame of a video, judged small."""

    sharpness: Float64[np.ndarray, "F"]
    shift: Float64[np.ndarray, "F"]
    """How far the picture moved since the frame before, as a share of its width; 0 for the first."""


def read_facts(video: Path) -> VideoFacts:
    """Size, length and colours of a video.

    Raises: InputError when it is no video that ffmpeg knows.
    """
    # Without an output ffmpeg describes its input, and complains about the missing output; -noautorotate is not given,
    # so that the matrix is listed below the stream.
    said = subprocess.run([_ffmpeg(), "-hide_banner", "-i", _argument(video)], capture_output=True).stderr.decode(
        errors="replace"
    )
    stream = re.search(r"Stream #\S+ Video: (.*)", said) or re.search(r"Stream #.*?: Video: (.*)", said)
    size = stream and re.search(r"\b(\d{2,5})x(\d{2,5})\b", stream[1])
    if not stream or not size:
        last = said.strip().splitlines()[-1:] or ["it holds no pictures"]
        raise InputError(f"{video}: is no video that can be read ({last[0].strip()[:120]})")
    width, height = int(size[1]), int(size[2])
    if re.search(r"rotation of -?(90|270)\b", said):
        width, height = height, width
    length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    seconds = length and 3600 * int(length[1]) + 60 * int(length[2]) + float(length[3])
    return VideoFacts(width, height, seconds or None, any(curve in stream[1] for curve in _HDR_CURVES))


def score_frames(video: Path, facts: VideoFacts, report: Callable[[int], None]) -> FrameScores:
    """Judge every frame at a small size; `report` is told how many are done.

    Raises: InputError when no frame can be decoded.
    """
    width, height = _probe_size(facts)
    scores, shifts = [], []
    before = None
    for index, frame in enumerate(_grey_frames(video, width, height)):
        grey = frame.astype(np.float32)
        scores.append(sharpness(grey))
        shifts.append(0.0 if before is None else _shift(before, grey) / width)
        before = grey
        if index % 25 == 0:
            report(index)
    if not scores:
        raise InputError(f"{video}: not one of its frames can be decoded; convert it, for example to H.264")
    return FrameScores(np.array(scores), np.array(shifts))


def choose_frames(scores: FrameScores, max_frames: int) -> Int[np.ndarray, "C"]:
    """Indices of frames: the path of the picture is cut into equal stretches, the sharpest frame of each is taken.

    Where the camera stands still one frame is enough, where it moves fast there are more of them in a second. The first
    and last tenth of a stretch are left out, so that two chosen frames never stand side by side.
    """
    travelled = np.cumsum(np.minimum(scores.shift, MAX_SHIFT))
    # Never less than a hundredth of the path a frame of time: motion that is not seen (forward) counts, too.
    travelled += np.arange(len(travelled)) * max(float(travelled[-1]), 1e-3) * 0.3 / len(travelled)
    wanted = int(np.clip(np.ceil(travelled[-1] / SHARE_PER_FRAME), min(max_frames, 40), max_frames))
    count = min(wanted, len(travelled))
    stretch = (
        np.minimum((travelled / travelled[-1] * count).astype(int), count - 1) if travelled[-1] else np.arange(count)
    )
    chosen = []
    for number in range(count):
        inside = np.flatnonzero(stretch == number)
        if len(inside) > 4:
            margin = len(inside) // 10
            inside = inside[margin : len(inside) - margin]
        if len(inside):
            chosen.append(int(inside[np.argmax(scores.sharpness[inside])]))
    return np.array(sorted(set(chosen)))


def extract_frames(
    video: Path, facts: VideoFacts, indices: Int[np.ndarray, "C"]
) -> Iterator[tuple[int, UInt8[np.ndarray, "H W 3"]]]:
    """The chosen frames in full size, upright, in display sRGB, with their numbers.

    Raises: InputError when ffmpeg fails before the last of them.
    """
    wanted = "+".join(f"eq(n\\,{index})" for index in indices)
    chain = [f"select='{wanted}'"]
    if facts.is_hdr:
        # Scene light relative to white, narrowed to what a display shows, in BT.709.
        chain += ["zscale=t=linear:npl=203", "format=gbrpf32le", "zscale=p=bt709", "tonemap=mobius:desat=0"]
        chain += ["zscale=t=bt709:m=bt709:r=pc"]
    chain += ["scale=in_range=auto:out_range=pc", "format=rgb24"]
    frames = _raw_frames(video, ",".join(chain), facts.width, facts.height, 3)
    count = 0
    for index, frame in zip(indices.tolist(), frames, strict=False):
        count += 1
        yield index, frame
    if count < len(indices):
        raise InputError(
            f"{video}: {count} of {len(indices)} chosen frames can be decoded; convert it, for example to H.264"
        )


def _grey_frames(video: Path, width: int, height: int) -> Iterator[UInt8[np.ndarray, "h w"]]:
    for frame in _raw_frames(video, f"scale={width}:{height}:flags=area,format=gray", width, height, 1):
        yield frame[..., 0]


def _raw_frames(
    video: Path, chain: str, width: int, height: int, channels: int
) -> Iterator[UInt8[np.ndarray, "H W C"]]:
    """Frames as ffmpeg's filters give them; -vsync passthrough, so that numbers are those of the file."""
    command = [_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-i", _argument(video), "-map", "0:v:0"]
    command += ["-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    size = width * height * channels
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        assert process.stdout is not None
        try:
            while len(data := process.stdout.read(size)) == size:
                yield np.frombuffer(data, dtype=np.uint8).reshape(height, width, channels)
        finally:
            process.kill()


def _probe_size(facts: VideoFacts) -> tuple[int, int]:
    factor = PROBE_SIDE_PX / max(facts.width, facts.height)
    return max(16, round(facts.width * factor)), max(16, round(facts.height * factor))


def _shift(before: np.ndarray, after: np.ndarray) -> float:
    """Pixels by which the picture moved as a whole.

    Source: phase correlation, Kuglin and Hines 1975.
    """
    window = np.outer(np.hanning(before.shape[0]), np.hanning(before.shape[1]))
    spectra = [np.fft.rfft2((image - image.mean()) * window) for image in (before, after)]
    cross = spectra[0] * spectra[1].conj()
    surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-6), s=before.shape)
    row, column = np.unravel_index(int(surface.argmax()), surface.shape)
    height, width = before.shape
    return float(np.hypot(min(row, height - row), min(column, width - column)))


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def _argument(video: Path) -> str:
    """A path that ffmpeg cannot take for an option or a protocol."""
    return f"file:{video.resolve()}"
