"""Learning a field of neural points: random rays, samples near points, squared errors; points come and go."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.fields.guides import OccupancyGuide
from neural3d.fields.nerfacc_composite import CompositeFn
from neural3d.fields.points import PointsField, PointsShape, PointsWeights, lit_points, point_densities
from neural3d.fields.points_place import PointsPlace
from neural3d.ops.adam import adam_step
from neural3d.ops.composite import composite
from neural3d.ops.occupancy import update_occupancy
from neural3d.ops.point_index import PointIndex, index_points
from neural3d.ops.records import RaySamples, RayViews
from neural3d.scene import Scene
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.loop import StepOutcome, frame_meta
from neural3d.train.marched import (
    FIRST_RAYS,
    OCCUPANCY_DECAY,
    OCCUPIED_THICKNESS,
    REFRESH_STEPS,
    compare,
    looks_into_cells,
    next_rays,
)
from neural3d.train.observer import TrainingObserver
from neural3d.train.photos import background_kind
from neural3d.train.points_changes import Change, cells_near, grown, kept_rows
from neural3d.train.points_config import PointsConfig
from neural3d.train.points_start import EVEN, GAPS, PointCloud, first_points, spacing, starts_from_capture
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import PhotoPixels
from neural3d.train.search import BETA2, EPSILON
from neural3d.train.visual_hull import possible_cells

LEARNT = ("embeddings", "confidences", "mix", "layers")
OF_POINTS = ("embeddings", "confidences")
"""What has a row for each point."""
FINEST_CONE = 1 / 256
"""Of a step's length, by its distance from the camera; of Mueller et al. 2022."""
EARLY_LOOKS = 8
"""At first everything near points counts as occupied, until all of it was looked at."""
FIRST_CONFIDENCE = 0.8
LEAST_CONFIDENCE = 1e-3
"""A point that counts for nothing would learn nothing any more."""
FIRST_SPREAD = 0.1
"""Features are drawn from -0.1 to 0.1, but for the three that begin as the point's colour."""


def points_place(scene: Scene, config: PointsConfig) -> PointsPlace:
    """Where the field would lie, with steps no shorter than what a pixel of the photos covers.

    Raises:
        InputError: The photos' alpha leaves nothing, or the points that were asked for are not there.
    """
    starts_from_capture(scene, config)
    place = hashgrid_place(scene)
    if not place.contracted:
        return PointsPlace(**vars(place))
    pixel = float((1 / scene.cameras[scene.train_indices].focal_px).amax(dim=1).median())
    return PointsPlace(**vars(place), cone=max(FINEST_CONE, pixel))


