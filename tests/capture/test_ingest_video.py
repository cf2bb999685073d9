"""Frames of a video: which are chosen, how they come out, and videos that are none."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageFilter

from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.sources import find_source
from neural3d.capture.ingest.state import State
from neural3d.capture.ingest.video_frames import prepare_video
from neural3d.capture.ingest.videos import FrameScores, choose_frames, extract_frames, read_facts, score_frames
from neural3d.errors import InputError

WIDTH, HEIGHT = 160, 96


def _world() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (60, 200, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((1600, 480), Image.Resampling.BICUBIC)


def _encode(path, frames, *options: str) -> None:
    height, width = frames[0].shape[:2]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", "10", "-i", "-", *options, str(path)]
    subprocess.run(command, input=b"".join(frame.tobytes() for frame in frames), check=True)


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """Stands still for a second, then moves by 20 pixels a frame for two; every frame but each fifth is blurred."""
    path = tmp_path_factory.mktemp("video") / "my pan.mp4"
    world, frames = _world(), []
    for index in range(30):
        left = 0 if index < 10 else 20 * (index - 10)
        frame = world.crop((left, 100, left + WIDTH, 100 + HEIGHT))
        frames.append(np.asarray(frame if index % 5 == 0 else frame.filter(ImageFilter.GaussianBlur(2))))
    _encode(path, frames, "-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p")
    return path


def test_facts(pan):
    facts = read_facts(pan)
    assert (facts.width, facts.height, facts.is_hdr) == (WIDTH, HEIGHT, False)
    assert facts.seconds == pytest.approx(3.0, abs=0.01)


def test_motion_and_blur_are_measured(pan):
    scores = score_frames(pan, read_facts(pan), lambda done: None)
    assert len(scores.shift) == 30
    np.testing.assert_allclose(scores.shift[1:10], 0, atol=0.01)
    np.testing.assert_allclose(scores.shift[12:], 20 / WIDTH, atol=0.02)
    sharp = np.arange(0, 30, 5)
    assert scores.sharpness[sharp].min() > 1.3 * np.delete(scores.sharpness, sharp).max()


def test_frames_are_spread_by_motion_and_sharp(pan):
    scores = score_frames(pan, read_facts(pan), lambda done: None)
    chosen = choose_frames(scores, 6)
    assert len(chosen) == 6
    assert (chosen % 5 == 0).sum() >= 4
    assert (chosen < 9).sum() <= 2


def test_every_frame_is_chosen_of_a_short_video():
    scores = FrameScores(np.ones(5), np.full(5, 0.2))
    assert choose_frames(scores, 150).tolist() == [0, 1, 2, 3, 4]


def test_a_still_video_still_gives_frames():
    chosen = choose_frames(FrameScores(np.arange(1.0, 101), np.zeros(100)), 20)
    assert len(chosen) == 20 and len(set(chosen.tolist())) == 20


def test_the_chosen_frames_are_those_of_the_file(pan):
    wanted = np.array([3, 10, 29])
    got = dict(extract_frames(pan, read_facts(pan), wanted))
    assert list(got) == [3, 10, 29]
    for index, pixels in got.items():
        left = 0 if index < 10 else 20 * (index - 10)
        truth = _world().crop((left, 100, left + WIDTH, 100 + HEIGHT))
        truth = np.asarray(truth if index % 5 == 0 else truth.filter(ImageFilter.GaussianBlur(2))).astype(int)
        assert np.abs(pixels - truth).mean() < 8


def test_frames_become_photos_once(pan, tmp_path):
    state = State(Settings(frames=6), True)
    for state in prepare_video(tmp_path, find_source(pan).path, state, lambda *_: None):
        pass
    names = [photo.name for photo in state.usable]
    assert len(names) == 6 and all(name.startswith("my_pan_") for name in names)
    assert {photo.lens for photo in state.usable} == {"my_pan 160x96"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    assert list(prepare_video(tmp_path, pan, state, lambda *_: None)) == []
    (tmp_path / "images" / names[2]).unlink()
    assert len(list(prepare_video(tmp_path, pan, state, lambda *_: None))) == 1
    assert {path.name for path in before} == {path.name for path in (tmp_path / "images").iterdir()}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": 3}', "frames", "negative", "\0"])
def test_a_damaged_note_of_what_was_chosen_is_made_again(pan, tmp_path, damage):
    """It ended in a traceback."""
    state = State(Settings(frames=6), True)
    for state in prepare_video(tmp_path, pan, state, lambda *_: None):
        pass
    (note,) = tmp_path.rglob("frames-*.json")
    good = json.loads(note.read_text())
    wrong = {"frames": json.dumps(good | {"frames": "all"}), "negative": json.dumps(good | {"frames": [-1, 3]})}
    note.write_text(wrong.get(damage, damage))
    assert list(prepare_video(tmp_path, pan, state, lambda *_: None)) == []
    assert json.loads(note.read_text()) == good


def test_videos_of_one_name_stay_apart(pan, tmp_path):
    """As phones number them, in two folders: the frames of the second once took the place of the first's."""
    capture, other = tmp_path / "capture", tmp_path / "b" / "my pan.mp4"
    other.parent.mkdir()
    shutil.copy(pan, other)
    state = State(Settings(frames=4), True)
    for video in (pan, other, pan):
        for state in prepare_video(capture, find_source(video).path, state, lambda *_: None):
            pass
    names = [photo.name for photo in state.usable]
    assert len(set(names)) == len(names) == 8 == len(list((capture / "images").iterdir()))
    assert sum(name.startswith("my_pan-1_") for name in names) == 4
    assert {photo.lens for photo in state.usable} == {"my_pan 160x96", "my_pan-1 160x96"}


