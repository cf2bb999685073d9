"""What can be typed about finding poses: the options that `ingest` and `make` share, and those of `ingest` alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from neural3d.capture.ingest.settings import Settings
from neural3d.cli.option_types import Flag, OptionalNumber, Whole, unless_given


@dataclass(frozen=True)
class Posing:
    """How poses are found where photos have none, and what else is found with them."""

    focal: Annotated[OptionalNumber, unless_given("from EXIF, else estimated")] = None
    """Focal length in pixels of the upright photos, where it is known; held fixed."""
    camera: Annotated[str, arg(metavar="MODEL[:P,P,…]")] = Settings.camera
    """COLMAP camera model; with its parameters, as PINHOLE:800,800,320,240, they are held fixed."""
    camera_per_photo: Flag = False
    """Another lens for each photo, for zooms; else one for all photos of the same camera, focal length and size."""
    matching: Literal["auto", "exhaustive", "sequential", "similar", "vocabtree"] = Settings.matching
    """Which photos are compared: all; neighbours by name; those that look alike, or do so by a vocabulary tree of the
    photos' own features, for thousands; auto: by their number and kind."""
    cameras: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: poses are looked for)")] = None
    """The cameras of a matchmove (.usd, .chan, .glb, .blender.json, camera_path.json) for the frames in the folder, to
    which they belong by the number in their names; no poses are looked for."""
    equirectangular: Flag = Settings.equirectangular
    """Photos or a video show 360 by 180 degrees; each is cut into six views that stay together. Photos that say so of
    themselves (GPano) are found without this."""
    frames: Whole = Settings.frames
    """How many frames are taken of a video, at most."""
    linear: Flag = Settings.linear
    """RAW and EXR photos: keep their linear light, too (linear/NAME.exr); splats are then trained in that light."""
    masks: Annotated[
        str | None, arg(metavar="auto|MODULE:FUNCTION", help_behavior_hint="(default: those that photos bring)")
    ] = None
    """Cut out the object that the photos go around once poses are found, for photos that bring no mask; auto: GrabCut,
    else a function of yours, see neural3d masks."""
    gps: Flag = False
    """Metres and a true up from the GPS positions in the photos' EXIF, see neural3d world."""
    control_points: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Metres from a file of measured points, see neural3d world."""


@dataclass(frozen=True)
class Ingest(Posing):
    """Find the camera poses of photos or of a video, stage by stage; started again, it goes on where it was stopped."""

    source: Positional[Annotated[Path, arg(metavar="PHOTOS|VIDEO")]] = tyro.MISSING
    """Folder of photos (JPEG, PNG, TIFF, WebP, HEIC, RAW), or a video; only read."""
    output: Annotated[Path, arg(metavar="CAPTURE")] = tyro.MISSING
    """Folder of the capture, created where it is missing; another folder of photos can be added to it later."""
    seed: Whole = Settings.seed
    """Where randomness begins: with --threads 1, the same seed gives the same poses."""
    threads: Whole = Settings.threads
    """How many threads; -1: one a core."""
    overwrite: Flag = False
    """Begin anew where the folder holds an earlier ingest."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""
