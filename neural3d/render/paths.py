"""Camera paths that show a scene at its best: a smooth orbit where the photographers stood."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras

NUM_FRAMES = 120
_SMOOTHING_RAD = math.radians(30)
"""How far along the orbit a photo's distance and height are felt."""
_WIDEST_GAP_RAD = math.radians(120)
"""A capture with a wider gap was not walked around: the path then swings before the part that was seen."""
_LEAST_SWING_RAD = math.radians(8)
_SWING_SHARE = 0.8
"""Of the angle that was seen: at its very ends only few photos see the scene."""
_STEEPEST_RAD = math.radians(75)
_PARALLEL = 0.02
"""Smallest eigenvalue of the mean of I - f f^T below which optical axes meet nowhere in particular."""


@dataclass(frozen=True)
class _Polar:
    """Camera centres around the focus: angles about up and above the horizon, and the logarithm of the distance."""

    azimuths_rad: Float[Tensor, "V"]
    elevations_rad: Float[Tensor, "V"]
    log_distances: Float[Tensor, "V"]


def orbit_cameras(
    cameras: Cameras,
    up_world: Float[Tensor, "3"],
    *,
    points: Float[Tensor, "P 3"] | None = None,
    num_frames: int = NUM_FRAMES,
) -> Cameras:
    """A closed path around what the photos look at, upright, at their distance and height, with their angle of view.

    Where the photos leave a gap of more than 120 degrees the path swings to and fro before the part that they saw.
    `points` (of the scene, or the centres of its Gaussians) tell the depth where all photos look the same way.
    Images have the size of the first photo; the last frame leads into the first.
    """
    focus = focus_point(cameras, points)
    up = up_world.double().cpu() / up_world.double().cpu().norm()
    basis = _horizontal_basis(up)
    seen = _polar(cameras.centers_world.double().cpu() - focus, basis, up)
    path = _smoothed(_azimuths(seen.azimuths_rad, num_frames), seen)
    across = torch.cos(path.azimuths_rad)[:, None] * basis[0] + torch.sin(path.azimuths_rad)[:, None] * basis[1]
    outward = torch.cos(path.elevations_rad)[:, None] * across + torch.sin(path.elevations_rad)[:, None] * up
    centers = focus + path.log_distances.exp()[:, None] * outward
    return _with_lens_of(cameras, look_at(centers, focus.expand_as(centers), up))


def focus_point(cameras: Cameras, points: Float[Tensor, "P 3"] | None = None) -> Float[Tensor, "3"]:
    """The point nearest to all optical axes, robust against a few that look elsewhere; float64.

    Where the axes are parallel, or meet behind the cameras, it is as far in front of them as the points are.
    """
    centers, forward = cameras.centers_world.double().cpu(), cameras.forward_world.double().cpu()
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    focus = centers.mean(0)
    if torch.linalg.eigvalsh(across.mean(0))[0] > _PARALLEL:
        weights = torch.ones(len(centers), dtype=torch.float64)
        for _ in range(10):  # least absolute distances, by reweighting
            weighted = weights[:, None, None] * across
            focus = torch.linalg.solve(weighted.sum(0), (weighted @ centers[:, :, None]).sum(0)[:, 0])
            distances = (across @ (focus - centers)[:, :, None])[:, :, 0].norm(dim=-1)
            weights = 1 / distances.clamp(min=1e-3 * float(distances.median()) + 1e-9)
        depths = ((focus - centers) * forward).sum(-1)
        if (depths > 0).double().mean() > 0.5:
            return focus
    return _ahead(centers, forward, points)


def look_at(
    centers: Float[Tensor, "V 3"], targets: Float[Tensor, "V 3"], up_world: Float[Tensor, "3"]
) -> Float[Tensor, "V 4 4"]:
    """camera_from_world of cameras that look at their targets with the horizon level.

    Limits: straight up or down the horizon is nobody's guess, and the result is not finite.
    """
    forward = torch.nn.functional.normalize(targets - centers, dim=-1)
    right = torch.linalg.cross(forward, up_world.to(forward).expand_as(forward))
    right = right / right.norm(dim=-1, keepdim=True)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
    camera_from_world = torch.eye(4, dtype=rotation.dtype).repeat(len(centers), 1, 1)
    camera_from_world[:, :3, :3] = rotation
    camera_from_world[:, :3, 3] = -(rotation @ centers[:, :, None])[:, :, 0]
    return camera_from_world


