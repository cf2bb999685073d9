"""The stages of an ingest, one after the other; each goes on from what an earlier start has left."""

import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neural3d.capture.georeference.world_file import WORLD_FILE
from neural3d.capture.ingest.colmap_process import require_colmap, run_task
from neural3d.capture.ingest.prepare import prepare_photos
from neural3d.capture.ingest.report import Report, make_report
from neural3d.capture.ingest.result_files import MODEL_FOLDER, POINTS_FILE, write_results
from neural3d.capture.ingest.settings import Settings
from neural3d.capture.ingest.snapshots import SNAPSHOT_FOLDER
from neural3d.capture.ingest.sources import Source, find_source
from neural3d.capture.ingest.state import STATE_FILE, WORK_FOLDER, PreparedPhoto, State, load_state, save_state
from neural3d.capture.ingest.video_frames import prepare_video
from neural3d.capture.light_files import FOLDER as LIGHT_FOLDER
from neural3d.capture.panoramas import VIEWS, view_lens, view_turn
from neural3d.errors import InputError
from neural3d.locks import FileLock
from neural3d.storage import make_folder, remove_folder, remove_names

MIN_PHOTOS = 3
EXHAUSTIVE_UP_TO = 60
"""Photos of which every pair is matched; of more, those that look alike."""
SIMILAR_UP_TO = 500
"""Photos that are all compared to see which look alike; of more, a vocabulary tree says so."""
SAVE_SECONDS = 5.0
"""Longest work on photos that a kill can cost."""
DATABASE, LOCK = "database.db", "lock"
"""In the folder of work."""
OWN_NAMES = ("images", "masks", LIGHT_FOLDER, "sparse", WORK_FOLDER, "transforms.json", POINTS_FILE, WORLD_FILE)
"""What an ingest writes, its state aside, and what is found for it later."""


@dataclass(frozen=True)
class Progress:
    """One moment of an ingest."""

    stage: str
    """photos, features, matches, poses."""
    done: int
    total: int
    """0 where it is not known."""
    note: str
    seconds: float
    """Since the stage began."""


Watcher = Callable[[Progress], None]


def ingest_photos(
    source: Path | str,
    output: Path | str,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    watch: Watcher = lambda progress: None,
) -> Report:
    """Find the poses of a folder of photos or of a video, and write the capture `output`.

    `output` holds images/ (upright, in sRGB), masks/, the COLMAP model sparse/0, transforms.json, points.ply, and
    ingest.json. Started again it goes on where it was stopped; with another folder of photos it adds them.

    Raises: InputError when there is nothing to work on, `output` holds something else, or no two photos connect;
    StorageError; RuntimeError when COLMAP itself fails.
    Limits: the world's scale is arbitrary, its z axis is the photos' mean up.
    """
    require_colmap()
    source, capture = find_source(Path(source)), Path(output)
    is_anew = overwrite and (capture / STATE_FILE).is_file()
    _require_place(source, capture, is_anew=is_anew)
    lock = FileLock(capture / WORK_FOLDER / LOCK)
    if not lock.acquire():
        raise InputError(f"{capture}: another ingest ({lock.owner()}) works on it; wait for its end")
    try:
        if is_anew:
            _remove_earlier(capture)
        state = _begin(source, capture, settings)
        return _Stages(capture, watch).run(source, state, settings)
    finally:
        lock.release()


def _require_place(source: Source, capture: Path, *, is_anew: bool) -> None:
    """Raises: InputError when the capture would lie where it must not, or holds something else."""
    if source.path.resolve() == capture.resolve() or capture.resolve().is_relative_to(source.path.resolve()):
        raise InputError(f"{capture}: lies in the folder of the photos; write the capture somewhere else")
    if capture.exists() and not capture.is_dir():
        raise InputError(f"{capture}: is a file; name a folder for the capture")
    if is_anew and source.path.resolve().is_relative_to(capture.resolve()):
        raise InputError(f"{source.path}: lies in the capture that --overwrite would replace; move it out of there")
    holds_more = capture.is_dir() and any(entry.name != WORK_FOLDER for entry in capture.iterdir())
    if holds_more and not (capture / STATE_FILE).is_file():
        raise InputError(f"{capture}: holds something that is no ingest; choose an empty folder")


def _remove_earlier(capture: Path) -> None:
    """All that an earlier start has written but the lock, which is held; the state last: it says whose folder it is."""
    work = capture / WORK_FOLDER
    remove_names(work, [entry.name for entry in work.iterdir() if entry.name != LOCK])
    remove_names(capture, (*(name for name in OWN_NAMES if name != WORK_FOLDER), STATE_FILE))


