"""A camera between its frames, for as long as its shutter is open."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras

_SMALL_RAD = 1e-4
"""Below it a turn's axis is taken from its first-order term."""


def shutter_cameras(
    camera: Cameras, before: Cameras | None, after: Cameras | None, *, shutter: float, count: int
) -> list[Cameras]:
    """`count` views spread evenly over the time that the shutter is open, in frames, around the frame's own.

    Where a neighbour is missing the camera goes on as it came, or comes as it goes; alone, it stands still.
    """
    times = [shutter * ((k + 0.5) / count - 0.5) for k in range(count)]
    if before is None and after is None:
        return [camera] * count
    ahead = (after, 1.0) if after is not None else (before, -1.0)
    back = (before, -1.0) if before is not None else (after, 1.0)
    chosen = [(time, *(ahead if time > 0 else back)) for time in times]
    return [between(camera, other, time * sign) for time, other, sign in chosen]


def between(a: Cameras, b: Cameras, share: float) -> Cameras:
    """From one view (0) to another (1) and beyond: turning evenly, along a straight line, the lens changing evenly.

    Limits: half a turn from one frame to the next has no way round that would be the shorter one.
    """
    start, end = (c.camera_from_world[0, :3, :3].double().cpu() for c in (a, b))
    rotation = torch.linalg.matrix_exp(share * _turn(end @ start.T)) @ start
    center = torch.lerp(*(c.centers_world[0].double().cpu() for c in (a, b)), share)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = rotation, -(rotation @ center)
    lens = [torch.lerp(getattr(a, name), getattr(b, name), share) for name in ("focal_px", "principal_px")]
    return Cameras(pose[None].to(a.camera_from_world), *lens, a.size_px)


def _turn(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    """The skew matrix of which a rotation is the exponential.

    Source: Rodrigues' formula, inverted.
    """
    skew = (rotation - rotation.T) / 2
    sine = float(torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]]).norm())
    angle = float(torch.atan2(torch.tensor(sine), (rotation.trace() - 1) / 2))
    return skew if angle < _SMALL_RAD else skew * (angle / max(sine, 1e-12))
