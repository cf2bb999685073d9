"""The formats of camera files: moves in and out, by suffix."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neural3d.capture.listing import BadFrame
from neural3d.errors import InputError
from neural3d.export.camera_blender import read_blender, write_blender
from neural3d.export.camera_chan import read_chan, write_chan
from neural3d.export.camera_gltf import read_gltf_cameras, write_gltf_cameras
from neural3d.export.camera_usd import read_usd_cameras, write_usd_cameras
from neural3d.export.film import FilmMove, camera_path, film_move
from neural3d.export.usd import SUFFIXES as USD_SUFFIXES
from neural3d.render.camera_files import CameraPath, load_camera_path, save_camera_path
from neural3d.scene import Similarity


@dataclass(frozen=True)
class CameraFormat:
    """One format."""

    suffixes: tuple[str, ...]
    read: Callable[[Path], FilmMove]
    write: Callable[..., tuple[str, ...]]
    """Returns what the format could not hold, one line each."""


FORMATS = (
    CameraFormat(USD_SUFFIXES, read_usd_cameras, write_usd_cameras),
    CameraFormat((".chan",), read_chan, write_chan),
    CameraFormat((".glb", ".gltf"), read_gltf_cameras, write_gltf_cameras),
    CameraFormat((".blender.json",), read_blender, write_blender),
)
SUFFIXES = (*(suffix for entry in FORMATS for suffix in entry.suffixes), ".json")


def read_cameras(path: str | Path, *, scene_from_capture: Similarity, size_px: tuple[int, int]) -> CameraPath:
    """Read a camera move into the scene's frame; `size_px` serves where the file names no size.

    Raises: InputError naming the file and the frame.
    Limits: a file holds one camera; lens distortion is not rendered.
    """
    path = Path(path)
    chosen = _format(path)
    if chosen is None:
        return load_camera_path(path, scene_from_capture=scene_from_capture, size_px=size_px)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return camera_path(chosen.read(path), scene_from_capture, size_px)
    except BadFrame as error:
        raise InputError(f"{path}: {error}; correct the file or write it again") from error


def write_cameras(
    path: str | Path,
    move: CameraPath,
    *,
    capture_from_scene: Similarity,
    up_axis: str = "Y",
    metres_per_unit: float = 1.0,
) -> tuple[str, ...]:
    """Write a camera move in the frame that `capture_from_scene` leads to; what was lost, one line each.

    `up_axis` and `metres_per_unit` are what a USD stage says of that frame.

    Raises: InputError when the suffix is none of a camera format's, or a library is missing; StorageError.
    """
    path = Path(path)
    require_camera_suffix(path)
    chosen = _format(path)
    if chosen is None:
        how = {"capture_from_scene": capture_from_scene, "fps": move.fps, "frames": move.frames}
        save_camera_path(path, move.cameras, **how)
        return ()
    more = {"up_axis": up_axis, "metres_per_unit": metres_per_unit} if chosen.write is write_usd_cameras else {}
    return *chosen.write(path, film_move(move, capture_from_scene), **more), *_sizes_lost(path, move)


def _sizes_lost(path: Path, move: CameraPath) -> tuple[str, ...]:
    """These formats are of film cameras, which have one size of picture, or none."""
    if len(move.cameras.size_px.unique(dim=0)) == 1:
        return ()
    return (f"{path.name}: the views differ in size, which the file cannot say; take .json",)


def require_camera_suffix(path: Path) -> None:
    """Refuse other files before anything is made for them.

    Raises: InputError.
    """
    if not path.name.lower().endswith(SUFFIXES) or path.is_dir():
        raise InputError(f"--output {path}: expected a file that ends in {', '.join(SUFFIXES)}")


def _format(path: Path) -> CameraFormat | None:
    """By suffix; None for JSON of nerfstudio's kind, which anything else is read as, too."""
    name = path.name.lower()
    return next((entry for entry in FORMATS if name.endswith(entry.suffixes)), None)