def _begin(source: Source, capture: Path, settings: Settings | None) -> State:
    """The state of an earlier start, or a new one.

    Raises: InputError when it was made with other settings, or is damaged.
    """
    earlier = load_state(capture)
    if earlier is None or not earlier.photos:
        # Where nothing was taken yet, as of a video that was none, nothing is settled.
        earlier = State(settings or Settings(), source.is_video)
    elif changed := _changed(earlier.settings, settings or Settings()):
        raise InputError(
            f"{capture}: was begun with other settings ({', '.join(changed)}); "
            "leave them out, or start anew with --overwrite"
        )
    # Photos beside a video's frames stand in no order.
    state = replace(earlier, is_video=earlier.is_video and source.is_video)
    save_state(capture, state)
    return state


def is_of(capture: Path, source: Path, settings: Settings) -> bool:
    """Whether an earlier start of this capture's ingest took these photos and no others, with all these settings."""
    try:
        earlier = load_state(capture)
    except InputError:  # it is damaged: of whatever it was
        return False
    if earlier is None or earlier.settings.to_json() != settings.to_json():
        return False
    root = source.resolve()
    return all(Path(p.source).is_relative_to(root) or p.source.rpartition("#")[0] == str(root) for p in earlier.photos)


def followed_settings(capture: Path, settings: Settings) -> dict[str, Any]:
    """What an earlier start of this capture was told and that still holds, though it is left out now.

    Raises: InputError when the capture's state is damaged.
    """
    earlier = load_state(capture)
    default, now = Settings().to_json(), settings.to_json()
    before = default if earlier is None else earlier.settings.to_json()
    return {name: value for name, value in before.items() if value != now[name] == default[name]}


def _changed(before: Settings, now: Settings) -> list[str]:
    """Settings that are not what the capture was begun with; what is left at its default follows the capture."""
    default = Settings().to_json()
    return [name for name, value in now.to_json().items() if value not in (before.to_json()[name], default[name])]


class _Stages:
    """One start of the ingest of one capture."""

    def __init__(self, capture: Path, watch: Watcher) -> None:
        self.capture = capture
        self.work = capture / WORK_FOLDER
        self._watch = watch

    def run(self, source: Source, state: State, settings: Settings | None) -> Report:
        """All stages; the report."""
        begun = time.monotonic()
        threads = settings.threads if settings is not None else -1
        state = self._photos(source, state)
        groups = camera_groups(state)
        if len(state.usable) < MIN_PHOTOS:
            faults = "; ".join(f"{p.name}: {p.fault}" for p in state.photos if p.fault)[:300]
            raise InputError(
                f"{source.path}: {len(state.usable)} photos can be read, at least {MIN_PHOTOS} are needed"
                + (f" ({faults})" if faults else "")
            )
        names = [photo.name for photo in state.usable]
        task = {
            "database": str(self.work / DATABASE),
            "images": str(self.capture / "images"),
            "masks": str(self.capture / "masks"),
            "names": names,
            "seed": state.settings.seed,
            "threads": threads,
        }
        rigs = panorama_rigs(state)
        features = self._colmap("features", {**task, "groups": groups, "rigs": rigs})["num_features"]
        matches = self._colmap("matches", {**task, **pair_plan(state)})
        made_from = {"photos": sorted(f"{p.name} {p.stamp}" for p in state.usable), "num_pairs": matches["num_pairs"]}
        if state.mapped.get("made_from") != made_from or not (self.capture / MODEL_FOLDER / "images.bin").is_file():
            poses = self._poses(task, state, features, matches)
            report = make_report(state, features, matches, poses, time.monotonic() - begun)
            write_results(self.capture, {photo.name for photo in state.usable if photo.has_mask})
            state = replace(state, mapped={"made_from": made_from, "report": report.to_json()})
            save_state(self.capture, state)
        kept = state.mapped["report"]
        return Report(**{**kept, "warnings": (*source.notes, *kept["warnings"])})

    def _photos(self, source: Source, state: State) -> State:
        """Take the photos; what they were taken from is never written to."""
        before = {photo.name: photo.stamp for photo in state.usable}
        reported = self._reporter("photos")
        steps = (
            prepare_video(self.capture, source.path, state, reported)
            if source.is_video
            else prepare_photos(self.capture, source, state, reported)
        )
        saved = time.monotonic()
        try:
            for state in steps:
                if time.monotonic() - saved > SAVE_SECONDS:
                    self._save_photos(before, state)
                    saved = time.monotonic()
        finally:
            self._save_photos(before, state)
        return state

    def _save_photos(self, before: dict[str, str], state: State) -> None:
        """Where a photo changed or is no more, the database goes first: it has no way to forget that photo alone.

        Whoever is stopped between the two begins with features that are too few, never with those of old pixels.
        """
        after = {photo.name: photo.stamp for photo in state.usable}
        if any(after.get(name) != stamp for name, stamp in before.items()):
            (self.work / DATABASE).unlink(missing_ok=True)
        save_state(self.capture, state)

    def _poses(
        self, task: dict[str, Any], state: State, features: dict[str, int], matches: dict[str, Any]
    ) -> dict[str, Any]:
        """The model, under its final name only once it is whole.

        Raises: InputError when no photos connect.
        """
        output = self.work / "model"
        shutil.rmtree(output, ignore_errors=True)
        given = state.settings
        fixed = {
            "fixed_focal": bool(given.focal_px or given.camera_params),
            "fixed_lens": given.camera_params is not None,
            "views": {photo.name: photo.rig for photo in state.usable if photo.rig},
        }
        snapshots = str(self.work / SNAPSHOT_FOLDER)
        poses = self._colmap("poses", {**task, **fixed, "output": str(output), "snapshots": snapshots})
        if poses["model"] is None:
            connected = sum(count[0] > 0 for count in matches["num_matches"].values())
            raise InputError(
                f"{self.capture}: no poses could be found: {connected} of {len(state.usable)} photos match another "
                f"one, {sum(features.values()) // max(1, len(features))} features a photo; take photos with more "
                "overlap and texture, walking around instead of turning on the spot"
            )
        folder = self.capture / MODEL_FOLDER
        make_folder(folder.parent)
        if folder.exists():
            remove_folder(folder)
        output.rename(folder)
        return poses

    def _colmap(self, name: str, task: dict[str, Any]) -> dict[str, Any]:
        return run_task(name, self.work, task, self._reporter(name))

    def _reporter(self, stage: str) -> Callable[[int, int, str], None]:
        begun = time.monotonic()
        return lambda done, total, note: self._watch(Progress(stage, done, total, note, time.monotonic() - begun))


