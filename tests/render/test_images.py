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

from neural3d.errors import InputError, StorageError
from neural3d.render.images import write_png
from neural3d.render.video import write_mp4, write_video


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
    assert re.search(r"yuv420p\(tv, bt709, ", described(tmp_path / "a.mp4")), "matrix, primaries and transfer curve"
    raw = decoded(tmp_path / "a.mp4", "yuv420p")
    red, green, blue = 0.9, 0.1, 0.2
    luma = 16 + 219 * (0.2126 * red + 0.7152 * green + 0.0722 * blue)
    assert abs(raw[0] - luma) <= 1.5, "luma of BT.709, not of BT.601"


@pytest.mark.parametrize(
    ("fps", "tick"), [(24000 / 1001, "1001/24000"), (30000 / 1001, "1001/30000"), (12.5, "2/25"), (0.0005, "2000/1")]
)
def test_a_video_has_the_rate_that_it_was_given(tmp_path: Path, fps: float, tick: str):
    """Broadcast's rates are fractions: 23.976 is another one than the shot's 24000/1001."""
    write_video(tmp_path / "a.mov", flat_frames(torch.zeros(3), 2, 32, 32), fps=fps, codec="prores422hq")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "a.mov"), "-f", "framecrc", "-"]
    assert f"#tb 0: {tick}" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


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


@pytest.mark.parametrize(
    ("codec", "suffix", "described_as", "worst"),
    [
        ("hevc", ".mp4", r"hevc .*\(hvc1 .*yuv420p10le\(tv, bt709, ", 2),
        ("prores422hq", ".mov", r"prores \(HQ\) \(apch .*yuv422p1[02]le\((tv, )?bt709, ", 1.5),
        ("prores4444", ".mov", r"prores \(4444\) \(ap4h .*yuv444p1[02]le\((tv, )?bt709, ", 1.5),
    ],
)
def test_codecs_of_editors_keep_colours_and_say_what_they_mean(
    tmp_path: Path, codec, suffix: str, described_as: str, worst: float
):
    color = torch.tensor([0.9, 0.2, 0.35])
    path = tmp_path / f"a{suffix}"
    assert write_video(path, flat_frames(color, 5, 64, 80), fps=24.0, codec=codec) == 5
    assert re.search(described_as, described(path)) and "24 fps" in described(path), described(path)
    data = decoded_by_matrix(path)
    frames = np.frombuffer(data, "<u2").reshape(-1, 64, 80, 3) / 65535
    assert len(frames) == 5
    assert np.abs(frames[2, 16, 24] - color.numpy()).max() * 255 <= worst


def decoded_by_matrix(path: Path) -> bytes:
    """16 bits a channel, by the matrix of BT.709, which players take from the tag."""
    convert = "scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd+full_chroma_int,format=rgb48le"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vf", convert]
    return subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout


def test_prores_4444_keeps_straight_alpha(tmp_path: Path):
    frame = torch.cat([torch.full((32, 48, 3), 0.6), torch.linspace(0, 1, 48)[None, :, None].expand(32, 48, 1)], dim=-1)
    write_video(tmp_path / "a.mov", iter([frame] * 3), codec="prores4444")
    assert "yuva444p" in described(tmp_path / "a.mov")
    found = np.frombuffer(decoded(tmp_path / "a.mov", "rgba64le"), "<u2").reshape(-1, 32, 48, 4)[1] / 65535
    assert np.abs(found[..., 3] - frame[..., 3].numpy()).max() < 0.01
    assert np.abs(found[:, 40:, :3] - 0.6).max() < 0.02


def test_hevc_of_pictures_that_crash_its_encoder(tmp_path: Path):
    with pytest.raises(InputError, match="48x32 pixels; hevc takes 64x64 at least"):
        write_video(tmp_path / "a.mp4", flat_frames(torch.zeros(3), 2, 32, 48), codec="hevc")
    assert list(tmp_path.iterdir()) == []


def test_a_codec_without_alpha_refuses_it(tmp_path: Path):
    with pytest.raises(ValueError, match="4 channels; h264 takes 3"):
        write_video(tmp_path / "a.mp4", iter([torch.zeros(8, 8, 4)]))
    assert list(tmp_path.iterdir()) == []
