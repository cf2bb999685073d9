"""Learning the paper's field: random rays, two renderings, squared errors, and the rows that pull."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.fields.hashgrid import HashGridPlace
from neural3d.fields.mlp import Layers, ask, fresh_network, layers_of, teach
from neural3d.fields.mlp_shape import ROW, MlpShape
from neural3d.fields.nerf import (
    BLOCK_ROWS,
    ROWS_AT_ONCE,
    NerfModel,
    Networks,
    Samples,
    answers,
    finer,
    rendered,
    samples_at,
)
from neural3d.fields.pieces import map_pieces
from neural3d.fields.possible import PossibleCells
from neural3d.fields.sampling import stratified
from neural3d.fields.space import space_from_json, space_to_json
from neural3d.fields.volume import Composite
from neural3d.ops.adam import adam_step
from neural3d.scene import Scene
from neural3d.train.loop import StepOutcome, frame_meta
from neural3d.train.mlp_config import MlpConfig
from neural3d.train.mlp_place import mlp_cells
from neural3d.train.observer import TrainingObserver
from neural3d.train.photos import background_kind
from neural3d.train.random_numbers import Purpose, generator
from neural3d.train.ray_batches import PhotoPixels, RayBatch

PIECE_RAYS = 64
"""Rays that one thread looks along; part of a run's bytes."""
EPSILON = 1e-7
"""Adam's, from the paper."""
_NAMES = ("coarse", "fine")


@dataclass(frozen=True)
class Drawn:
    """The random numbers of a step, in [0, 1) but for the noise."""

    coarse: Float[Tensor, "R S"]
    fine: Float[Tensor, "R F"]
    noise: Float[Tensor, "R U"] | None

    def __getitem__(self, rows: slice | Int64[Tensor, "M"]) -> "Drawn":
        """Those of some rays."""
        return Drawn(self.coarse[rows], self.fine[rows], None if self.noise is None else self.noise[rows])


@dataclass(frozen=True)
class Learnt:
    """What some rays of a step say."""

    gradients: tuple[Float[Tensor, "P"], ...]
    """One a network."""
    loss: Float[Tensor, ""]
    squared_error: Float[Tensor, ""]
    """Sum over rays and channels."""