def camera_groups(state: State) -> list[dict[str, Any]]:
    """Photos that share a camera, with what is known about it."""
    photos: dict[str, list[PreparedPhoto]] = defaultdict(list)
    for photo in state.usable:
        alone = state.settings.camera_per_photo and not photo.rig
        photos[photo.name if alone else photo.lens].append(photo)
    return [
        {
            "names": [photo.name for photo in group],
            "masked": [photo.name for photo in group if photo.has_mask],
            "width": group[0].width,
            "height": group[0].height,
            **_known_lens(group[0], state.settings),
        }
        for _, group in sorted(photos.items())
    ]


def _known_lens(photo: PreparedPhoto, given: Settings) -> dict[str, Any]:
    """What is known before anything is computed: of a view everything."""
    if photo.rig:
        lens = view_lens(int(photo.rig.rpartition("-")[2]))
        return {"focal_px": lens.focal_px[0], "model": lens.model, "params": [*lens.focal_px, *lens.principal_px]}
    focal_px = given.focal_px or photo.focal_px
    return {"focal_px": focal_px, "model": given.model, "params": list(given.camera_params or ())}


def panorama_rigs(state: State) -> list[dict[str, Any]]:
    """Views that panoramas of one size are cut into: beginnings of their names, and how they are turned."""
    rigs = sorted({photo.rig for photo in state.usable if photo.rig})
    return [
        {"prefixes": [f"{rig}/{view}/" for view in VIEWS], "turns": [view_turn(view).tolist() for view in VIEWS]}
        for rig in rigs
    ]


def pair_plan(state: State) -> dict[str, Any]:
    """How pairs are chosen: all of a few photos; of a video neighbours in time; of many those that look alike.

    Of very many photos, or frames, those are found by a vocabulary tree.
    """
    matching, count = state.settings.matching, len(state.usable)
    if matching == "auto":
        by_count = "exhaustive" if count <= EXHAUSTIVE_UP_TO else "similar" if count <= SIMILAR_UP_TO else "vocabtree"
        matching = "sequential" if state.is_video else by_count
    plans = {"exhaustive": (0, 0), "sequential": (10, 10), "similar": (4, 25), "vocabtree": (4, 25)}
    neighbours, similar = plans[matching]
    by_tree = matching == "vocabtree" or (matching == "sequential" and count > SIMILAR_UP_TO)
    return {"matching": matching, "neighbours": neighbours, "similar": similar, "by_tree": by_tree}
