"""Learning a field in a hash grid: random rays, samples where something is, squared errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.fields.guides import Guide, OccupancyGuide, ProposalGuide
from neural3d.fields.hashgrid import (
    HashGridField,
    HashGridPlace,
    HashGridShape,
    HashGridWeights,
    feature_light,
)
from neural3d.fields.nerfacc_composite import CompositeFn
from neural3d.ops.composite import composite
from neural3d.ops.hash_encode import hash_encode, hash_encode_positions_vjp
from neural3d.ops.march import ray_pulls
from neural3d.ops.records import RayViews
from neural3d.scene import Scene
from neural3d.train.exposure import AffineExposure
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.hashgrid_place import hashgrid_place
from neural3d.train.loop import StepOutcome, frame_meta
from neural3d.train.marched import compare, plainly_photographed
from neural3d.train.observer import TrainingObserver
from neural3d.train.occupancy_search import OccupancySearch
from neural3d.train.photos import background_kind
from neural3d.train.proposal_search import PROPOSAL_LEVELS, ProposalSearch
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import PhotoPixels, RayBatch
from neural3d.train.ray_cameras import MOVED_FROM, MOVED_UNTIL, RayCameras, learning_levels, ray_rows
from neural3d.train.ray_colors import photo_colors_of, photo_colors_vjp, photo_sums
from neural3d.train.search import Found, Search, update_rows, update_table
from neural3d.train.visual_hull import POSE_MARGIN

DISTORTION = 0.01
"""Weight of the distortion loss where photos have no alpha, if nothing else is asked for."""
_LEARNT = ("table", "layers", "appearance")


class HashGridLearner:
    """The field, what Adam remembers of it, where it is looked at, and what photos have of their own."""

    rows_are = "rows of the table"

    def __init__(self, scene: Scene, config: HashGridConfig, composite: CompositeFn = composite) -> None:
        self.scene, self.config, self.shape, self.composite = scene, config, config.shape, composite
        self.pixels = PhotoPixels(scene)
        self.background = background_kind(config.background, has_alpha=scene.has_alpha)
        is_exposed = config.exposure == "affine" and not scene.has_alpha
        self.exposure = AffineExposure.identity(len(scene.train_indices)) if is_exposed else None
        self.cameras = RayCameras.identity(scene) if config.refine_cameras else None
        distortion = 0.0 if scene.has_alpha else DISTORTION
        self.distortion = distortion if config.distortion is None else config.distortion

    def begin(self, _observers: Sequence[TrainingObserver] = ()) -> None:
        """Draw the first field.

        Raises: InputError where the capture does not say where anything is.
        """
        self.place = hashgrid_place(self.scene, margin=POSE_MARGIN if self.config.refine_cameras else 0.0)
        self.search = self._search()
        self.weights = _first_weights(self.shape, len(self.scene.train_indices), self.config.seed)
        self.moments = {
            f"{name}.{moment}": torch.zeros_like(getattr(self.weights, name))
            for name in _LEARNT
            for moment in ("first_moments", "second_moments")
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        field = hashgrid_model(checkpoint.tensors, checkpoint.meta, self.config)
        self.place, self.weights = field.place, field.weights
        self.search = self._search()
        self.search.load(checkpoint)
        moments = ("first_moments", "second_moments")
        self.moments = {f"{n}.{m}": checkpoint.tensors[f"hashgrid.{n}.{m}"] for n in _LEARNT for m in moments}
        if self.exposure is not None:
            names = ("matrices", "first_moments", "second_moments")
            self.exposure = AffineExposure(*(checkpoint.tensors[f"exposure.{name}"] for name in names))
        if self.cameras is not None:
            self.cameras = self.cameras.loaded(checkpoint.tensors)

    @property
    def rays(self) -> int:
        """That the next step looks along."""
        return self.search.rays

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look along some rays of all photos, and now and then at what the search wants to know."""
        config = self.config
        self.search.prepare(step, self.weights, self.shape)
        cameras = self.refined_cameras()
        batch = self.pixels.batch(self.rays, self.background, config.seed, step, central=False, cameras=cameras)
        found = self.search.find(self.place.rays(batch.rays), step, fraction)
        features = hash_encode(found.samples.positions, self.weights.table, self.shape.levels).requires_grad_()
        layers = self.weights.layers.detach().requires_grad_()
        appearance = self.weights.appearance[batch.views].requires_grad_()
        with torch.enable_grad():
            looks = (self.shape, found.samples, batch.rays.directions, appearance)
            densities, colors = feature_light(features, layers, *looks)
            optical = densities if found.stretch is None else densities * found.stretch
            there = (found.samples.ts, found.samples.deltas, found.samples.ray_offsets)
            seen = self.composite(optical, colors, *there)
            if cameras is not None and MOVED_FROM <= fraction < MOVED_UNTIL:
                self._refine(cameras, batch, found, seen, features, step)
            photographed = partial(self._photographed, step=step, fraction=fraction)
            outputs, pulls, loss, error = compare(seen, batch, self.distortion, photographed)
            gradients = torch.autograd.grad(outputs, (features, layers, appearance), pulls, materialize_grads=True)
        if cameras is not None:
            gradients[0][:, self.shape.features * learning_levels(self.shape.levels.count, fraction) :] = 0
        to_photos = photo_sums(gradients[2], batch.views, len(self.weights.appearance))
        poisoned = [
            self._update_table(found.samples.positions, gradients[0], step, fraction),
            self._update("layers", gradients[1], step, fraction),
            self._update("appearance", to_photos, step, fraction),
            self.search.learn(found, densities.detach(), step, fraction),
        ]
        return StepOutcome(loss, error, torch.stack(poisoned).sum(), len(self.weights.table))

    def refined_cameras(self) -> Cameras | None:
        """Of the training photos, where they are refined."""
        return None if self.cameras is None else self.cameras.cameras(self.pixels.cameras)

    def snapshot(self) -> HashGridField:
        """A copy of the field."""
        copies = HashGridWeights(*(getattr(self.weights, name).clone() for name in _LEARNT))
        return HashGridField(self.shape, self.place, copies, self.search.guide())

    def size(self) -> dict[str, int]:
        """How many numbers are learnt."""
        return {"num_parameters": sum(getattr(self.weights, name).numel() for name in _LEARNT)}

    def tensors(self) -> dict[str, Tensor]:
        """The field, Adam's moments, what the search knows, the exposures, and what is learnt of cameras."""
        learnt = {name: getattr(self.weights, name) for name in _LEARNT}
        named = {**learnt, **self.moments, **self.search.tensors()}
        exposures = {} if self.exposure is None else self.exposure.tensors()
        cameras = {} if self.cameras is None else self.cameras.tensors()
        return {**{f"hashgrid.{name}": tensor for name, tensor in named.items()}, **exposures, **cameras}

    def meta(self) -> dict[str, Any]:
        """Where the field lies, what the search goes on from, and the way back to the capture's frame."""
        return {"place": asdict(self.place), **self.search.meta(), **frame_meta(self.scene.capture_from_scene)}

    def _refine(
        self,
        cameras: Cameras,
        batch: RayBatch,
        found: Found,
        seen: RayViews,
        features: Float[Tensor, "S LF"],
        step: int,
    ) -> None:
        """Learn from how what rays see changes with their samples' places.

        That colours change with a ray's direction, too, is left out: such colours are learnt to make up for poses.
        Of the three colours of a ray, their sum with random signs is looked at: what it says is right on average.
        Places are those of smooth interpolation, whose slope does not jump from cell to cell.

        Source: Heo et al. 2023, Robust Camera Pose Refinement for Multi-Resolution Hash Encoding, section 3.3.
        """
        errors, pull = self._mixtures(seen, batch, step)
        x, y, z = (pull * batch.backgrounds).unbind(1)
        outputs, pulls = (seen.colors, seen.alphas), (pull, -(x + y + z))
        (on_features,) = torch.autograd.grad(outputs, features, pulls, retain_graph=True)
        places = (found.samples.positions, self.weights.table, self.shape.levels)
        on_places = hash_encode_positions_vjp(*places, on_features, smooth=True)
        rays, box = self.place.rays(batch.rays), torch.tensor([0.0, 0.0, 0.0, 1.0])
        looks = (rays.origins, rays.directions, box, found.distances, found.samples.ray_offsets)
        on_origins, on_directions = ray_pulls(*looks, on_places, contracted=self.place.contracted)
        rows = ray_rows(cameras, batch.views, rays.directions, on_origins / self.place.half, on_directions)
        self.cameras.update(batch.views, rows, errors)

    def _mixtures(self, seen: RayViews, batch: RayBatch, step: int) -> tuple[Float[Tensor, "R"], Float[Tensor, "R 3"]]:
        """Errors of a mixture of each ray's colours in its photo, and what pulls on the scene's colours by these."""
        drawn = generator(self.config.seed, Purpose.RAY_COLORS, step).integers(0, 2, (len(batch.views), 3))
        signs = torch.from_numpy(2 * drawn - 1).float()
        shown = seen.colors.detach() + (1 - seen.alphas.detach())[:, None] * batch.backgrounds
        in_photo, pull = shown, signs
        if self.exposure is not None:
            maps = self.exposure.matrices[batch.views]
            in_photo, (pull, _) = photo_colors_of(shown, maps), photo_colors_vjp(shown, maps, signs)
        x, y, z = (signs * (in_photo - batch.colors)).unbind(1)
        return x + y + z, pull

    def _search(self) -> Search:
        if self.place.contracted:
            return ProposalSearch(self.config, self.place)
        return OccupancySearch(self.scene, self.config, self.place)

    def _rate(self, fraction: float, start: float) -> float:
        return start * (self.config.rate_end / self.config.rate_start) ** fraction

    def _photographed(
        self, shown: Float[Tensor, "R 3"], batch: RayBatch, step: int, fraction: float
    ) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]:
        """Colours as the photos show them, and the error's pull on the scene's; exposures learn in passing."""
        if self.exposure is None:
            return plainly_photographed(shown, batch)
        maps = self.exposure.matrices[batch.views]
        in_photo = photo_colors_of(shown, maps)
        pull, to_maps = photo_colors_vjp(shown, maps, 2 / (3 * len(shown)) * (in_photo - batch.colors))
        to_photos = photo_sums(to_maps, batch.views, len(self.exposure.matrices))
        self.exposure.update_all(to_photos, rate=self._rate(fraction, self.config.exposure_rate), step=step + 1)
        return in_photo, pull

    def _update_table(
        self, positions: Float[Tensor, "S 3"], pulls: Float[Tensor, "S LF"], step: int, fraction: float
    ) -> Tensor:
        rows, rate = (self.weights.table, *self._moments("table")), self._rate(fraction, self.config.rate_start)
        return update_table(rows, self.shape.levels, positions, pulls.contiguous(), rate, step)

    def _update(self, name: str, gradient: Tensor, step: int, fraction: float) -> Tensor:
        value = getattr(self.weights, name)
        if value.numel() == 0:
            return torch.zeros((), dtype=torch.int64)
        rate = self._rate(fraction, self.config.rate_start)
        return update_rows((value, gradient.contiguous(), *self._moments(name)), rate, step)

    def _moments(self, name: str) -> tuple[Tensor, Tensor]:
        return self.moments[f"{name}.first_moments"], self.moments[f"{name}.second_moments"]


