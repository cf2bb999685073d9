"""What an ingest is told."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neural3d.capture.camera_models import COLMAP_MODELS, CURVE_MODELS, PRISM_MODELS, SUPPORTED_MODELS
from neural3d.errors import InputError

Matching = Literal["auto", "exhaustive", "sequential", "similar", "vocabtree"]
DEFAULT_MODEL = "SIMPLE_RADIAL"
"""One focal length and one radial coefficient: what phones need, and what few photos still determine."""
_MODELS = {
    name: count
    for name, count in COLMAP_MODELS.values()
    if name in SUPPORTED_MODELS and name not in CURVE_MODELS + PRISM_MODELS
}
"""Those that transforms.json can say, too."""


@dataclass(frozen=True)
class Settings:
    """Settings of one capture's ingest; kept with it, because its stages build on each other.

    Raises: InputError for values that make no sense.
    """

    focal_px: float | None = None
    """Known focal length in pixels of the upright photos; held fixed. None: from EXIF, else estimated."""
    camera: str = DEFAULT_MODEL
    """COLMAP camera model, as "OPENCV"; with parameters, as "PINHOLE:800,800,320,240", they are held fixed."""
    camera_per_photo: bool = False
    """A camera for each photo: for zooms and photos cropped by hand; else one for each lens and size."""
    matching: Matching = "auto"
    """Which pairs are matched: all of them; neighbours by name; similar ones, by comparing all or by a vocabulary tree;
    auto: by count and kind."""
    equirectangular: bool = False
    """All photos show 360 by 180 degrees; without it those do that say so of themselves."""
    frames: int = 150
    """How many frames are taken of a video, at most."""
    linear: bool = False
    """Keep the linear light of RAW and EXR photos beside what displays show, to train in it."""
    seed: int = 0
    """Where randomness begins: with one thread, the same seed gives the same poses."""
    threads: int = -1
    """How many threads; -1: one a core."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise InputError(f"--focal {self.focal_px:g}: expected pixels, more than 0")
        if self.frames < 3:
            raise InputError(f"--frames {self.frames}: expected 3 or more")
        if self.threads != -1 and self.threads < 1:
            raise InputError(f"--threads {self.threads}: expected 1 or more, or -1 for one a core")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"--seed {self.seed}: expected 0 to 2147483647")
        if self.model not in _MODELS:
            raise InputError(f"--camera {self.camera}: expected one of {', '.join(_MODELS)}")
        if self.camera_params is not None and len(self.camera_params) != _MODELS[self.model]:
            raise InputError(f"--camera {self.camera}: {self.model} takes {_MODELS[self.model]} parameters")
        if self.camera_params is not None and self.focal_px is not None:
            raise InputError("--camera and --focal: both give the focal length; leave one out")

    @property
    def model(self) -> str:
        """The camera model's name."""
        return self.camera.partition(":")[0]

    @property
    def camera_params(self) -> tuple[float, ...] | None:
        """Known parameters in COLMAP's order, None where none are given.

        Raises: InputError for what are no numbers.
        """
        words = self.camera.partition(":")[2]
        if not words:
            return None
        try:
            params = tuple(float(word) for word in words.split(","))
        except ValueError as error:
            raise InputError(f"--camera {self.camera}: expected numbers after the colon, like 800,320,240") from error
        if not all(math.isfinite(value) for value in params):
            raise InputError(f"--camera {self.camera}: its parameters are not finite")
        return params

    def to_json(self) -> dict[str, Any]:
        """Plain values; `threads` is left out, it may change from one start to the next."""
        return {name: value for name, value in asdict(self).items() if name != "threads"}
