"""A video's chosen frames into the capture's images/."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from neural3d.capture.ingest.prepare import Report, panorama_views, plain_text, write_pixels
from neural3d.capture.ingest.state import WORK_FOLDER, PreparedPhoto, State
from neural3d.capture.ingest.videos import VideoFacts, choose_frames, extract_frames, read_facts, score_frames
from neural3d.capture.listing import BadFrame
from neural3d.capture.panoramas import require_whole
from neural3d.capture.photo_quality import measure_photo
from neural3d.errors import InputError
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
    if (followed := _followed(state, key, video.name, stamp, set(chosen))) != state:
        state = followed
        yield state
    there = {
        photo.source for photo in state.photos if photo.stamp == stamp and (capture / "images" / photo.name).exists()
    }
    equirectangular = state.settings.equirectangular
    if equirectangular:
        _require_panoramas(video, facts)
    stem = _free_stem(video, key, state)
    missing = np.array([index for index in chosen if f"{key}#{index}" not in there], dtype=np.int64)
    report(len(chosen) - len(missing), len(chosen), "")
    for done, (index, pixels) in enumerate(extract_frames(video, facts, missing) if len(missing) else (), start=1):
        name, source = f"{stem}_{index:06d}.jpg", f"{key}#{index}"
        taken = (
            panorama_views(capture, name, pixels, None) if equirectangular else (_frame(capture, name, pixels, stem),)
        )
        others = [photo for photo in state.photos if photo.source != source]
        state = state.with_photos((*others, *(replace(photo, source=source, stamp=stamp) for photo in taken)))
        report(len(chosen) - len(missing) + done, len(chosen), "")
        yield state


def _followed(state: State, key: str, name: str, stamp: str, chosen: set[int]) -> State:
    """Frames of a video that was moved keep what was done; of one that is another now, or not chosen, go."""
    photos = []
    for photo in state.photos:
        video, _, index = photo.source.rpartition("#")
        is_moved = Path(video).name == name and photo.stamp == stamp and not Path(video).exists()
        if video == key or is_moved:
            if photo.stamp != stamp or int(index) not in chosen:
                continue
            photo = replace(photo, source=f"{key}#{index}")
        photos.append(photo)
    return state.with_photos(tuple(photos))


def _require_panoramas(video: Path, facts: VideoFacts) -> None:
    """Raises: InputError when the frames do not show all around."""
    try:
        require_whole(facts.width, facts.height)
    except BadFrame as bad:
        raise InputError(f"{video}: {bad}") from bad


def _free_stem(video: Path, key: str, state: State) -> str:
    """What the names of the video's frames begin with: its own, made different where others have such names."""
    plain = plain_text(video.stem)
    used = [photo.plain_name.lower() for photo in state.photos if photo.source.rpartition("#")[0] != key]
    candidates = (plain, *(f"{plain}-{number}" for number in range(1, 1000)))
    return next(stem for stem in candidates if not any(name.startswith(f"{stem.lower()}_") for name in used))


def _frame(capture: Path, name: str, pixels: UInt8[np.ndarray, "H W 3"], stem: str) -> PreparedPhoto:
    write_pixels(capture / "images" / name, pixels)
    height, width = pixels.shape[:2]
    return PreparedPhoto(name, "", "", width, height, f"{stem} {width}x{height}", quality=measure_photo(pixels))


def _chosen(capture: Path, video: Path, stamp: str, state: State, report) -> list[int]:
    """Which frames are taken; kept, because judging all of them takes as long as playing the video."""
    kept = capture / WORK_FOLDER / f"frames-{video.stem}.json"
    key = [str(video.resolve()), stamp, state.settings.frames]
    known = _kept(kept, key)
    if known is not None:
        return known
    scores = score_frames(video, read_facts(video), report)
    chosen = choose_frames(scores, state.settings.frames).tolist()
    atomic_write_text(kept, json.dumps({"key": key, "frames": chosen}))
    return chosen


def _kept(path: Path, key: list) -> list[int] | None:
    """What was chosen before of the same video; a file that is damaged is made again like one that is missing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    frames = content.get("frames") if isinstance(content, dict) and content.get("key") == key else None
    is_sound = isinstance(frames, list) and all(type(frame) is int and frame >= 0 for frame in frames)
    return frames if is_sound else None