def hashgrid_model(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], config: HashGridConfig) -> HashGridField:
    """The field that a checkpoint holds.

    Raises:
        InputError: It was left by another kind of training, or with other sizes.
    """
    shape, place = config.shape, HashGridPlace(**{**meta["place"], "center": tuple(meta["place"]["center"])})
    guide_sizes = (
        {"proposals": (PROPOSAL_LEVELS.rows, 1)} if place.contracted else {"occupied": (config.occupancy_cells,) * 3}
    )
    sizes = {
        "table": (shape.levels.rows, shape.features),
        "layers": (shape.layers.num_weights,),
        **guide_sizes,
    }
    for name, size in sizes.items():
        if f"hashgrid.{name}" not in tensors or tuple(tensors[f"hashgrid.{name}"].shape) != size:
            raise InputError(f"hashgrid.{name}: expected a tensor of {list(size)}; it is of another training")
    weights = HashGridWeights(*(tensors[f"hashgrid.{name}"] for name in _LEARNT))
    return HashGridField(shape, place, weights, _guide(tensors, place, config))


def _guide(tensors: Mapping[str, Tensor], place: HashGridPlace, config: HashGridConfig) -> Guide:
    if not place.contracted:
        return OccupancyGuide(tensors["hashgrid.occupied"], place.span)
    table = tensors["hashgrid.proposals"]
    return ProposalGuide(table, PROPOSAL_LEVELS, place.scale, config.proposals, config.ray_samples)


def _first_weights(shape: HashGridShape, photos: int, seed: int) -> HashGridWeights:
    """The paper's: features near 0, layers uniform with the variance of Glorot and Bengio 2010."""
    random = generator(seed, Purpose.WEIGHTS)
    table = random.uniform(-1e-4, 1e-4, (shape.levels.rows, shape.features))
    layers = [random.uniform(-1, 1, size).flatten() * math.sqrt(6 / sum(size)) for size in shape.layers.shapes]
    return HashGridWeights(
        torch.from_numpy(table.astype(np.float32)),
        torch.from_numpy(np.concatenate(layers).astype(np.float32)),
        torch.zeros(photos, shape.appearance),
    )
