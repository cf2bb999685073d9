"""Learning a field in a hash grid: random rays, samples where something is, squared errors."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.fields.hashgrid import (
    FINEST_STEP,
    HashGridField,
    HashGridPlace,
    HashGridShape,
    HashGridWeights,
    grid_densities,
    march_rays,
    view_samples,
)
from neural3d.fields.space import Shell
from neural3d.ops.adam import adam_step
from neural3d.ops.occupancy import update_occupancy
from neural3d.ops.records import RayViews
from neural3d.scene import Scene
from neural3d.train.field_space import field_space
from neural3d.train.hashgrid_config import HashGridConfig
from neural3d.train.loop import StepOutcome, frame_meta
from neural3d.train.photos import background_kind
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import PhotoPixels, RayBatch
from neural3d.train.visual_hull import possible_cells, tight_place

REFRESH_STEPS = 16
"""Between two looks at a part of the occupancy grid."""
EARLY_STEPS, EARLY_REFRESH_STEPS = 64, 4
"""At first everything counts as occupied, and looks are nearer to each other, until all was looked at twice."""
EARLY_STRIDE = 8.0
"""Steps from one sample to the next as long as everything counts as occupied; else a step had room for few rays."""
REFRESH_PARTS = 8
"""A look takes one cell of so many neighbours, so that all were looked at after as many."""
OCCUPANCY_DECAY = 0.95
OCCUPIED_THICKNESS = 0.01
"""Optical thickness of a step in a cell that counts as occupied; the paper's."""
FIRST_RAYS = 256
RAYS_STEP = 64
FINEST_CONE = 1 / 256
"""Of a step's length, by its distance from the camera; the paper's."""
EPSILON = 1e-15
BETA2 = 0.99
"""Adam's, from the paper: rows of the table are seen rarely."""
_LEARNT = ("table", "layers", "appearance")


def hashgrid_place(scene: Scene) -> HashGridPlace:
    """A box around an object on a transparent ground, else all of space, contracted around the middle distances.

    Steps are no shorter than what a pixel of the photos covers: at the box's centre, or where they are.

    Raises:
        InputError: The photos' alpha leaves nothing.
    """
    space, cameras = field_space(scene, ndc=False), scene.cameras[scene.train_indices]
    pixel = float((1 / cameras.focal_px).amax(dim=1).median())
    if not isinstance(space, Shell):
        place = tight_place(scene, HashGridPlace(space.center, space.radius))
        distance = float((cameras.centers_world - torch.tensor(place.center)).norm(dim=1).median())
        return replace(place, step=max(FINEST_STEP, pixel * distance / place.half))
    half = space.radius - space.far + math.sqrt(space.near * space.far)
    cone = max(FINEST_CONE, pixel)
    return HashGridPlace(space.center, half, True, space.near / 2, 20 * space.far, cone=cone)


