"""What an ingest has done so far: `ingest.json` beside the capture, from which the next start goes on."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from neural3d.capture.ingest.settings import Settings
from neural3d.capture.photo_quality import PhotoQuality
from neural3d.capture.strict_json import load_json
from neural3d.errors import InputError, said
from neural3d.storage import atomic_write_text

STATE_FILE = "ingest.json"
WORK_FOLDER = "ingest"
"""The database of features and matches, and what else the next start goes on from."""
VERSION = 1


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo that lies in the capture's images/ (or that could not be read, with the reason)."""

    name: str
    """Path below images/, with forward slashes."""
    source: str
    """The user's file; of a video's frame the video and the frame's number."""
    stamp: str
    """Size and time of that file: when they change, the photo is taken anew."""
    width: int = 0
    height: int = 0
    lens: str = ""
    """Photos of one lens and size share it."""
    focal_px: float | None = None
    """From EXIF."""
    gps: tuple[float, float, float] | None = None
    """Latitude, longitude (degrees), altitude (metres), from EXIF."""
    rig: str = ""
    """Of a view that was cut from a panorama: what panoramas of its size share; its name begins with RIG/VIEW/."""
    view: str = ""
    has_mask: bool = False
    quality: PhotoQuality | None = None
    fault: str | None = None
    """Why it could not be read."""

    @property
    def plain_name(self) -> str:
        """The name of the photo that it is a view of; else its own."""
        return self.name.removeprefix(f"{self.rig}/{self.view}/") if self.rig else self.name


@dataclass(frozen=True)
class State:
    """Everything that is kept between two starts."""

    settings: Settings
    is_video: bool
    photos: tuple[PreparedPhoto, ...] = ()
    complete_sources: tuple[str, ...] = ()
    """Sources of which every photo has been taken."""
    mapped: dict[str, Any] = field(default_factory=dict)
    """What the poses were computed from, and the report about them."""

    @property
    def usable(self) -> tuple[PreparedPhoto, ...]:
        """Photos that were read, by name."""
        return tuple(photo for photo in self.photos if photo.fault is None)

    def with_photos(self, photos: tuple[PreparedPhoto, ...]) -> "State":
        """The same with these photos, sorted by name."""
        return replace(self, photos=tuple(sorted(photos, key=lambda photo: photo.name)))


def save_state(capture: Path, state: State) -> None:
    """Write ingest.json.

    Raises: StorageError.
    """
    content = {"version": VERSION, **asdict(state), "settings": state.settings.to_json()}
    atomic_write_text(capture / STATE_FILE, json.dumps(content, indent=1) + "\n")


def load_state(capture: Path) -> State | None:
    """What the last start left, None where there was none.

    Raises: InputError when the file is not what this program wrote.
    """
    path = capture / STATE_FILE
    if not path.is_file():
        return None
    content = load_json(path)
    if content.get("version") != VERSION:
        raise InputError(
            f"{path}: version {content.get('version')!r}, this program writes {VERSION}; start anew with --overwrite"
        )
    try:
        return State(
            settings=Settings(**content["settings"]),
            is_video=bool(content["is_video"]),
            photos=tuple(_photo(record) for record in content["photos"]),
            complete_sources=tuple(content["complete_sources"]),
            mapped=dict(content["mapped"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not as it was written ({said(error)}); start anew with --overwrite") from error


def _photo(record: dict[str, Any]) -> PreparedPhoto:
    quality = record["quality"] and PhotoQuality(**record["quality"])
    gps = record["gps"] and tuple(record["gps"])
    return PreparedPhoto(**{**record, "quality": quality, "gps": gps})
