"""A video's chosen frames into the capture's images/."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neural3d.capture.ingest.prepare import Report, write_pixels
from neural3d.capture.ingest.state import WORK_FOLDER, PreparedPhoto, State
from neural3d.capture.ingest.videos import choose_frames, extract_frames, read_facts, score_frames
from neural3d.capture.photo_quality import measure_photo
from neural3d.storage import atomic_write_text


def prepare_video(capture: Path, video: Path, state: State, report: Report) -> Iterator[State]:
    """Choose frames once, then take those that are not there yet; yields the state after each.

    Raises: InputError when the video cannot be decoded; StorageError.
    """
    facts = read_facts(video)
    stat = video.stat()
    stamp = f"{stat.st_size}:{stat.st_mtime_ns}"
    chosen = _chosen(capture, video, stamp, state, lambda done: report(done, 0, "choosing frames"))
    key = str(video.resolve())
    there = {
        photo.source for photo in state.photos if photo.stamp == stamp and (capture / "images" / photo.name).exists()
    }
    missing = np.array([index for index in chosen if f"{key}#{index}" not in there], dtype=np.int64)
    report(len(chosen) - len(missing), len(chosen), "")
    for done, (index, pixels) in enumerate(extract_frames(video, facts, missing) if len(missing) else (), start=1):
        name = f"{video.stem.replace(' ', '_')}_{index:06d}.jpg"
        write_pixels(capture / "images" / name, pixels)
        height, width = pixels.shape[:2]
        photo = PreparedPhoto(
            name=name,
            source=f"{key}#{index}",
            stamp=stamp,
            width=width,
            height=height,
            lens=f"{video.stem} {width}x{height}",
            quality=measure_photo(pixels),
        )
        state = state.with_photos((*(p for p in state.photos if p.name != name), photo))
        report(len(chosen) - len(missing) + done, len(chosen), "")
        yield state


def _chosen(capture: Path, video: Path, stamp: str, state: State, report) -> list[int]:
    """Which frames are taken; kept, because judging all of them takes as long as playing the video."""
    kept = capture / WORK_FOLDER / f"frames-{video.stem}.json"
    key = [str(video.resolve()), stamp, state.settings.frames]
    if kept.is_file():
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["key"] == key:
            return content["frames"]
    scores = score_frames(video, read_facts(video), report)
    chosen = choose_frames(scores, state.settings.frames).tolist()
    atomic_write_text(kept, json.dumps({"key": key, "frames": chosen}))
    return chosen
