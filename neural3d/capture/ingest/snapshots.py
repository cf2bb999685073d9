"""What stands of the poses while they are being found: models that COLMAP leaves now and then."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture.colmap_files import read_model, read_points
from neural3d.capture.ingest.state import WORK_FOLDER
from neural3d.capture.lenses import Lens
from neural3d.capture.poses import pose_from_colmap
from neural3d.capture.world import camera_centers, points_in_scene, poses_in_scene, scene_frame, scene_up
from neural3d.errors import InputError
from neural3d.scene import Points

SNAPSHOT_FOLDER = "snapshots"


@dataclass(frozen=True)
class Snapshot:
    """Cameras and points so far, in a frame of their own whose unit is the cameras' radius."""

    name: str
    cameras: Cameras
    points: Points | None
    up_world: Float[Tensor, "3"]


def latest_snapshot(capture: Path, seen: str | None = None) -> Snapshot | None:
    """The newest model that is whole; None where there is none, or it is the one that was `seen`.

    Limits: lens distortion is left out.
    """
    folder = capture / WORK_FOLDER / SNAPSHOT_FOLDER
    for entry in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
        if entry.name == seen:
            return None
        try:
            return _read(entry)
        except (InputError, OSError):
            continue  # COLMAP is writing it
    return None


def _read(folder: Path) -> Snapshot | None:
    """Raises: InputError or OSError while it is not whole."""
    model = read_model(folder, ".bin")
    points = read_points(folder, ".bin")
    posed = [(image, model.cameras.get(image.camera_id)) for image in sorted(model.images, key=lambda i: i.name)]
    posed = [(image, lens) for image, lens in posed if isinstance(lens, Lens)]
    if not posed:
        raise InputError(f"{folder}: holds no cameras")
    poses = np.stack([pose_from_colmap(image.quat_wxyz, image.translation) for image, _ in posed])
    frame = scene_frame(camera_centers(poses), points)
    cameras = Cameras(
        camera_from_world=poses_in_scene(poses, frame),
        focal_px=torch.tensor([lens.focal_px for _, lens in posed], dtype=torch.float32),
        principal_px=torch.tensor([lens.principal_px for _, lens in posed], dtype=torch.float32),
        size_px=torch.tensor([(lens.width, lens.height) for _, lens in posed]),
    )
    return Snapshot(folder.name, cameras, points_in_scene(points, frame), scene_up(poses, None))