class PointsLearner:
    """The field, what Adam remembers of it, and where it was found to be something."""

    rows_are = "points"
    adam = staticmethod(adam_step)

    def __init__(self, scene: Scene, config: PointsConfig, composite: CompositeFn = composite) -> None:
        self.scene, self.config, self.shape, self.composite = scene, config, config.shape, composite
        self.pixels = PhotoPixels(scene)
        self.background = background_kind(config.background, has_alpha=scene.has_alpha)

    def begin(self, observers: Sequence[TrainingObserver] = ()) -> None:
        """Place the first points; a fit of splats that is needed for it ends where an observer wants to stop.

        Raises: InputError where the capture does not say where anything is.
        """
        config = self.config
        self.place, self.rays = points_place(self.scene, config), min(FIRST_RAYS, config.most_rays)
        cloud = first_points(self.scene, self.place, config, observers)
        apart = spacing(cloud.places, GAPS if starts_from_capture(self.scene, config) else EVEN)
        self.index = index_points(cloud.places, config.reach * apart)
        self.weights = first_weights(self.shape, cloud, config.seed)
        self.moments = {
            f"{name}.{moment}": torch.zeros_like(getattr(self.weights, name))
            for name in LEARNT
            for moment in ("first_moments", "second_moments")
        }
        self.hull = possible_cells(self.scene, self.place, config.occupancy_cells)
        self.possible = self.hull & cells_near(self.index, config.occupancy_cells)
        self.memory, self.occupied = torch.zeros(self.possible.shape), self.possible.clone()

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        field = points_model(checkpoint.tensors, checkpoint.meta, self.config)
        self.place, self.index, self.weights, self.occupied = field.place, field.index, field.weights, field.occupied
        self.rays, self.memory = int(checkpoint.meta["rays"]), checkpoint.tensors["points.memory"]
        self.hull = checkpoint.tensors["points.hull"]
        self.possible = self.hull & cells_near(self.index, self.config.occupancy_cells)
        moments = ("first_moments", "second_moments")
        self.moments = {f"{n}.{m}": checkpoint.tensors[f"points.{n}.{m}"] for n in LEARNT for m in moments}

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look along some rays of all photos; now and then at a part of the grid, and at which points are needed."""
        config = self.config
        if step % REFRESH_STEPS == 0:
            self._refresh(step)
        if step and step % config.change_steps == 0 and config.change_from <= fraction < config.change_until:
            self._change(step)
        batch = self.pixels.batch(self.rays, self.background, config.seed, step, central=False)
        drawn = generator(config.seed, Purpose.COARSE, step).random(self.rays, dtype=np.float32)
        guide = OccupancyGuide(self.occupied, self.place.span)
        samples = guide.samples(self.place.rays(batch.rays), torch.from_numpy(drawn))
        learnt = [getattr(self.weights, name).requires_grad_() for name in LEARNT]
        with torch.enable_grad():
            seen = self.see(samples, batch.rays.directions)
            outputs, pulls, loss, error = compare(seen, batch)
            gradients = torch.autograd.grad(outputs, learnt, pulls, materialize_grads=True)
        rate = config.rate_start * (config.rate_end / config.rate_start) ** fraction
        poisoned = [self._update(name, gradient, step, rate) for name, gradient in zip(LEARNT, gradients, strict=True)]
        self.weights.confidences.detach().clamp_(LEAST_CONFIDENCE, 1)
        self.rays = next_rays(self.rays, len(samples.ts), config.samples, config.most_rays)
        return StepOutcome(loss, error, torch.stack(poisoned).sum(), len(self.index))

    def see(self, samples: RaySamples, directions: Float[Tensor, "R 3"]) -> RayViews:
        """What rays see through samples; differentiable in what is learnt."""
        return self.composite(*lit_points(self.weights, self.shape, self.index, samples, directions))

    def refined_cameras(self) -> None:
        """They stay as they are given."""

    def snapshot(self) -> PointsField:
        """A copy of the field."""
        copies = PointsWeights(*(getattr(self.weights, name).detach().clone() for name in LEARNT))
        return PointsField(self.shape, self.place, self.index, copies, self.occupied.clone())

    def size(self) -> dict[str, int]:
        """How many numbers are learnt."""
        return {"num_parameters": sum(getattr(self.weights, name).numel() for name in LEARNT)}

    def tensors(self) -> dict[str, Tensor]:
        """The field, Adam's moments, and the grid's memory."""
        learnt = {name: getattr(self.weights, name).detach() for name in LEARNT}
        grids = {"memory": self.memory, "occupied": self.occupied, "hull": self.hull}
        named = {"places": self.index.points, **learnt, **self.moments, **grids}
        return {f"points.{name}": tensor for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """Where the field lies, how far points are seen, how many rays the next step takes, and the way back."""
        numbers = {"place": asdict(self.place), "radius": self.index.radius, "rays": self.rays}
        return {**numbers, **frame_meta(self.scene.capture_from_scene)}

    def _update(self, name: str, gradient: Tensor, step: int, rate: float) -> Tensor:
        """Adam; points that nobody looked at stay as they are."""
        value = getattr(self.weights, name).detach()
        rows = [value, gradient, self.moments[f"{name}.first_moments"], self.moments[f"{name}.second_moments"]]
        rows = [tensor.contiguous().view(len(value), -1) for tensor in rows]
        looked_at = (rows[1] != 0).any(dim=1) if name in OF_POINTS else None
        if name == "confidences":  # the certainty loss, sum of c (1 - c) over those that were looked at
            rows[1] = rows[1] + self.config.certainty / len(value) * (1 - 2 * rows[0]) * looked_at[:, None]
        rates = torch.full((rows[0].shape[1],), rate)
        return self.adam(*rows, rates, step=step + 1, visible=looked_at, beta2=BETA2, eps=EPSILON)

    @torch.no_grad()
    def _refresh(self, step: int) -> None:
        """Look into some of the cells that can be occupied."""
        cells, places = looks_into_cells(self.possible, self.config.seed, step)
        thickness = point_densities(self.weights, self.shape, self.index, places) * self.place.steps_at(places)
        options = {"decay": OCCUPANCY_DECAY, "threshold": OCCUPIED_THICKNESS}
        update_occupancy(self.memory, self.occupied, cells, thickness, **options)
        early = step < EARLY_LOOKS * REFRESH_STEPS
        self.occupied.copy_(self.possible if early else self.occupied & self.possible)

    @torch.no_grad()
    def _change(self, step: int) -> None:
        """Take out points that lie on nothing, and add some where something is that none lies near."""
        change = Change(self.index, self.weights, self.shape, self.place, self.occupied)
        new = grown(change, self.pixels, self.config, self.background, step)
        kept = kept_rows(self.weights.confidences.detach(), self.config.prune_below)
        self.index = index_points(torch.cat([self.index.points[kept], new.places]), self.index.radius)
        rows = {name: torch.cat([getattr(self.weights, name).detach()[kept], getattr(new, name)]) for name in OF_POINTS}
        self.weights = PointsWeights(**rows, mix=self.weights.mix.detach(), layers=self.weights.layers.detach())
        for name, moments in self.moments.items():
            if name.split(".")[0] in OF_POINTS:
                nothing = moments.new_zeros(len(new.places), *moments.shape[1:])
                self.moments[name] = torch.cat([moments[kept], nothing])
        before = self.possible
        self.possible = self.hull & cells_near(self.index, self.config.occupancy_cells)
        self.occupied |= self.possible & ~before


def points_model(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], config: PointsConfig) -> PointsField:
    """The field that a checkpoint holds.

    Raises:
        InputError: It was left by another kind of training, or with other sizes.
    """
    shape, places = config.shape, tensors.get("points.places")
    count = 0 if places is None else len(places)
    sizes = {
        "places": (count, 3),
        "embeddings": (count, shape.features),
        "confidences": (count,),
        "mix": (3, shape.features),
        "layers": (shape.layers.num_weights,),
        "occupied": (config.occupancy_cells,) * 3,
    }
    for name, size in sizes.items():
        if f"points.{name}" not in tensors or tuple(tensors[f"points.{name}"].shape) != size:
            raise InputError(f"points.{name}: expected a tensor of {list(size)}; it is of another training")
    place = meta["place"]
    weights = PointsWeights(*(tensors[f"points.{name}"] for name in LEARNT))
    index: PointIndex = index_points(places, float(meta["radius"]))
    return PointsField(
        shape, PointsPlace(**{**place, "center": tuple(place["center"])}), index, weights, tensors["points.occupied"]
    )


def first_weights(shape: PointsShape, cloud: PointCloud, seed: int) -> PointsWeights:
    """Features near 0 but for the points' colours; layers uniform with the variance of Glorot and Bengio 2010."""
    random = generator(seed, Purpose.WEIGHTS)
    embeddings = _drawn(random, FIRST_SPREAD, (len(cloud), shape.features))
    embeddings[:, :3] = cloud.colors
    layers = [_drawn(random, (6 / sum(size)) ** 0.5, size).flatten() for size in shape.layers.shapes]
    return PointsWeights(
        embeddings,
        torch.full((len(cloud),), FIRST_CONFIDENCE),
        _drawn(random, 1.0, (3, shape.features)),
        torch.cat(layers),
    )


def _drawn(random: np.random.Generator, bound: float, size: tuple[int, ...]) -> Float[Tensor, "..."]:
    return torch.from_numpy(random.uniform(-bound, bound, size).astype(np.float32))
