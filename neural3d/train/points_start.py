"""Where the first neural points lie: on the capture's points, or on the surfaces that a short fit of splats shows."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.fields.points_place import PointsPlace
from neural3d.fields.rays import rays_through
from neural3d.ops.neighbors import neighbor_distances
from neural3d.render.splats import render_splats
from neural3d.scene import Scene
from neural3d.splats.gaussians import Gaussians
from neural3d.surface.thinning import thinned_rows
from neural3d.train.config import SplatConfig
from neural3d.train.initial import FEWEST_POINTS
from neural3d.train.observer import Progress, Request, TrainingObserver
from neural3d.train.points_config import PointsConfig
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.splats import train_splats

SURE_ALPHA = 0.5
"""Where splats show less there is no surface to put a point on."""
MOST_PIXELS = 3_000_000
"""Of all photos together that become points before those are thinned."""
FEWEST_PIXELS = 2
"""That must show the same cell of space: less may be a splat that hangs in the air."""
GAPS, EVEN = 0.9, 0.5
"""Which of the distances between neighbours, in order, stands for all: of found points, of evenly spread ones."""


@dataclass(frozen=True)
class PointCloud:
    """Coloured points in the unit cube of a place's grid."""

    places: Float[Tensor, "P 3"]
    colors: Float[Tensor, "P 3"]
    """Display sRGB, 0 to 1."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Tensor) -> "PointCloud":
        """Some of them."""
        return PointCloud(self.places[rows], self.colors[rows])


def first_points(
    scene: Scene, place: PointsPlace, config: PointsConfig, observers: Sequence[TrainingObserver] = ()
) -> PointCloud:
    """No more than the configuration allows, evenly spread.

    Raises:
        InputError: The capture has no points that could be taken, or a fit of splats shows no surface.
    """
    if starts_from_capture(scene, config):
        return thinned(_of_capture(scene, place), config.max_points, finest=_finest(place), fewest=1)
    gaussians = _fitted_splats(scene, config, observers)
    shown = _shown_points(scene, place, gaussians, config.seed)
    found = thinned(shown, config.max_points, finest=_finest(place), fewest=FEWEST_PIXELS)
    if len(found) < FEWEST_POINTS:
        raise InputError(
            "a fit of splats found no surface that neural points could lie on; train longer, check the poses, or give "
            "the capture points"
        )
    return found


def starts_from_capture(scene: Scene, config: PointsConfig) -> bool:
    """Whether the capture's points are taken.

    Raises:
        InputError: They were asked for, and there are too few.
    """
    count = 0 if scene.points is None else int(scene.points.means_world.isfinite().all(dim=1).sum())
    if config.points_from == "capture" and count < FEWEST_POINTS:
        raise InputError(
            f"points_from: the capture has {count} points, neural points need {FEWEST_POINTS}; give it some, or let "
            "splats find them"
        )
    if config.points_from == "auto":
        # Points of structure from motion lie where texture is: between them there would be nothing for rays to see.
        return count >= max(FEWEST_POINTS, config.max_points)
    return config.points_from == "capture"


def spacing(places: Float[Tensor, "P 3"], part: float = EVEN) -> float:
    """How far apart neighbours are: of the mean distances to three, the one that so many are below."""
    distances = neighbor_distances(places.contiguous(), 3).sort().values
    return float(distances[int(part * (len(distances) - 1))])


def thinned(cloud: PointCloud, most: int, *, finest: float, fewest: int) -> PointCloud:
    """At most so many, evenly spread, as `neural3d.surface.thinning` does it."""
    rows = thinned_rows(torch.cat([cloud.places, cloud.colors], dim=1), most, finest=finest, fewest=fewest)
    return PointCloud(rows[:, :3].contiguous(), rows[:, 3:].contiguous())


def _finest(place: PointsPlace) -> float:
    """Two steps of a ray, in the grid's unit cube."""
    return 2 * place.step / (4 if place.contracted else 2)


def _of_capture(scene: Scene, place: PointsPlace) -> PointCloud:
    points = scene.points
    finite = points.means_world.isfinite().all(dim=1)
    if not finite.all():
        left_out = int((~finite).sum())
        warnings.warn(f"left out {left_out} of the capture's points, which are not finite", stacklevel=2)
    places = place.grid_places(points.means_world[finite].float())
    inside = ((places > 0) & (places < 1)).all(dim=1)
    if int(inside.sum()) < FEWEST_POINTS:
        raise InputError(
            f"the capture has {int(inside.sum())} points where its photos look, neural points need {FEWEST_POINTS}; "
            "check poses and points"
        )
    return PointCloud(places[inside], points.colors[finite][inside].float() / 255)


class _Wishes:
    """Passes on who wants to stop; a fit of splats shows nothing."""

    def __init__(self, observers: Sequence[TrainingObserver]) -> None:
        self.observers = observers

    def on_progress(self, progress: Progress, snapshot: Callable[[], Any]) -> None:
        """Not the model that is being watched."""

    def requested(self) -> Request:
        """Stop if anybody wants to; pauses wait for the field."""
        return "stop" if any(observer.requested() == "stop" for observer in self.observers) else "run"


def _fitted_splats(scene: Scene, config: PointsConfig, observers: Sequence[TrainingObserver]) -> Gaussians:
    seconds = None if config.max_seconds is None else config.splat_share * config.max_seconds
    splats = SplatConfig(
        steps=min(config.splat_steps, config.steps), max_seconds=seconds, seed=config.seed, background=config.background
    )
    return train_splats(scene, splats, observers=[_Wishes(observers)]).gaussians


@torch.no_grad()
def _shown_points(scene: Scene, place: PointsPlace, gaussians: Gaussians, seed: int) -> PointCloud:
    """Where the pixels of the training photos meet what splats show, in the photos' colours."""
    indices = scene.train_indices.tolist()
    pixels = sum(scene.photos[i].pixels.shape[0] * scene.photos[i].pixels.shape[1] for i in indices)
    share, random = min(1.0, MOST_PIXELS / pixels), generator(seed, Purpose.POINTS)
    parts = [_shown_in(scene, i, place, gaussians, share, random) for i in indices]
    return PointCloud(torch.cat([part.places for part in parts]), torch.cat([part.colors for part in parts]))


def _shown_in(
    scene: Scene, index: int, place: PointsPlace, gaussians: Gaussians, share: float, random: np.random.Generator
) -> PointCloud:
    cameras, photo = scene.cameras[index], scene.photos[index]
    seen = render_splats(gaussians, cameras, with_depth=True)
    alphas, depths = seen.alphas.flatten(), seen.depths.flatten()
    taken = (alphas >= SURE_ALPHA) & (depths > 0) & torch.from_numpy(random.random(len(alphas)) < share)
    for mask in (photo.valid, None if photo.alpha is None else photo.alpha >= 128):
        taken = taken if mask is None else taken & mask.flatten()
    rows, width = taken.nonzero()[:, 0], photo.pixels.shape[1]
    pixels = torch.stack([rows % width, rows // width], dim=1) + 0.5
    rays = rays_through(cameras, torch.zeros_like(rows), pixels)
    x, y, z = (rays.directions * cameras.forward_world[0]).unbind(1)
    distances = depths[rows] / (x + y + z)
    places = place.grid_places(rays.origins + distances[:, None] * rays.directions)
    inside = (places.isfinite() & (places > 0) & (places < 1)).all(dim=1)
    return PointCloud(places[inside], photo.pixels.reshape(-1, 3)[rows][inside].float() / 255)