class HashGridLearner:
    """The field, what Adam remembers of it, and where it was found to be something."""

    rows_are = "rows of the table"

    def __init__(self, scene: Scene, config: HashGridConfig) -> None:
        self.scene, self.config, self.shape = scene, config, config.shape
        self.pixels = PhotoPixels(scene)
        self.background = background_kind(config.background, has_alpha=scene.has_alpha)

    def begin(self) -> None:
        """Draw the first field.

        Raises: InputError where the capture does not say where anything is.
        """
        self.place, self.rays = hashgrid_place(self.scene), min(FIRST_RAYS, self.config.most_rays)
        self.weights = _first_weights(self.shape, len(self.scene.train_indices), self.config.seed)
        self.moments = {
            f"{name}.{moment}": torch.zeros_like(getattr(self.weights, name))
            for name in _LEARNT
            for moment in ("first_moments", "second_moments")
        }
        self.possible = possible_cells(self.scene, self.place, self.config.occupancy_cells)
        self.memory, self.occupied = torch.zeros(self.possible.shape), self.possible.clone()

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        field = hashgrid_model(checkpoint.tensors, checkpoint.meta, self.config)
        self.place, self.weights, self.occupied = field.place, field.weights, field.occupied
        self.rays, self.memory = int(checkpoint.meta["rays"]), checkpoint.tensors["hashgrid.memory"]
        self.possible = checkpoint.tensors["hashgrid.possible"]
        moments = ("first_moments", "second_moments")
        self.moments = {f"{n}.{m}": checkpoint.tensors[f"hashgrid.{n}.{m}"] for n in _LEARNT for m in moments}

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look along some rays of all photos, and now and then at a part of the grid."""
        config = self.config
        if step % (EARLY_REFRESH_STEPS if step < EARLY_STEPS else REFRESH_STEPS) == 0:
            self._refresh(step)
        batch = self.pixels.batch(self.rays, self.background, config.seed, step, central=False)
        drawn = generator(config.seed, Purpose.COARSE, step).random(self.rays, dtype=np.float32)
        stride = EARLY_STRIDE if step < EARLY_STEPS else 1.0
        rays = self.place.rays(batch.rays)
        samples = march_rays(rays, torch.from_numpy(drawn), self.occupied, self.place, stride=stride)
        learnt = [getattr(self.weights, name).requires_grad_() for name in _LEARNT]
        with torch.enable_grad():
            appearance = self.weights.appearance[batch.views]
            seen = view_samples(self.weights, self.shape, samples, batch.rays.directions, appearance)
            outputs, pulls, loss, error = self._compare(seen, batch)
            gradients = torch.autograd.grad(outputs, learnt, pulls, materialize_grads=True)
        rate = config.rate_start * (config.rate_end / config.rate_start) ** fraction
        poisoned = [self._update(name, gradient, step, rate) for name, gradient in zip(_LEARNT, gradients, strict=True)]
        self.rays = self._next_rays(len(samples.ts))
        return StepOutcome(loss, error, torch.stack(poisoned).sum(), len(self.weights.table))

    def snapshot(self) -> HashGridField:
        """A copy of the field."""
        copies = HashGridWeights(*(getattr(self.weights, name).detach().clone() for name in _LEARNT))
        return HashGridField(self.shape, self.place, copies, self.occupied.clone())

    def size(self) -> dict[str, int]:
        """How many numbers are learnt."""
        return {"num_parameters": sum(getattr(self.weights, name).numel() for name in _LEARNT)}

    def tensors(self) -> dict[str, Tensor]:
        """The field, Adam's moments, and the grid's memory."""
        learnt = {name: getattr(self.weights, name).detach() for name in _LEARNT}
        grids = {"memory": self.memory, "occupied": self.occupied, "possible": self.possible}
        named = {**learnt, **self.moments, **grids}
        return {f"hashgrid.{name}": tensor for name, tensor in named.items()}

    def meta(self) -> dict[str, Any]:
        """Where the field lies, how many rays the next step takes, and the way back to the capture's frame."""
        return {"place": asdict(self.place), "rays": self.rays, **frame_meta(self.scene.capture_from_scene)}

    def _compare(
        self, seen: RayViews, batch: RayBatch
    ) -> tuple[list[Tensor], list[Tensor], Float[Tensor, ""], Float[Tensor, ""]]:
        """Outputs and what pulls on them, the loss, and the squared error of the clamped picture."""
        shown = seen.colors.detach() + (1 - seen.alphas.detach())[:, None] * batch.backgrounds
        difference = shown - batch.colors
        pull = 2 / (3 * len(shown)) * difference
        x, y, z = (pull * batch.backgrounds).unbind(1)
        bent = self.config.distortion / len(shown)
        pulls = [pull, -(x + y + z), torch.full_like(seen.distortions, bent)]
        loss = difference.square().mean() + bent * seen.distortions.detach().sum()
        error = (shown.clamp(0, 1) - batch.colors).square().mean()
        return [seen.colors, seen.alphas, seen.distortions], pulls, loss, error

    def _update(self, name: str, gradient: Tensor, step: int, rate: float) -> Tensor:
        """Adam; rows of the table that nobody looked at stay as they are."""
        value = getattr(self.weights, name).detach()
        if value.numel() == 0:
            return torch.zeros((), dtype=torch.int64)
        moments = (self.moments[f"{name}.first_moments"], self.moments[f"{name}.second_moments"])
        rows = [tensor.view(len(tensor), -1) for tensor in (value, gradient.contiguous(), *moments)]
        looked_at = (gradient != 0).any(dim=1) if name == "table" else None
        rates = torch.full((rows[0].shape[1],), rate)
        return adam_step(*rows, rates, step=step + 1, visible=looked_at, beta2=BETA2, eps=EPSILON)

    def _next_rays(self, found: int) -> int:
        """As many as should find the samples that were asked for, in whole groups."""
        wanted = self.rays * self.config.samples / max(found, 1)
        wanted = min(wanted, 2 * self.rays, self.config.most_rays)
        return max(int(wanted) // RAYS_STEP, 1) * RAYS_STEP

    @torch.no_grad()
    def _refresh(self, step: int) -> None:
        """Look into one of every few neighbouring cells that can be occupied, somewhere inside it."""
        side, random = self.config.occupancy_cells, generator(self.config.seed, Purpose.OCCUPANCY, step)
        possible = self.possible.view(-1).nonzero()[:, 0].numpy()
        groups = -(-len(possible) // REFRESH_PARTS)
        chosen = REFRESH_PARTS * np.arange(groups) + random.integers(0, REFRESH_PARTS, groups)
        cells = possible[np.minimum(chosen, len(possible) - 1)]
        corners = np.stack([cells % side, cells // side % side, cells // side**2], axis=1)
        places = (corners + random.random((groups, 3))) / side
        places = torch.from_numpy(places.astype(np.float32))
        thickness = grid_densities(self.weights, self.shape, places) * self.place.steps_at(places)
        update_occupancy(
            self.memory,
            self.occupied,
            torch.from_numpy(cells.astype(np.int32)),
            thickness,
            decay=OCCUPANCY_DECAY,
            threshold=OCCUPIED_THICKNESS,
        )
        self.occupied.copy_(self.possible if step < EARLY_STEPS else self.occupied & self.possible)


def hashgrid_model(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], config: HashGridConfig) -> HashGridField:
    """The field that a checkpoint holds.

    Raises:
        InputError: It was left by another kind of training, or with other sizes.
    """
    shape = config.shape
    sizes = {
        "table": (shape.levels.rows, shape.features),
        "layers": (shape.layers.num_weights,),
        "occupied": (config.occupancy_cells,) * 3,
    }
    for name, size in sizes.items():
        if f"hashgrid.{name}" not in tensors or tuple(tensors[f"hashgrid.{name}"].shape) != size:
            raise InputError(f"hashgrid.{name}: expected a tensor of {list(size)}; it is of another training")
    place = meta["place"]
    weights = HashGridWeights(*(tensors[f"hashgrid.{name}"] for name in _LEARNT))
    return HashGridField(
        shape, HashGridPlace(**{**place, "center": tuple(place["center"])}), weights, tensors["hashgrid.occupied"]
    )


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