def _ahead(
    centers: Float[Tensor, "V 3"], forward: Float[Tensor, "V 3"], points: Float[Tensor, "P 3"] | None
) -> Float[Tensor, "3"]:
    """In the middle of the view, at the depth where half of the points before the cameras are nearer."""
    middle = centers.mean(0)
    ahead = forward.mean(0)
    ahead = ahead / ahead.norm() if ahead.norm() > 1e-6 else forward[0]
    spread = float((centers - middle).norm(dim=-1).max())
    depths = torch.zeros(0, dtype=torch.float64) if points is None else (points.double().cpu() - middle) @ ahead
    depths = depths[depths > 0]
    return middle + ahead * (float(depths.median()) if len(depths) else max(3 * spread, 1.0))


def _horizontal_basis(up: Float[Tensor, "3"]) -> Float[Tensor, "2 3"]:
    """Two unit vectors that with up make a right-handed frame."""
    helper = torch.zeros(3, dtype=torch.float64)
    helper[int(up.abs().argmin())] = 1
    first = torch.nn.functional.normalize(torch.linalg.cross(up, helper), dim=0)
    return torch.stack([first, torch.linalg.cross(up, first)])


def _polar(offsets: Float[Tensor, "V 3"], basis: Float[Tensor, "2 3"], up: Float[Tensor, "3"]) -> _Polar:
    x, y, height = offsets @ basis[0], offsets @ basis[1], offsets @ up
    elevations = torch.atan2(height, torch.hypot(x, y)).clamp(-_STEEPEST_RAD, _STEEPEST_RAD)
    return _Polar(torch.atan2(y, x), elevations, offsets.norm(dim=-1).clamp(min=1e-6).log())


def _azimuths(seen_rad: Float[Tensor, "V"], num_frames: int) -> Float[Tensor, "F"]:
    """All the way round, or to and fro before what was seen."""
    phases = 2 * math.pi * torch.arange(num_frames, dtype=torch.float64) / num_frames
    ordered = seen_rad.sort().values
    gaps = torch.diff(ordered, append=ordered[:1] + 2 * math.pi)
    widest = int(gaps.argmax())
    if gaps[widest] <= _WIDEST_GAP_RAD:
        return ordered[0] + phases
    covered = 2 * math.pi - float(gaps[widest])
    middle = float(ordered[widest]) - covered / 2
    return middle + max(_SWING_SHARE * covered / 2, _LEAST_SWING_RAD) * torch.sin(phases)


def _smoothed(azimuths_rad: Float[Tensor, "F"], seen: _Polar) -> _Polar:
    """The photos' heights and distances along the path, each felt as far as `_SMOOTHING_RAD` along it."""
    apart = azimuths_rad[:, None] - seen.azimuths_rad
    apart = torch.atan2(torch.sin(apart), torch.cos(apart))
    weights = torch.exp(-0.5 * (apart / _SMOOTHING_RAD) ** 2) + 1e-4
    weights = weights / weights.sum(1, keepdim=True)
    return _Polar(azimuths_rad, weights @ seen.elevations_rad, weights @ seen.log_distances)


def _with_lens_of(cameras: Cameras, camera_from_world: Float[Tensor, "F 4 4"]) -> Cameras:
    """Pinholes of the size of the first photo and the middle one's angle of view, looking straight ahead."""
    count = len(camera_from_world)
    size_px = cameras.size_px[:1].cpu()
    relative = (cameras.focal_px / cameras.size_px[:, 1:]).double().cpu().median(0).values
    focal_px = relative * size_px[0, 1]
    return Cameras(
        camera_from_world=camera_from_world.to(cameras.camera_from_world),
        focal_px=focal_px.expand(count, 2).to(cameras.focal_px),
        principal_px=(size_px / 2).expand(count, 2).to(cameras.principal_px),
        size_px=size_px.expand(count, 2).to(cameras.size_px),
    )