class MlpLearner:
    """Coarse and fine networks, and what Adam remembers of them."""

    rows_are = "rows of weights"

    def __init__(self, scene: Scene, config: MlpConfig) -> None:
        self.scene, self.config, self.shape = scene, config, config.shape
        self.names = _NAMES if config.fine_samples else _NAMES[:1]
        self.pixels = PhotoPixels(scene)
        self.background = background_kind(config.background, has_alpha=scene.has_alpha)

    def begin(self, _observers: Sequence[TrainingObserver] = ()) -> None:
        """Draw the first weights.

        Raises: InputError where the capture does not suit the field's coordinates.
        """
        self.space, self.possible = mlp_cells(self.scene, self.config)
        self.dtype = chosen_precision(self.config.precision)
        random = generator(self.config.seed, Purpose.WEIGHTS)
        self.networks = {name: fresh_network(self.shape, random) for name in self.names}
        self.moments = {
            f"{name}.{moment}": torch.zeros(self.shape.padded_size)
            for name in self.names
            for moment in ("first_moments", "second_moments")
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        model = mlp_model(checkpoint.tensors, checkpoint.meta, self.config)
        self.space, self.possible, self.dtype = model.space, model.possible, model.dtype
        self.networks = {name: checkpoint.tensors[f"networks.{name}"] for name in self.names}
        moments = ("first_moments", "second_moments")
        self.moments = {f"{n}.{m}": checkpoint.tensors[f"networks.{n}.{m}"] for n in self.names for m in moments}

    def take_step(self, step: int, fraction: float) -> StepOutcome:
        """Look along some rays of all photos."""
        config = self.config
        batch, drawn, missed = self.work(step, fraction)
        layers = [layers_of(network.to(self.dtype), self.shape) for network in self.networks.values()]
        rows = [slice(start, start + PIECE_RAYS) for start in range(0, max(len(batch.rays), 1), PIECE_RAYS)]
        parts = map_pieces(lambda some: self._learn(layers, batch[some], drawn[some]), rows)
        rate = config.rate_start * (config.rate_end / config.rate_start) ** fraction
        gradients = zip(*(part.gradients for part in parts), strict=True)
        poisoned = [self._update(name, total, step, rate) for name, total in zip(self.names, gradients, strict=True)]
        loss = sum((p.loss for p in parts), len(self.names) * missed / (3 * config.rays))
        error = sum((p.squared_error for p in parts), missed) / (3 * config.rays)
        num_rows = len(self.names) * self.shape.padded_size // ROW
        return StepOutcome(loss, error, torch.stack(poisoned).sum(), num_rows)

    def refined_cameras(self) -> None:
        """They stay as they are given."""

    def snapshot(self) -> NerfModel:
        """A copy of the field."""
        vectors = [network.clone() for network in self.networks.values()]
        networks = Networks(self.shape, vectors[0], vectors[1] if len(vectors) > 1 else None)
        config = self.config
        return NerfModel(networks, self.space, config.coarse_samples, config.fine_samples, self.dtype, self.possible)

    def size(self) -> dict[str, int]:
        """How many numbers are learnt."""
        return {"num_parameters": len(self.names) * self.shape.num_parameters}

    def tensors(self) -> dict[str, Tensor]:
        """Networks, Adam's moments, and where the networks are asked."""
        cells = {} if self.possible is None else {"possible": self.possible.possible}
        return {f"networks.{name}": tensor for name, tensor in {**self.networks, **self.moments, **cells}.items()}

    def meta(self) -> dict[str, Any]:
        """Where the field lies, in which precision it is computed, and the way back to the capture's frame."""
        precision = str(self.dtype).removeprefix("torch.")
        cells = {} if self.possible is None else {"possible": asdict(self.possible.place)}
        frame = frame_meta(self.scene.capture_from_scene)
        return {"space": space_to_json(self.space), "precision": precision, **cells, **frame}

    def work(self, step: int, fraction: float) -> tuple[RayBatch, Drawn, Float[Tensor, ""]]:
        """The rays of a step that may see something, their random numbers, and the others' summed squared error."""
        config = self.config
        central = fraction < config.central_until
        batch = self.pixels.batch(config.rays, self.background, config.seed, step, central=central)
        drawn = self.draw(step)
        if self.possible is None:
            return batch, drawn, torch.zeros(())
        meets = self.possible.meet(self.space.place(batch.rays))
        # By numpy: torch wakes its threads for a few thousand numbers, and adds by how many there are.
        missed = np.square((batch.backgrounds - batch.colors)[~meets].numpy()).sum()
        rows = meets.nonzero()[:, 0]
        return batch[rows], drawn[rows], torch.as_tensor(missed)

    def draw(self, step: int) -> Drawn:
        """The random numbers of a step."""
        config = self.config
        sizes = {Purpose.COARSE: config.coarse_samples, Purpose.FINE: config.fine_samples}
        coarse, fine = (
            torch.from_numpy(generator(config.seed, purpose, step).random((config.rays, size), dtype=np.float32))
            for purpose, size in sizes.items()
        )
        if config.density_noise == 0:
            return Drawn(coarse, fine, None)
        count = 2 * config.coarse_samples + config.fine_samples
        normal = generator(config.seed, Purpose.DENSITY_NOISE, step).standard_normal((config.rays, count), np.float32)
        return Drawn(coarse, fine, config.density_noise * torch.from_numpy(normal))

    def _learn(self, layers: list[Layers], batch: RayBatch, drawn: Drawn) -> Learnt:
        """Equation 6 over some rays: the squared errors of both renderings."""
        placed = self.space.place(batch.rays)
        unit, gradients, loss = stratified(drawn.coarse), [], torch.zeros(())
        for i, network in enumerate(layers):
            if i == 1:
                unit = finer(unit, seen.weights, drawn.fine)
            samples = samples_at(unit, placed, self.space, self.shape, self.dtype, self.possible)
            first = i * self.config.coarse_samples
            noise = None if drawn.noise is None else drawn.noise[:, first : first + unit.shape[1]]
            seen, error, pulls = compared(answers(network, self.shape, samples), samples, noise, batch)
            gradients.append(gradient_of(network, self.shape, samples, *pulls, scale=1 / (3 * self.config.rays)))
            loss += error / (3 * self.config.rays)
        return Learnt(tuple(gradients), loss, error)

    def _update(self, name: str, gradients: Sequence[Float[Tensor, "P"]], step: int, rate: float) -> Tensor:
        total = gradients[0]
        for gradient in gradients[1:]:  # in their order: a sum depends on it
            total += gradient
        moments = (self.moments[f"{name}.first_moments"], self.moments[f"{name}.second_moments"])
        rows = [tensor.view(-1, ROW) for tensor in (self.networks[name], total, *moments)]
        return adam_step(*rows, torch.full((ROW,), rate), step=step + 1, eps=EPSILON)


def compared(
    said: tuple[Tensor, Tensor], samples: Samples, noise: Float[Tensor, "R S"] | None, batch: RayBatch
) -> tuple[Composite, Float[Tensor, ""], tuple[Tensor, Tensor]]:
    """The rendering, its summed squared error, and what that pulls at each sample's density and colour."""
    density, color = (tensor.requires_grad_() for tensor in said)
    with torch.enable_grad():
        seen = rendered(density if noise is None else density + _where_asked(noise, samples), color, samples.lengths)
        difference = seen.colors + (1 - seen.alphas)[:, None] * batch.backgrounds - batch.colors
        error = difference.square().sum()
        pulls = torch.autograd.grad(error, (density, color))
    return Composite(*(getattr(seen, n).detach() for n in ("colors", "weights", "alphas"))), error.detach(), pulls


def _where_asked(noise: Float[Tensor, "R S"], samples: Samples) -> Float[Tensor, "R S"]:
    kept = torch.zeros(noise.numel())
    kept[samples.asked] = noise.flatten()[samples.asked]
    return kept.view(noise.shape)


def gradient_of(
    layers: Layers,
    shape: MlpShape,
    samples: Samples,
    d_density: Float[Tensor, "R S"],
    d_color: Float[Tensor, "R S 3"],
    *,
    scale: float,
) -> Float[Tensor, "P"]:
    """What pulls on the samples mean for the network's numbers, times `scale`.

    A sample in empty space, or behind something opaque, has weight 0 and pulls on nothing: it is left out, and the sum
    is the same. The others are asked again, as nobody remembered what the layers said. Pulls on samples that were never
    asked about end there.
    """
    gradient = torch.zeros(shape.padded_size)
    d_density, d_color = (scale * pulls.flatten(0, 1)[samples.asked] for pulls in (d_density, d_color))
    pulling = ((d_density != 0) | (d_color != 0).any(dim=1)).nonzero()[:, 0]
    for rows in pulling.split(BLOCK_ROWS):
        rows, pull_density, pull_color = _in_whole_blocks(rows, d_density[rows], d_color[rows])
        answer = ask(layers, shape, samples.places[rows], samples.directions[rows], remember=True)
        teach(layers, shape, answer, pull_density, pull_color, gradient)
    return gradient


def _in_whole_blocks(
    rows: Int64[Tensor, "M"], density: Float[Tensor, "M"], color: Float[Tensor, "M 3"]
) -> tuple[Int64[Tensor, "B"], Float[Tensor, "B"], Float[Tensor, "B 3"]]:
    """Filled up with rows that pull at nothing: torch prepares matrix products anew for every number of rows."""
    missing = -len(rows) % ROWS_AT_ONCE
    return pad(rows, (0, missing)), pad(density, (0, missing)), pad(color, (0, 0, 0, missing))


def chosen_precision(choice: str) -> torch.dtype:
    """What "auto" means on this machine."""
    if choice == "auto":
        choice = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    return getattr(torch, choice)


def mlp_model(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], config: MlpConfig) -> NerfModel:
    """The field of a checkpoint.

    Raises:
        InputError: It was left by a training of another kind.
    """
    sizes = {name: config.shape.padded_size for name in _NAMES[: 2 if config.fine_samples else 1]}
    found = {name: tensors[f"networks.{name}"].numel() for name in sizes if f"networks.{name}" in tensors}
    if found != sizes or not {"space", "precision"} <= meta.keys():
        raise InputError(
            "the checkpoint does not hold the networks of this configuration; start again with --overwrite"
        )
    fine = tensors["networks.fine"] if config.fine_samples else None
    networks = Networks(config.shape, tensors["networks.coarse"], fine)
    dtype, space = getattr(torch, meta["precision"]), space_from_json(meta["space"])
    return NerfModel(networks, space, config.coarse_samples, config.fine_samples, dtype, _possible(tensors, meta))


def _possible(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PossibleCells | None:
    if "possible" not in meta:
        return None
    place = HashGridPlace(**{**meta["possible"], "center": tuple(meta["possible"]["center"])})
    return PossibleCells(place, tensors["networks.possible"])
