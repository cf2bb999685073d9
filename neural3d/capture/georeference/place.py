"""Finding a capture's way to metres, from what was measured, and keeping it beside the capture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural3d.capture.detect import list_poses
from neural3d.capture.georeference.control_points import control_references, read_control_points
from neural3d.capture.georeference.geodesy import east_north_up, middle_fix
from neural3d.capture.georeference.gps import gps_references
from neural3d.capture.georeference.references import References, camera_center
from neural3d.capture.georeference.robust_fit import FEWEST, RobustFit, fit_robustly
from neural3d.capture.georeference.world_file import WORLD_FILE, save_world, world_to_json
from neural3d.capture.listing import Listing
from neural3d.capture.world import scene_up
from neural3d.errors import InputError
from neural3d.scene import Similarity, World

MAX_SCALE_ERROR = 0.2
"""Standard error of the scale from which on it is no scale."""
FAR_M = 10_000.0
"""Coordinates of control points beyond it are those of a country: too large for float32, in which files keep them."""
GRID_M = 100.0
EAST_NORTH_UP = "x east, y north, z up"


@dataclass(frozen=True)
class Placed:
    """How a capture was placed; distances are in metres."""

    world: World
    path: Path
    num_used: int
    left_out: dict[str, float]
    """References that the others speak against, and by how much each is missed."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = {"path": str(self.path), "num_used": self.num_used, "left_out_m": self.left_out}
        return {**world_to_json(self.world), **facts, "warnings": list(self.notes)}

    def lines(self) -> list[str]:
        """For people."""
        left_out = [f"left out: {name}, {meters:.3g} m off" for name, meters in sorted(self.left_out.items())]
        return [describe_world(self.world), *left_out, *(f"warning: {note}" for note in self.notes)]


def describe_world(world: World) -> str:
    """One line."""
    scale = world.metres_from_capture.scale
    return (
        f"1 unit is {scale:.4g} m (standard error {world.scale_error:.2%}), from {world.source}, which agree within "
        f"{world.median_m:.3g} m (median); {world.axes}"
    )


def place_capture(capture: Path, control_points: Path | None = None, *, overwrite: bool = False) -> Placed:
    """Find metres by the photos' GPS, or by a file of control points, and write world.json into the capture's folder.

    The world's z is up. By GPS x is east and y north of one of the photos; by control points the axes are the file's,
    moved by whole hundreds of metres where its coordinates are those of a country. Photos, poses and points are not
    touched.

    Raises: InputError when there are fewer than 3 places, they contradict the poses, a file is damaged, or there is a
    world.json and it shall not be replaced; StorageError.
    Limits: all positions weigh the same, though altitudes of GPS are worse than the rest of it.
    """
    listing = list_poses(capture)
    if (listing.root / WORLD_FILE).exists() and not overwrite:
        raise InputError(f"{listing.root / WORLD_FILE}: is there already; replace it with --overwrite")
    centers = {frame.name: camera_center(frame.camera_from_world) for frame in listing.frames}
    if control_points is None:
        references = gps_references(listing)
        fit, origin = _fit_fixes(capture, references, _up(listing))
        axes, source = EAST_NORTH_UP, f"{int(fit.used.sum())} GPS positions"
    else:
        references = control_references(control_points, read_control_points(control_points), listing)
        fit, origin = _fit_points(control_points, references, _up(listing))
        axes, source = f"axes of {control_points.name}, z up", f"{int(fit.used.sum())} control points"
    world = _world(fit, origin, axes, source)
    distances = dict(zip(references.names, fit.distances.tolist(), strict=True))
    used = {name for name, is_used in zip(references.names, fit.used, strict=True) if is_used}
    path = save_world(listing.root, world, centers, distances, used)
    left_out = {name: distances[name] for name in distances.keys() - used}
    return Placed(world, path, len(used), left_out, (*references.notes, *_warnings(world, fit)))


def _up(listing: Listing) -> Float64[np.ndarray, "3"]:
    poses = np.stack([frame.camera_from_world for frame in listing.frames])
    return scene_up(poses, listing.world_up).double().numpy()


def _fit_fixes(
    capture: Path, references: References, up: Float64[np.ndarray, "3"]
) -> tuple[RobustFit, tuple[float, float, float]]:
    """With the origin at one of the fixes that are not left out, so that one that is changes nothing."""
    if len(references.names) < FEWEST:
        raise InputError(
            f"{capture}: {len(references.names)} photos with a pose have GPS positions, {FEWEST} are needed; "
            "measure control points instead: --control-points FILE"
        )
    fixes = references.measured
    first = _checked(capture, references, east_north_up(fixes, middle_fix(fixes)), up)
    origin = middle_fix(fixes[first.used])
    fit = _checked(capture, references, east_north_up(fixes, origin), up)
    return fit, tuple(origin.tolist())


def _fit_points(
    path: Path, references: References, up: Float64[np.ndarray, "3"]
) -> tuple[RobustFit, tuple[float, float, float]]:
    if len(references.names) < FEWEST:
        why = f" ({'; '.join(references.notes)[:300]})" if references.notes else ""
        raise InputError(f"{path}: {len(references.names)} of its points can be used, {FEWEST} are needed{why}")
    measured = references.measured
    fit = _checked(path, references, measured - measured[0], up)
    middle = measured[fit.used].mean(axis=0)
    origin = np.round(middle / GRID_M) * GRID_M if np.abs(middle).max() > FAR_M else np.zeros(3)
    return _checked(path, references, measured - origin, up), tuple(origin.tolist())


def _checked(
    path: Path, references: References, measured: Float64[np.ndarray, "P 3"], up: Float64[np.ndarray, "3"]
) -> RobustFit:
    """The fit, where it says how large the scene is.

    Raises: InputError.
    """
    try:
        fit = fit_robustly(references.capture, measured, up)
    except ValueError as error:
        raise InputError(f"{path}: of {len(measured)} {references.kind}, {error}; measure others") from error
    if not (fit.scale > 0 and fit.scale_error <= MAX_SCALE_ERROR):
        apart = float(np.median(np.linalg.norm(measured - np.median(measured, axis=0), axis=1)))
        raise InputError(
            f"{path}: {len(measured)} {references.kind} miss the poses by {np.median(fit.distances):.3g} m, and are "
            f"only {apart:.3g} m from their middle: too little to tell a scale; measure others"
        )
    return fit


def _world(fit: RobustFit, origin: tuple[float, float, float], axes: str, source: str) -> World:
    way = Similarity(fit.scale, torch.from_numpy(fit.rotation.copy()), torch.from_numpy(fit.translation.copy()))
    return World(way, axes, origin, source, float(np.median(fit.distances[fit.used])), fit.scale_error)


def _warnings(world: World, fit: RobustFit) -> tuple[str, ...]:
    notes = []
    if fit.is_level:
        notes.append("the positions lie too near a line to say what is up: it is what the photos say")
    if world.scale_error > MAX_SCALE_ERROR / 4:
        notes.append(f"lengths may be wrong by {2 * world.scale_error:.0%} (two standard errors)")
    return tuple(notes)