def test_a_video_that_moves_keeps_its_frames_and_another_in_its_place_has_its_own(pan, tmp_path):
    capture, video = tmp_path / "capture", tmp_path / "a" / "my pan.mp4"
    video.parent.mkdir()
    shutil.copy(pan, video)
    state = State(Settings(frames=6), True)
    for state in prepare_video(capture, video, state, lambda *_: None):
        pass
    names = [photo.name for photo in state.photos]
    video.parent.rename(tmp_path / "b")
    video = tmp_path / "b" / "my pan.mp4"
    for state in prepare_video(capture, video, state, lambda *_: None):
        pass
    assert [photo.name for photo in state.photos] == names
    assert all(photo.source.startswith(f"{video}#") for photo in state.photos)
    os.utime(video, (1, 1))
    for state in prepare_video(capture, video, replace(state, settings=Settings(frames=4)), lambda *_: None):
        pass
    assert len(state.photos) == 4, "none of the earlier one is left"


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_phones_turn_their_video(tmp_path, angle):
    """The picture is stored lying, a matrix says how to show it: frames come out as players show them."""
    picture = np.zeros((96, 160, 3), dtype=np.uint8)
    picture[:20] = 230
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    _encode(plain, [picture] * 5, "-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-display_rotation", str(angle), "-i", str(plain)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    facts = read_facts(turned)
    assert (facts.width, facts.height) == ((160, 96) if angle == 180 else (96, 160))
    [(_, pixels)] = extract_frames(turned, facts, np.array([2]))
    assert np.abs(pixels.astype(int) - np.rot90(picture, angle // 90)).mean() < 4


def test_hdr_is_mapped_to_display_colours(tmp_path):
    """HLG: its signal of 0.75 is diffuse white, which must come out light but not brighter than sRGB white."""
    ramp = np.repeat(np.linspace(0, 255, 160, dtype=np.uint8)[None, :, None], 96, axis=0).repeat(3, axis=2)
    path = tmp_path / "hdr.mp4"
    tags = ["-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc"]
    params = "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    _encode(path, [ramp] * 3, "-c:v", "libx265", "-x265-params", params, "-pix_fmt", "yuv420p10le", *tags)
    facts = read_facts(path)
    assert facts.is_hdr
    [(_, pixels)] = extract_frames(path, facts, np.array([1]))
    row = pixels[48].astype(int)
    assert (np.abs(row - row[:, :1]) <= 4).all()  # grey stays grey
    assert (np.diff(row[4:156, 0]) >= -1).all()
    assert row[2, 0] < 12 and 200 <= row[120, 0] <= 250 and row[157, 0] > row[120, 0]


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0\0\0\x18ftypmp42" + bytes(64)])
def test_what_is_no_video(tmp_path, content):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match="film.mp4: is no video that can be read"):
        read_facts(path)


def test_a_cut_off_video_gives_what_it_has_or_says_so(pan, tmp_path):
    path = tmp_path / "cut.mkv"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-i", str(pan), "-c", "copy", str(path)]
    subprocess.run(command, check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    scores = score_frames(path, read_facts(path), lambda done: None)
    assert 0 < len(scores.shift) < 30
    with pytest.raises(InputError, match="of 1 chosen frames can be decoded"):
        list(extract_frames(path, read_facts(path), np.array([29])))
