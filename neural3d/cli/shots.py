"""What `render` renders: the cameras, their frames' numbers, and which of them were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.cli.runs import Trained, require_world, world_of
from neural3d.errors import InputError
from neural3d.export.camera_formats import read_cameras
from neural3d.export.up_axis import UpAxis, composed, upright
from neural3d.render.camera_files import FPS, MAX_FRAMES, MAX_SIZE_PX, SENSOR_WIDTH_MM, CameraPath
from neural3d.render.paths import NUM_FRAMES, orbit_cameras
from neural3d.render.sequences import FrameRange, parse_frames
from neural3d.render.shutter import between
from neural3d.scene import Similarity
from neural3d.splats.gaussians import Gaussians

Units = Literal["capture", "metres"]


@dataclass(frozen=True)
class Shot:
    """V views in the scene's frame, in order."""

    cameras: Cameras
    numbers: tuple[int, ...]
    """Of the frames."""
    labels: tuple[str, ...]
    """What their names have beside the number."""
    chosen: Sequence[int]
    """Which of them are to be rendered."""
    fps: float
    sensor_width_mm: float
    world_from_scene: Similarity
    """The frame that files speak of: the capture's or that of metres, turned by --up."""
    moves: bool
    """One camera that moves, not many photographers."""

    def previous_camera(self, index: int) -> Cameras | None:
        """The view one frame before it, where a view comes before."""
        return self._one_frame_away(index, index - 1)

    def next_camera(self, index: int) -> Cameras | None:
        """The view one frame after it, where a view follows."""
        return self._one_frame_away(index, index + 1)

    def _one_frame_away(self, index: int, other: int) -> Cameras | None:
        """On the way to a neighbour, which may be some frames off: shutters and motion count in single ones."""
        if not (self.moves and 0 <= other < len(self.cameras)):
            return None
        gap = abs(self.numbers[other] - self.numbers[index])
        return self.cameras[other] if gap == 1 else between(self.cameras[index], self.cameras[other], 1 / gap)


@dataclass(frozen=True)
class Asked:
    """Which views, in the words of the command line."""

    run: Path
    cameras: str
    frames: str | None = None
    size: tuple[int, int] | None = None
    up: UpAxis | None = None
    units: Units = "capture"


def shot_of(options: Asked, trained: Trained) -> Shot:
    """The views that the options name.

    Raises: InputError.
    """
    path = Path(options.cameras)
    world_from_scene = world_frame(trained, options.up or default_up(path), options.units)
    if options.cameras in ("test", "photos"):
        return _photos(options, trained, world_from_scene)
    frames = None if options.frames is None else parse_frames(options.frames)
    if options.cameras == "orbit":
        return _orbit(options, trained, world_from_scene, frames)
    size_px = options.size or tuple(trained.views.cameras.size_px[0].tolist())
    move = read_cameras(path, scene_from_capture=world_from_scene.inverse(), size_px=size_px)
    chosen = _chosen(options, move, frames)
    cameras = _sized(options, move.cameras)
    labels = ("",) * len(cameras)
    return Shot(cameras, move.frames, labels, chosen, move.fps, move.sensor_width_mm, world_from_scene, True)


def world_frame(trained: Trained, up: UpAxis, units: Units = "capture") -> Similarity:
    """The capture's frame or that of metres, or either turned upright, from the scene's.

    Raises: InputError with the remedy where metres are asked for and not known.
    """
    way, up_there = frame_of(trained, units)
    return composed(upright(up, up_there), way)


def frame_of(trained: Trained, units: Units) -> tuple[Similarity, Float[Tensor, "3"]]:
    """The capture's frame, or that of metres, from the scene's, and what is up there.

    Raises: InputError with the remedy where metres are asked for and not known.
    """
    if units == "metres":
        return metres_from_scene(trained), torch.tensor([0.0, 0.0, 1.0])
    way = trained.views.capture_from_scene
    return way, (way.rotation @ trained.views.up_world.double()).float()


def metres_per_unit(trained: Trained, units: Units) -> float:
    """Of that frame; 1 where nobody knows it, as formats in metres have it."""
    world = world_of(trained)
    return 1.0 if world is None or units == "metres" else world.metres_from_capture.scale


def metres_from_scene(trained: Trained) -> Similarity:
    """From the scene's frame to metres with z up.

    Raises: InputError with the remedy where no metres are known.
    """
    return composed(require_world(trained).metres_from_capture, trained.views.capture_from_scene)


def default_up(path: Path) -> UpAxis:
    """GlTF says which way is up, other files do not."""
    return "y" if path.suffix.lower() in (".glb", ".gltf") else "keep"


def _photos(options: Asked, trained: Trained, world_from_scene: Similarity) -> Shot:
    """The capture's own views, all or those held out, numbered as they are sorted."""
    views = trained.views
    indices = views.test_indices.tolist() if options.cameras == "test" else list(range(len(views.cameras)))
    if options.frames is not None:
        raise InputError(f"--frames {options.frames}: photos are no frames; leave it out")
    if not indices:
        raise InputError(f"{options.run}: the capture has no held-out views; take --cameras orbit")
    labels = tuple(Path(views.names[i]).stem for i in indices)
    cameras = _sized(options, trained.cameras[indices])
    chosen = range(len(indices))
    return Shot(cameras, tuple(indices), labels, chosen, FPS, SENSOR_WIDTH_MM, world_from_scene, False)


def _orbit(options: Asked, trained: Trained, world_from_scene: Similarity, frames: FrameRange | None) -> Shot:
    """A number is how many views there are; a range numbers them, and its step leaves some of them out."""
    asked = FrameRange(0, NUM_FRAMES - 1) if frames is None else frames
    if frames is not None and "-" not in options.frames.strip()[1:]:
        if not 1 <= frames.first <= MAX_FRAMES:
            raise InputError(f"--frames {options.frames}: expected 1 to {MAX_FRAMES} views, or a range as 1001-1100")
        asked = FrameRange(0, frames.first - 1)
    points = trained.model.means_world if isinstance(trained.model, Gaussians) else None
    count = asked.last - asked.first + 1
    views = trained.views
    cameras = _sized(options, orbit_cameras(views.cameras, views.up_world, points=points, num_frames=count))
    numbers = tuple(range(asked.first, asked.last + 1))
    return Shot(
        cameras, numbers, ("",) * count, range(0, count, asked.step), FPS, SENSOR_WIDTH_MM, world_from_scene, True
    )


def _chosen(options: Asked, move: CameraPath, frames: FrameRange | None) -> Sequence[int]:
    """Places of the frames that were asked for.

    Raises: InputError when the file has none of that number.
    """
    if frames is None:
        return range(len(move.frames))
    place = {number: index for index, number in enumerate(move.frames)}
    missing = [number for number in frames.numbers if number not in place]
    if missing:
        raise InputError(
            f"--frames {options.frames}: {options.cameras} has frames {move.frames[0]} to {move.frames[-1]}, but no "
            f"{missing[0]}; ask for those that it has"
        )
    return [place[number] for number in frames.numbers]


def _sized(options: Asked, cameras: Cameras) -> Cameras:
    if options.size is None:
        return cameras
    width, height = options.size
    if not (1 <= width <= MAX_SIZE_PX and 1 <= height <= MAX_SIZE_PX):
        raise InputError(f"--size {width} {height}: expected 1 to {MAX_SIZE_PX} pixels")
    return cameras.fitted(width, height)
