"""PNG and MP4: other programs read the colours that were rendered."""

import re
import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.errors import StorageError
from neural3d.render.images import write_png
from neural3d.render.video import write_mp4


def decoded(path: Path, kind: str) -> bytes:
    """What ffmpeg reads: another program than the writer of PNG, and one that knows 16 bits."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", kind, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def described(path: Path) -> str:
    return subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr


def test_png_of_8_bits_rounds_to_nearest_and_clamps(tmp_path: Path):
    values = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 127.5 / 255, 1.0, 7.0])
    write_png(tmp_path / "ü" / "a.png", values[None, :, None].repeat(2, 1, 3))
    with Image.open(tmp_path / "ü" / "a.png") as image:
        assert np.asarray(image)[1, :, 2].tolist() == [0, 0, 0, 1, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_its_channels(tmp_path: Path, channels: int):
    write_png(tmp_path / "a.png", torch.rand(3, 5, channels))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (5, 3) and len(image.getbands()) == channels


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits_is_exact(tmp_path: Path, channels: int):
    """Decoded by ffmpeg: Pillow reads no colour beyond 8 bits."""
    image = torch.rand(6, 7, channels, dtype=torch.float64)
    write_png(tmp_path / "a.png", image, bits=16)
    assert struct.unpack(">IIB", (tmp_path / "a.png").read_bytes()[16:25]) == (7, 6, 16)
    kind = {1: "gray16be", 3: "rgb48be", 4: "rgba64be"}[channels]
    data = decoded(tmp_path / "a.png", kind)
    found = np.frombuffer(data, ">u2").reshape(6, 7, channels).astype(np.float64) / 65535
    assert np.abs(found - image.numpy()).max() <= 0.5 / 65535 + 1e-12


def test_other_pictures_are_refused(tmp_path: Path):
    for image, bits in ((torch.rand(2, 2, 2), 8), (torch.rand(2, 2, 3), 12)):
        with pytest.raises(ValueError, match="expected"):
            write_png(tmp_path / "a.png", image, bits=bits)
    assert list(tmp_path.iterdir()) == []


def flat_frames(color: torch.Tensor, count: int, height: int, width: int):
    return (color.expand(height, width, 3) for _ in range(count))


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47)])
def test_video_keeps_colours_size_and_length(tmp_path: Path, height: int, width: int):
    color = torch.tensor([0.8, 0.3, 0.1])
    assert write_mp4(tmp_path / "x y.mp4", flat_frames(color, 10, height, width), fps=25.0) == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["x y.mp4"]
    even = (height + height % 2, width + width % 2)
    frames = np.frombuffer(decoded(tmp_path / "x y.mp4", "rgb24"), np.uint8).reshape(-1, *even, 3)
    assert len(frames) == 10
    assert np.abs(frames[5].astype(int) - (color.numpy() * 255).round().astype(int)).max() <= 3
    assert f"{even[1]}x{even[0]}" in described(tmp_path / "x y.mp4") and "25 fps" in described(tmp_path / "x y.mp4")


def test_video_says_what_its_colours_mean(tmp_path: Path):
    write_mp4(tmp_path / "a.mp4", flat_frames(torch.tensor([0.9, 0.1, 0.2]), 3, 32, 32))
    assert re.search(r"yuv420p\(tv, bt709", described(tmp_path / "a.mp4"))
    raw = decoded(tmp_path / "a.mp4", "yuv420p")
    red, green, blue = 0.9, 0.1, 0.2
    luma = 16 + 219 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert abs(raw[0] - luma) <= 1.5, "luma of BT.709, not of BT.601"


def test_no_video_of_nothing_or_of_two_sizes(tmp_path: Path):
    with pytest.raises(ValueError, match="there is none"):
        write_mp4(tmp_path / "a.mp4", iter([]))
    with pytest.raises(ValueError, match="frame 1 is 10x8"):
        write_mp4(tmp_path / "a.mp4", iter([torch.zeros(8, 8, 3), torch.zeros(8, 10, 3)]))
    assert list(tmp_path.iterdir()) == []


def test_ffmpegs_complaint_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("neural3d.render.video._BT709", ("-nonsense", "bt709"))
    with pytest.raises(StorageError, match="ffmpeg failed .*nonsense"):
        write_mp4(tmp_path / "a.mp4", flat_frames(torch.zeros(3), 2, 8, 8))
    assert list(tmp_path.iterdir()) == []
