"""Two eyes for one camera."""

from dataclasses import replace

import torch

from neural3d.cameras import Cameras

EYES = ("left", "right")


def eye_cameras(cameras: Cameras, interaxial: float, convergence: float | None = None) -> tuple[Cameras, Cameras]:
    """The left and the right eye of each view, `interaxial` apart along its x axis, with parallel axes.

    What is `convergence` away along the axis lies at the same pixel for both: the pictures are shifted, not turned, so
    that no point is higher for one eye. Without it that is infinity. Lengths are in the cameras' own units.
    """
    left, right = (_moved(cameras, side * interaxial / 2, convergence) for side in (-1, 1))
    return left, right


def _moved(cameras: Cameras, along_x: float, convergence: float | None) -> Cameras:
    pose = cameras.camera_from_world.clone()
    pose[:, 0, 3] -= along_x
    if convergence is None:
        return replace(cameras, camera_from_world=pose)
    shift = torch.zeros_like(cameras.principal_px)
    shift[:, 0] = cameras.focal_px[:, 0] * along_x / convergence
    return replace(cameras, camera_from_world=pose, principal_px=cameras.principal_px + shift)
